# The settings that all of WAPO's published runs share (arXiv 2606.16154), as veRL's keys; sourced after common.sh.
#
# They are the effective ones, as the authors' released code runs them: 8 completions a prompt, 256 a batch, 64 a
# mini-batch, lr 1e-5 from the first step (their scheduler ignores its ten warm-up steps), no weight decay, LoRA of rank 8
# and alpha 32 on all linear layers, gradient norm at most 1.0, temperature 1.0 in validation too, prompts of 512 tokens,
# rows in the file's order. docs/paper.md has every key, theirs beside ours; a test holds these files to it.
#
# ADV_ESTIMATOR is the one knob that chooses the algorithm, with all its parts: the objective (loss, clip, averaging,
# normaliser) is what algorithm.adv_estimator=... resolves to, and the run prints it. The rest of the run stays the same.
#
#   wapo                                       the method
#   grpo_ref dapo gspo_ref raft_pp cpgd        what it is compared with, as the authors of WAPO and of CPGD ran them
#   dr_grpo dr_dapo raft                       the other baselines of WAPO's authors
#   grpo                                       veRL's own GRPO, averaged and clipped as grpo_ref is

ADV_ESTIMATOR="${ADV_ESTIMATOR:-wapo}"

GROUP_SIZE="${GROUP_SIZE:-8}"                    # completions a prompt
PROMPTS_PER_BATCH="${PROMPTS_PER_BATCH:-32}"     # 32 x 8 = 256 completions
PROMPTS_PER_MINI_BATCH="${PROMPTS_PER_MINI_BATCH:-8}"
LR="${LR:-1e-5}"
LR_WARMUP_STEPS="${LR_WARMUP_STEPS:-0}"
WEIGHT_DECAY="${WEIGHT_DECAY:-0.0}"
LORA_RANK="${LORA_RANK:-8}"
LORA_ALPHA="${LORA_ALPHA:-32}"
MAX_PROMPT_LENGTH="${MAX_PROMPT_LENGTH:-512}"    # longer ones are left out
MAX_RESPONSE_LENGTH="${MAX_RESPONSE_LENGTH:-$((MAX_LENGTH - MAX_PROMPT_LENGTH))}"
SHUFFLE="${SHUFFLE:-False}"                      # the rows' order in training
VAL_TEMPERATURE="${VAL_TEMPERATURE:-1.0}"        # 0 validates greedily

# ONE_GPU=24 or 80: one GPU with so many GiB. Weights and moments wait in the host's memory while the GPU samples, and a
# micro-batch is one longest sequence on 24 GiB. Each knob still wins where it is set.
OFFLOAD=False
case "${ONE_GPU:-}" in
    "") ;;
    24 | 80)
        OFFLOAD=True
        N_GPUS_PER_NODE="${N_GPUS_PER_NODE:-1}"
        if [[ "$ONE_GPU" == 24 ]]; then
            MAX_TOKENS_PER_GPU="${MAX_TOKENS_PER_GPU:-$((MAX_PROMPT_LENGTH + MAX_RESPONSE_LENGTH))}"
        fi
        ;;
    *) stop "ONE_GPU=$ONE_GPU has no settings: choose 24 or 80 (GiB)" ;;
esac
N_GPUS_PER_NODE="${N_GPUS_PER_NODE:-8}"
TENSOR_PARALLEL="${TENSOR_PARALLEL:-1}"
GPU_MEMORY_UTILIZATION="${GPU_MEMORY_UTILIZATION:-0.6}"
MAX_TOKENS_PER_GPU="${MAX_TOKENS_PER_GPU:-16384}" # of a micro-batch; at least MAX_LENGTH

SAVE_FREQ="${SAVE_FREQ:-50}"
TEST_FREQ="${TEST_FREQ:-50}"
VAL_SAMPLES="${VAL_SAMPLES:--1}"                 # the first so many rows; -1 validates on all
LOGGER="${LOGGER:-[console,wandb,tensorboard]}"

