"""Every name of veRL that this package patches, overrides, calls or imports, and what it needs each for.

Read in veRL 0.9.1. What decides is whether a name is as it is written here, not the number of the version: a feature
all of whose names fit works with another veRL, and one that does not is refused by those names, where a run asks for it
(`wapo_verl.verl_plugin.fit`). `tests/wapo_verl/verl_plugin/test_seams.py` holds the list to the installed veRL, and to
what our source uses.
"""

from collections.abc import Mapping

from wapo_verl.verl_plugin.seam import Seam, seams_of
from wapo_verl.verl_plugin.verl_source import VerlSource

VERSION = "0.9.1"
"""The version that the list was read in, and that the package was written and tested for."""


SETTINGS = "settings"
ALGORITHMS = "algorithms"
TRAINER = "trainer"
STEP_PLANS = "step plans"
AGENT_LOOPS = "agent loops"
EVALUATION = "evaluation"
CPU = "CPU platform"

SEAMS: Mapping[str, tuple[Seam, ...]] = {
    SETTINGS: (*seams_of("verl.utils.config", replaced=["validate_config(config, use_reference_policy, use_critic)"]),),
    ALGORITHMS: (
        *seams_of(
            "verl.trainer.ppo.core_algos",
            "AdvantageEstimator",
            "register_adv_est(name_or_enum)",
            "register_policy_loss(name)",
            "ADV_ESTIMATOR_REGISTRY",
            "POLICY_LOSS_REGISTRY",
            "agg_loss(loss_mat, loss_mask, loss_agg_mode, dp_size=, batch_num_tokens=, global_batch_size=, "
            "loss_scale_factor=)",
            replaced=["get_adv_estimator_fn(name_or_enum)", "get_policy_loss_fn(name)"],
        ),
        *seams_of("verl.trainer.ppo", "core_algos"),
        *seams_of(
            "verl.utils.metric",
            "AggregationType",
            "Metric",
            replaced=["Metric.from_dict(cls, data, aggregation)"],
        ),
    ),
    TRAINER: (
        *seams_of("verl.trainer.ppo.utils", "Role"),
        *seams_of(
            "verl.trainer.ppo.v1.replay_buffer",
            "ReplayBuffer",
            "ReplayBuffer.poll_interval",
            "ReplayBuffer.finished_keys",
            "ReplayBuffer.partitions",
            "ReplayBuffer._sampleable_terminal_keys(self, partition_id, eviction_reasons)",
            "ReplayBufferAsync",
            replaced=[
                "ReplayBuffer._dapo_filtered_keys(self, partition_id)",
                "ReplayBuffer._evict_terminal_groups(self, global_steps, partition_id, eviction_reasons)",
                "ReplayBuffer.sample(self, global_steps, partition_id, batch_size)",
                "ReplayBufferAsync.wait_for_sampleable(self, global_steps, partition_id, target_count)",
            ],
        ),
        *seams_of(
            "verl.trainer.ppo.v1.trainer_base",
            "PPOTrainer",
            "PPOTrainer._shutdown_dump_executor(self)",
            "PPOTrainer.actor_rollout_wg",
            "PPOTrainer.checkpoint_manager",
            "PPOTrainer.config",
            "PPOTrainer.critic_wg",
            "PPOTrainer.global_steps",
            "PPOTrainer.ref_in_actor",
            "PPOTrainer.replay_buffer",
            "PPOTrainer.tokenizer",
            "PPOTrainer.total_training_steps",
            "PPOTrainer.train_dataset",
            "PPOTrainer.trainer_mode",
            "PPOTrainer.use_critic",
            "PPOTrainer.use_reference_policy",
            "PPOTrainer.val_dataset",
            "register_trainer(name)",
            replaced=[
                "PPOTrainer.__init__(self, config)",
                "PPOTrainer._balance_batch(self, batch, metrics, logging_prefix=, keep_minibatch=)",
                "PPOTrainer._build_replay_buffer(self)",
                "PPOTrainer._compute_advantage(self, batch, metrics)",
                "PPOTrainer._compute_metrics(self, batch, metrics, timing_raw, global_steps, epoch)",
                "PPOTrainer._compute_old_log_prob(self, batch, metrics)",
                "PPOTrainer._compute_ref_log_prob(self, batch, metrics)",
                "PPOTrainer._dump_generations(self, inputs, outputs, gts, scores, reward_extra_infos_dict, dump_path)",
                "PPOTrainer._fetch_one_gen_batch(self)",
                "PPOTrainer._init_dataloader(self)",
                "PPOTrainer._init_tokenizer(self)",
                "PPOTrainer._load_checkpoint(self)",
                "PPOTrainer._log_rollout_data(self, batch, timing_raw, rollout_data_dir)",
                "PPOTrainer._resolve_filter_groups_metric(self)",
                "PPOTrainer._save_checkpoint(self)",
                "PPOTrainer._write_generations(inputs, outputs, gts, scores, reward_extra_infos_dict, dump_path, "
                "global_steps)",
                "PPOTrainer._step_once(self, metrics, timing_raw, sample_batch_size)",
                "PPOTrainer._update_actor(self, batch, metrics)",
                "PPOTrainer._validate(self)",
                "PPOTrainer._val_metrics_update(self, data_sources, sample_uids, reward_extra_infos_dict, "
                "sample_turns, expected_acc_counts=)",
                "PPOTrainer.fit(self, agent_loop_manager)",
                "PPOTrainer.on_step_begin(self)",
                "PPOTrainer.on_validate_begin(self)",
                "get_trainer_cls(name)",
            ],
        ),
        *seams_of("verl.trainer.ppo.v1.trainer_colocate_async", "PPOTrainerColocateAsync"),
        *seams_of("verl.trainer.ppo.v1.trainer_separate_async", "PPOTrainerSeparateAsync"),
        *seams_of("verl.trainer.ppo.v1.trainer_sync", "PPOTrainerSync"),
        *seams_of("verl.utils.checkpoint.checkpoint_manager", "find_latest_ckpt_path(path, directory_format=)"),
        *seams_of("verl.utils.debug", "marked_timer"),
        *seams_of("verl.utils.metric", "reduce_metrics(metrics)"),
        *seams_of("verl.utils.py_functional", "rename_dict(data, prefix=)"),
        *seams_of("verl.utils", "tensordict_utils"),
        *seams_of("verl.utils.tensordict_utils", "assign_non_tensor(tensor_dict, **kwargs)"),
        *seams_of(
            "verl.utils.tracking",
            "FileLogger.filepath",
            "FileLogger.fp",
            replaced=["FileLogger.__init__(self, project_name, experiment_name)", "FileLogger.log(self, data, step)"],
        ),
        *seams_of(
            "verl.utils.seqlen_balancing",
            "calculate_workload(seqlen_list)",
            "get_seqlen_balanced_partitions(seqlen_list, k_partitions, equal_size)",
        ),
        *seams_of("verl.workers.utils.padding", "response_to_nested(tensor, response_mask)"),
    ),
    STEP_PLANS: (
        *seams_of("verl.utils", "tensordict_utils"),
        *seams_of(
            "verl.utils.tensordict_utils",
            "assign_non_tensor(tensor_dict, **kwargs)",
            "get_non_tensor_data(data, key, default)",
        ),
        *seams_of("verl.utils.metric", "AggregationType", "Metric"),
        *seams_of("verl.utils.ulysses", "get_ulysses_sequence_parallel_rank(group=)"),
        *seams_of("verl.workers.config.model", "HFModelConfig.external_lib"),
        *seams_of("verl.workers.engine", "EngineRegistry"),
        *seams_of(
            "verl.workers.engine.base", "BaseEngine.is_mp_src_rank_with_outputs(self)", "EngineRegistry._engines"
        ),
        *seams_of(
            "verl.workers.engine.fsdp.transformer_impl",
            "FSDPEngine._gather_and_unpad_packed",
            "FSDPEngine.use_ulysses_sp",
            "FSDPEngineWithLMHead",
            "FSDPEngineWithLMHead.lr_scheduler",
            "FSDPEngineWithLMHead.optimizer",
            replaced=[
                "FSDPEngine.forward_backward_batch(self, data, loss_function, forward_only=)",
                "FSDPEngine.lr_scheduler_step(self)",
                "FSDPEngine.optimizer_step(self)",
                "FSDPEngineWithLMHead.prepare_model_outputs(self, output, output_args, micro_batch, "
                "logits_processor_func)",
            ],
        ),
    ),
    AGENT_LOOPS: (
        *seams_of(
            "verl.experimental.agent_loop.agent_loop",
            "AgentLoopBase",
            "AgentLoopBase.config",
            "AgentLoopBase.ct_merge_context_msg(self, previous_messages, updated_messages, runtime_token_ids, "
            "response_mask, response_logprobs=, tools=)",
            "AgentLoopBase.rollout_config",
            "AgentLoopBase.server_manager",
            "AgentLoopBase.tokenizer",
            "AgentLoopMetrics",
            "AgentLoopOutput",
            "AgentLoopWorker.config",
            "AgentLoopWorker.llm_client",
            "AgentLoopWorker.model_config",
            "AgentLoopWorker.rollout_config",
            "AgentLoopWorker.tokenizer",
            "ToolListWrap",
            "_agent_loop_registry",
            "register(agent_name)",
            replaced=[
                "AgentLoopBase.__init__(self, trainer_config, server_manager, tokenizer, processor, dataset_cls, "
                "data_config, hf_model_type=, **kwargs)",
                "AgentLoopBase._cap_text_prompt_length(self, prompt_ids)",
                "AgentLoopBase.run(self, sampling_params, **kwargs)",
            ],
        ),
        *seams_of(
            "verl.experimental.agent_loop.tool_agent_loop",
            "AgentData",
            "AgentState",
            "SPEC_DECODE_EXTRA_KEYS",
            "ToolAgentLoop",
            "ToolAgentLoop.apply_chat_template_kwargs",
            "ToolAgentLoop.config",
            "ToolAgentLoop.continuous_token_builder",
            "ToolAgentLoop.max_assistant_turns",
            "ToolAgentLoop.max_tool_response_length",
            "ToolAgentLoop.max_user_turns",
            "ToolAgentLoop.response_length",
            "ToolAgentLoop.rollout_config",
            "ToolAgentLoop.tokenizer",
            "ToolAgentLoop.tool_parser_name",
            replaced=[
                "ToolAgentLoop.__init__(self, *args, tools=, **kwargs)",
                "ToolAgentLoop._call_tool(self, tool_call, tools_kwargs, agent_data)",
                "ToolAgentLoop._handle_generating_state(self, agent_data, sampling_params, ignore_termination=)",
                "ToolAgentLoop._handle_processing_tools_state(self, agent_data)",
                "ToolAgentLoop.run(self, sampling_params, priority=, **kwargs)",
            ],
        ),
        *seams_of("verl.experimental.agent_loop.tool_parser", "FunctionCall"),
        *seams_of(
            "verl.tools.base_tool",
            "BaseTool",
            "BaseTool.config",
            "BaseTool.name",
            "BaseTool.tool_schema",
            replaced=[
                "BaseTool.__init__(self, config, tool_schema)",
                "BaseTool.execute(self, instance_id, parameters, **kwargs)",
            ],
        ),
        *seams_of("verl.tools.schemas", "OpenAIFunctionToolSchema", "ToolResponse"),
        *seams_of("verl.tools.tool_registry", "initialize_tools_from_config(tools_config_file)"),
        *seams_of(
            "verl.trainer.ppo.v1.agent_loop_tq",
            "AgentLoopManagerTQ",
            "AgentLoopManagerTQ.agent_loop_workers_class",
            "AgentLoopWorkerTQ",
            replaced=[
                "AgentLoopManagerTQ.__init__(self, *args, **kwargs)",
                "AgentLoopWorkerTQ.__init__(self, *args, **kwargs)",
                "AgentLoopWorkerTQ._agent_loop_postprocess(self, output, validate, **kwargs)",
                "AgentLoopWorkerTQ._compute_score(self, outputs, kwargs)",
                "AgentLoopWorkerTQ._run_agent_loop(self, sampling_params, trajectory, agent_name, trace=, **kwargs)",
            ],
        ),
        *seams_of(
            "verl.workers.rollout.llm_server",
            "LLMServerClient",
            "LLMServerClient._load_balancer",
            "LLMServerClient.config",
            replaced=[
                "LLMServerClient.__init__(self, config, load_balancer_handle=, **kwargs)",
                "LLMServerClient._acquire_server(self, request_id, **extra)",
                "LLMServerClient._release_server(self, server_id, request_id=)",
                "LLMServerClient.generate(self, request_id, prompt_ids, sampling_params, image_data=, video_data=, "
                "audio_data=, mm_processor_kwargs=, **kwargs)",
            ],
        ),
        *seams_of("verl.workers.rollout.utils", "get_max_position_embeddings(hf_config)"),
        *seams_of(
            "verl.workers.rollout.vllm_rollout.vllm_rollout",
            "ServerAdapter.zmq_handle",
            replaced=["ServerAdapter.__init__(self, config, model_config, device_mesh, replica_rank=)"],
        ),
        *seams_of(
            "verl.workers.rollout.vllm_rollout.vllm_async_server",
            replaced=[
                "vLLMHttpServer.__init__(self, config, model_config, rollout_mode, workers, replica_rank, node_rank, "
                "gpus_per_node, nnodes, cuda_visible_devices, disaggregation_role=, "
                "disaggregation_kv_transfer_config=)",
            ],
        ),
        *seams_of(
            "verl.trainer.ppo.v1.replay_buffer",
            "ReplayBuffer.failure_keys",
            "ReplayBuffer.finished_keys",
            "ReplayBuffer.partitions",
            replaced=["ReplayBuffer._sync_metadata_from_transfer_queue(self)"],
        ),
        *seams_of(
            "verl.utils.dataset.rl_dataset",
            "RLHFDataset",
            "RLHFDataset.filter_overlong_prompts",
            "RLHFDataset.tool_schemas",
            replaced=["RLHFDataset.maybe_filter_out_long_prompts(self, dataframe=)"],
        ),
        *seams_of("verl.utils.profiler", "simple_timer(name, timing_raw)"),
        *seams_of("verl.utils.rollout_trace", "rollout_trace_op(func)"),
        *seams_of(
            "verl.utils.tokenizer.continuous_token",
            "ContinuousTokenBuilder",
            "ContinuousTokenBuilder._synthetic_assistant_for_tools(self, tool_messages)",
            "ContinuousTokenBuilder.chat_template_kwargs",
            "ContinuousTokenBuilder.render_delta_token_id(self, prefix_messages, appended_messages, "
            "add_generation_prompt=, tools=)",
            "ContinuousTokenBuilder.tokenizer",
            "MergeResult",
            "QwenContinuousTokenBuilder",
            replaced=[
                "ContinuousTokenBuilder._merge_context_token_ids(self, runtime_token_ids, appended_token_ids, "
                "**kwargs)",
                "ContinuousTokenBuilder._tokenize_tool_group(self, tool_messages, previous_messages, tools=, "
                "add_generation_prompt=)",
            ],
        ),
        *seams_of(
            "verl.utils.tokenizer.continuous_token_wiring",
            "create_continuous_token_builder(tokenizer, model_family=, hf_model_type=, chat_template_kwargs=, "
            "mm_processor_kwargs=, processor=, **builder_kwargs)",
        ),
    ),
    EVALUATION: (
        *seams_of(
            "verl.experimental.agent_loop.agent_loop",
            "AgentLoopWorker._compute_score(self, outputs, kwargs)",
            "AgentLoopWorker.config",
            "AgentLoopWorker.rollout_config",
            "AgentLoopWorker.tokenizer",
        ),
        *seams_of(
            "verl.trainer.ppo.v1.agent_loop_tq",
            replaced=[
                "AgentLoopWorkerTQ._agent_loop_postprocess(self, output, validate, **kwargs)",
                "AgentLoopWorkerTQ._run_prompt(self, prompt, sampling_params, trajectory, trace=)",
            ],
        ),
    ),
    CPU: (
        *seams_of(
            "verl.checkpoint_engine.base",
            "CheckpointEngine",
            "CheckpointEngineRegistry",
            "CheckpointEngineRegistry.register(backend)",
            replaced=[
                "CheckpointEngine.build_topology(cls, actor_wg_world_size, rollout_world_size, metadata)",
                "CheckpointEngine.finalize(self)",
                "CheckpointEngine.init_process_group(self, **kwargs)",
                "CheckpointEngine.prepare(self)",
                "CheckpointEngine.receive_weights(self, global_steps=)",
                "CheckpointEngine.send_weights(self, weights, global_steps=)",
            ],
        ),
        *seams_of("verl.plugin.platform", "PlatformBase", "PlatformRegistry", "platform_manager"),
        *seams_of(
            "verl.plugin.platform.platform_manager",
            "PlatformRegistry.get(cls, name)",
            "PlatformRegistry.register(cls, platform)",
            "PlatformRegistry.registered_names(cls)",
            "_current_platform",
        ),
        *seams_of(
            "verl.plugin.platform.platform_base",
            replaced=[
                "PlatformBase.communication_backend_name(self)",
                "PlatformBase.cudart(self)",
                "PlatformBase.current_device(self)",
                "PlatformBase.device_count(self)",
                "PlatformBase.device_module(self)",
                "PlatformBase.device_name(self)",
                "PlatformBase.empty_cache(self)",
                "PlatformBase.get_device_capability(self, device_index=)",
                "PlatformBase.is_available(self)",
                "PlatformBase.is_ipc_supported(self)",
                "PlatformBase.is_platform_available(self, use_smi_check=)",
                "PlatformBase.manual_seed(self, seed)",
                "PlatformBase.manual_seed_all(self, seed)",
                "PlatformBase.nvtx_range(self, msg)",
                "PlatformBase.profiler_start(self)",
                "PlatformBase.profiler_stop(self)",
                "PlatformBase.ray_noset_envvars(self)",
                "PlatformBase.ray_resource_name(self)",
                "PlatformBase.rollout_env_vars(self)",
                "PlatformBase.set_allocator_settings(self, settings)",
                "PlatformBase.set_device(self, device_index)",
                "PlatformBase.synchronize(self, device_index=)",
                "PlatformBase.vendor_name(self)",
                "PlatformBase.visible_devices_envvar(self)",
            ],
        ),
        *seams_of("verl.utils.device", "get_device_name()", replaced=["auto_set_device(config)"]),
        *seams_of(
            "verl.utils.distributed",
            replaced=["initialize_global_process_group_ray(timeout_second=, backend=)"],
        ),
        *seams_of("verl.workers.engine.base", "EngineRegistry", "EngineRegistry._engines"),
        *seams_of("verl.workers.engine.fsdp.transformer_impl", "FSDPEngineWithLMHead", "FSDPEngineWithValueHead"),
        *seams_of(
            "verl.workers.rollout.vllm_rollout.utils",
            "vLLMColocateWorkerExtension",
            replaced=[
                "vLLMColocateWorkerExtension._iter_all_models_with_config(self)",
                "vLLMColocateWorkerExtension._update_weights(self, weights, peft_config, base_sync_done)",
                "vLLMColocateWorkerExtension.update_weights_from_ipc(self, peft_config=, base_sync_done=, use_shm=)",
            ],
        ),
    ),
}
"""Feature -> its seams. Importing, calling or overriding another name of veRL's means adding it here."""


def misfits(feature: str, source: VerlSource) -> list[str]:
    """Return what of veRL is not as a feature needs it, one sentence each; nothing where the feature works.

    Args:
        feature: a key of `SEAMS`.
        source: of the veRL in question.
    """
    return [found for seam in SEAMS[feature] if (found := seam.misfit(source)) is not None]