OBJECTIVE=()
case "$ADV_ESTIMATOR" in
    wapo | grpo_ref | dr_grpo | dapo | dr_dapo | gspo_ref | raft | raft_pp | cpgd | psr | nsr | w_reinforce | topr | asymre) ;;
    grpo)
        OBJECTIVE=(
            actor_rollout_ref.actor.loss_agg_mode=seq-mean-token-mean
            actor_rollout_ref.actor.calculate_entropy=True
            actor_rollout_ref.rollout.calculate_log_probs=True
            algorithm.rollout_correction.bypass_mode=True
        )
        ;;
    *)
        stop "ADV_ESTIMATOR=$ADV_ESTIMATOR has no recipe: choose wapo, grpo_ref, dapo, gspo_ref, raft_pp, cpgd, dr_grpo," \
            "dr_dapo, raft, psr, nsr, w_reinforce, topr, asymre or grpo"
        ;;
esac

# published_settings OUT: fill SETTINGS. MAX_LENGTH and STEPS must be set.
published_settings() {
    local out="$1"
    SETTINGS=(
        algorithm.adv_estimator="$ADV_ESTIMATOR"
        "${OBJECTIVE[@]}"
        data.train_batch_size="$PROMPTS_PER_BATCH"
        data.max_prompt_length="$MAX_PROMPT_LENGTH"
        data.max_response_length="$MAX_RESPONSE_LENGTH"
        data.filter_overlong_prompts=True
        data.shuffle="$SHUFFLE"
        data.val_max_samples="$VAL_SAMPLES"
        reward.custom_reward_function.path=pkg://wapo_verl.reward
        +wapo.trainer=true
        actor_rollout_ref.rollout.name=vllm
        actor_rollout_ref.rollout.n="$GROUP_SIZE"
        actor_rollout_ref.rollout.temperature=1.0
        actor_rollout_ref.rollout.val_kwargs.temperature="$VAL_TEMPERATURE"
        actor_rollout_ref.rollout.val_kwargs.do_sample="$([[ "$VAL_TEMPERATURE" =~ ^0(\.0*)?$ ]] && echo False || echo True)"
        actor_rollout_ref.rollout.max_model_len="$((MAX_PROMPT_LENGTH + MAX_RESPONSE_LENGTH))"
        actor_rollout_ref.rollout.tensor_model_parallel_size="$TENSOR_PARALLEL"
        actor_rollout_ref.rollout.gpu_memory_utilization="$GPU_MEMORY_UTILIZATION"
        actor_rollout_ref.rollout.load_format=safetensors # with LoRA the engine reads the base weights itself
        actor_rollout_ref.model.lora_rank="$LORA_RANK"
        actor_rollout_ref.model.lora_alpha="$LORA_ALPHA"
        actor_rollout_ref.model.target_modules=all-linear
        actor_rollout_ref.actor.strategy=fsdp2
        actor_rollout_ref.actor.ppo_mini_batch_size="$PROMPTS_PER_MINI_BATCH"
        actor_rollout_ref.actor.use_dynamic_bsz=True
        actor_rollout_ref.actor.ppo_max_token_len_per_gpu="$MAX_TOKENS_PER_GPU"
        actor_rollout_ref.actor.fsdp_config.param_offload="$OFFLOAD"
        actor_rollout_ref.actor.fsdp_config.optimizer_offload="$OFFLOAD"
        actor_rollout_ref.actor.grad_clip=1.0
        actor_rollout_ref.actor.optim.lr="$LR"
        actor_rollout_ref.actor.optim.lr_warmup_steps="$LR_WARMUP_STEPS"
        actor_rollout_ref.actor.optim.lr_scheduler_type=constant
        actor_rollout_ref.actor.optim.weight_decay="$WEIGHT_DECAY"
        trainer.n_gpus_per_node="$N_GPUS_PER_NODE"
        trainer.total_training_steps="$STEPS"
        trainer.save_freq="$SAVE_FREQ"
        trainer.max_actor_ckpt_to_keep=3
        trainer.default_local_dir="$out/checkpoints"
        trainer.resume_mode=auto
        trainer.test_freq="$TEST_FREQ"
        trainer.val_before_train=True
        trainer.rollout_data_dir="$out/rollouts"
        trainer.validation_data_dir="$out/validation"
        trainer.logger="$LOGGER"
        +ray_kwargs.ray_init.runtime_env.env_vars.TENSORBOARD_DIR="$out/tensorboard"
        hydra.run.dir="$out/hydra"
        "${RAY_SETTINGS[@]}"
    )
}
