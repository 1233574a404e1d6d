"""Find what in a run's settings contradicts something else, in one table, with what to do about it.

Errors stop the run before anything is started, warnings are printed. What contradicts one algorithm alone stands with
that algorithm (`Algorithm.check`).
"""

from omegaconf import OmegaConf

from wapo_verl.algorithms import Conflict
from wapo_verl.algorithms.algorithm import errors, warnings
from wapo_verl.algorithms.objective import ACTOR, CORRECTION, ROLLOUT, correction
from wapo_verl.algorithms.wapo import TRUNCATED
from wapo_verl.cpu.where import on_cpu
from wapo_verl.data.training_files import count_rows
from wapo_verl.engine.step_plan import STRATEGIES
from wapo_verl.rollout.failures import GROUP as FAILURES
from wapo_verl.settings.decide import FILTER, Run, trainer_mode, why_none_is_left_out
from wapo_verl.settings.outcomes import outcome_conflicts, score_names
from wapo_verl.settings.plan_conflicts import plan_conflicts
from wapo_verl.training.decisions import MODES, PREFIX, Decisions

SAVED = ("model", "optimizer", "extra")
"""What a checkpoint must hold to go back to it; `extra` is the learning-rate schedule and the random state."""


def conflicts(run: Run, decisions: Decisions) -> list[Conflict]:
    """Return everything in a run's settings that contradicts something else."""
    found = [*_trainer(run, decisions), *_asynchronous(run), *_guard(run), *plan_conflicts(run, decisions)]
    found += [*_sampling(run), *_mini_batches(run, decisions)]
    found += [*_group_filter(run), *outcome_conflicts(run), *_data(run), *_search(run)]
    if run.algorithm is not None:
        found += [*_objective(run), *run.algorithm.check(run.config)]
    return found


def _trainer(run: Run, decisions: Decisions) -> list[Conflict]:
    """Find what only this project's trainer obeys, where it does not run or cannot obey it."""
    mode, budget = trainer_mode(run.config), None if run.keys.failures is None else run.keys.failures.budget
    obeyed = ["trainer=true"] * bool(run.keys.trainer) + run.keys.planned
    obeyed += [name for name in ("guard", "record") if getattr(run.keys, name) is not None]
    obeyed += [f"outcome_gate={run.keys.outcome_gate}"] * (run.keys.outcome_gate is not None)
    obeyed += [f"{name}={value}" for name, value in run.options.items() if value != run.default_options[name]]
    return errors(
        (
            mode.startswith(PREFIX) and run.keys.trainer is False,
            f"trainer.v1.trainer_mode={mode}",
            "wapo.trainer=false declines this project's trainer, which this mode is: leave one of them out",
        ),
        *(
            (
                not run.is_ours,
                f"wapo.{name}",
                "only this project's trainer obeys it: leave out wapo.trainer=false, and set trainer.v1.trainer_mode "
                f"to one of {', '.join(MODES)} (it is {mode})",
            )
            for name in obeyed
        ),
        (
            bool(run.keys.winners_only) and not decisions.winners_only,
            "wapo.winners_only=true",
            str(decisions.why_all_rows),
        ),
        (
            bool(budget) and not decisions.failures.leaves_out,
            f"{FAILURES}.budget={budget}",
            str(why_none_is_left_out(run)),
        ),
    )


def _mini_batches(run: Run, decisions: Decisions) -> list[Conflict]:
    """Find mini-batches of which no equal parts can be made, where winners are chosen from them."""
    if not decisions.winners_only:
        return []
    config, actor = run.config, run.config.actor_rollout_ref.actor
    devices = config.trainer.nnodes * config.trainer.n_gpus_per_node
    together = max(actor.ulysses_sequence_parallel_size, actor.fsdp_config.ulysses_sequence_parallel_size)
    ranks = max(devices // together, 1)
    rows, micro = actor.ppo_mini_batch_size * config.actor_rollout_ref.rollout.n, actor.ppo_micro_batch_size_per_gpu
    of_rank, packed = rows // ranks, actor.use_dynamic_bsz or micro is None
    return errors(
        (
            bool(rows % ranks),
            f"{ACTOR}.ppo_mini_batch_size={actor.ppo_mini_batch_size}",
            f"with {ROLLOUT}.n={config.actor_rollout_ref.rollout.n} makes {rows} rows, which {ranks} ranks cannot "
            "share evenly: set one of the two",
        ),
        (
            not rows % ranks and not packed and bool(of_rank % micro),
            f"{ACTOR}.ppo_micro_batch_size_per_gpu={micro}",
            f"each of {ranks} ranks has {of_rank} rows of a mini-batch, of which no micro-batches of {micro} can be "
            f"made: set a divisor of {of_rank}",
        ),
    )


def _asynchronous(run: Run) -> list[Conflict]:
    """Find what veRL's `separate_async` needs and would end with an assertion for, once Ray has been started."""
    if run.mode != "separate_async":
        return []
    config, rollout = run.config, run.config.actor_rollout_ref.rollout
    batch, mini_batch = config.data.train_batch_size, config.actor_rollout_ref.actor.ppo_mini_batch_size
    syncs = config.trainer.v1.separate_async.parameter_sync_step
    mode = "trainer.v1.trainer_mode=separate_async"
    return errors(
        (
            batch != syncs * mini_batch,
            f"trainer.v1.separate_async.parameter_sync_step={syncs}",
            f"is the number of updates between two syncs of the weights, each of {ACTOR}.ppo_mini_batch_size="
            f"{mini_batch} prompts, and must make data.train_batch_size={batch} of them: set one of the three",
        ),
        (
            rollout.nnodes < 1 or rollout.n_gpus_per_node < 1,
            f"{ROLLOUT}.nnodes={rollout.nnodes}",
            f"{mode} has a rollout on devices of its own: set it and {ROLLOUT}.n_gpus_per_node to 1 or more",
        ),
        (
            rollout.checkpoint_engine.backend == "naive",
            f"{ROLLOUT}.checkpoint_engine.backend=naive",
            f"takes no weights to other devices, as {mode} needs: set it to nccl, nixl or another of veRL's",
        ),
    )


def _guard(run: Run) -> list[Conflict]:
    """Find what the guard's action needs and the run does not give."""
    config, settings = run.config, run.keys.guard
    if settings is None:
        return []
    action, back = f"wapo.guard.action={settings.action}", settings.action == "rollback"
    save_freq = OmegaConf.select(config, "trainer.save_freq", default=-1)
    checkpoint = OmegaConf.select(config, f"{ACTOR}.checkpoint") or {}
    missing = {
        key: [part for part in SAVED if part not in (checkpoint.get(key) or SAVED)]
        for key in ("save_contents", "load_contents")
    }
    return errors(
        (
            settings.keeps_checkpoints and save_freq <= 0,
            action,
            f"needs checkpoints, and trainer.save_freq={save_freq} writes none: set it to a number of steps above 0, "
            "or wapo.guard.action=warn",
        ),
        (
            settings.keeps_checkpoints and bool(checkpoint.get("async_save", False)),
            action,
            f"must know when a checkpoint is whole: set {ACTOR}.checkpoint.async_save=False",
        ),
        (
            back and run.mode.endswith("async"),
            action,
            f"works where trainer and rollout take turns (trainer.v1.trainer_mode=sync), not in {run.mode}: there, "
            "episodes of the policy that is given up would be trained on; set wapo.guard.action=stop",
        ),
        (
            settings.on_rollback is not None and config.actor_rollout_ref.actor.strategy not in STRATEGIES,
            "wapo.guard.on_rollback",
            f"needs {ACTOR}.strategy={' or '.join(STRATEGIES)}, whose engine takes a step's orders, and it is "
            f"{config.actor_rollout_ref.actor.strategy}",
        ),
        *(
            (
                back and bool(parts),
                action,
                f"goes back to weights, optimizer and learning-rate schedule, and {ACTOR}.checkpoint.{key} leaves out "
                f"{', '.join(parts)}: add them, or set wapo.guard.action=stop",
            )
            for key, parts in missing.items()
        ),
    )


def _objective(run: Run) -> list[Conflict]:
    """Find what no algorithm of this project can work with, and what is doubtful with every one of them."""
    rollout, algorithm, bypass = run.config.actor_rollout_ref.rollout, run.config.algorithm, run.bypasses
    correcting = correction(run.config)
    corrects = bool(correcting.get("rollout_is") or correcting.get("rollout_rs"))
    loss = run.config.actor_rollout_ref.actor.policy_loss.loss_mode
    return errors(
        (
            bool(algorithm.get("use_kl_in_reward", False)),
            "algorithm.use_kl_in_reward",
            "a KL term in the reward sets equal completions apart, and so decides who wins; use actor.use_kl_loss",
        ),
        (
            bypass and not rollout.calculate_log_probs,
            f"{ROLLOUT}.calculate_log_probs",
            "bypass mode takes the old log-probs from the rollout, which is told to keep none; set it to True",
        ),
        (
            not bypass and corrects,
            CORRECTION,
            "rollout_is and rollout_rs are not computed for this project's algorithms; leave them out, and "
            "bypass_mode=True takes the ratio to the policy that sampled",
        ),
        (
            not run.config.trainer.get("use_v1", True),
            "trainer.use_v1",
            "the old trainer replaces loss_mode in bypass mode; set it to True",
        ),
        (
            rollout.n < 2,
            f"{ROLLOUT}.n",
            "a completion alone in its group beats nobody, so it never has an advantage; set it to 2 or more",
        ),
    ) + warnings(
        (
            not bypass,
            f"{CORRECTION}.bypass_mode",
            "the ratio is taken to recomputed log-probs, not to the policy that sampled the completions",
        ),
        (
            bypass and corrects and (loss != TRUNCATED or bool(correcting.get("rollout_rs"))),
            CORRECTION,
            f"rollout_is and rollout_rs have no effect in bypass mode; WAPO's loss {TRUNCATED} is for rollout_is=token",
        ),
    )


def _sampling(run: Run) -> list[Conflict]:
    """Find groups whose completions are all the same, and log-probs that are not the policy's."""
    rollout = run.config.actor_rollout_ref.rollout
    alike = f"{rollout.n} completions of a group that are all the same, from which nothing can be learned"
    neutral = {"top_p": (1,), "top_k": (-1, 0), "min_p": (0,), "repetition_penalty": (1,)}
    shaped = [f"{ROLLOUT}.{key}={rollout[key]}" for key in neutral if rollout.get(key) not in (None, *neutral[key])]
    mode = str(rollout.get("logprobs_mode", "processed_logprobs"))
    return errors(
        (
            rollout.temperature == 0 and rollout.n > 1,
            f"{ROLLOUT}.temperature=0",
            f"gives {alike}: set it above 0 (1.0 is veRL's default)",
        ),
        (
            not rollout.do_sample and rollout.n > 1,
            f"{ROLLOUT}.do_sample=False",
            f"asks for {alike} (veRL's V1 trainer ignores it): leave it out",
        ),
        (
            bool(rollout.get("full_determinism", False)) and on_cpu(run.config),
            f"{ROLLOUT}.full_determinism=True",
            "needs vLLM's batch-invariant kernels, which are made by Triton and for GPUs alone: leave it out on a CPU, "
            "where each completion has a seed of its own anyway (docs/faults.md says how equal two runs are)",
        ),
        (
            bool(run.keys.seeded_sampling) and bool(rollout.get("enable_chunked_prefill")) and on_cpu(run.config),
            f"{ROLLOUT}.enable_chunked_prefill=True",
            "ends vLLM's CPU build at the first prompt of a seeded request that it reads in parts: leave it out",
        ),
        (
            bool(run.keys.seeded_sampling) and rollout.get("name") != "vllm",
            "wapo.seeded_sampling=true",
            f"is for vLLM, and {ROLLOUT}.name={rollout.get('name')}: leave it out",
        ),
    ) + warnings(
        (
            run.bypasses and bool(shaped),
            ", ".join(shaped),
            "in bypass mode the old log-probs are the rollout's, here of another distribution than the actor's, so "
            "every ratio is off; leave it out",
        ),
        (
            run.bypasses and mode.startswith("raw") and rollout.temperature != 1,
            f"{ROLLOUT}.logprobs_mode={mode}",
            f"leaves out temperature={rollout.temperature}, by which the actor's logits are divided, so in bypass mode "
            "every ratio is off; set it to processed_logprobs",
        ),
    )


def _group_filter(run: Run) -> list[Conflict]:
    """Find a step of all-equal groups that would never end, and a metric that no completion has."""
    if not run.filters_groups:
        return []
    limit, metric = (OmegaConf.select(run.config, f"{FILTER}.{key}") for key in ("max_num_gen_batches", "metric"))
    missing = {} if metric == "reward" else {of: names for of, names in score_names(run) if metric not in names}
    return errors(
        (
            not isinstance(limit, int) or limit < 1,
            f"{FILTER}.max_num_gen_batches={limit}",
            "is no limit, and a step whose groups are all equal would never end: set a number of batches of at least "
            "1, or leave it out",
        ),
        *(
            (
                True,
                f"{FILTER}.metric={metric}",
                f"{of} have no such reward: choose reward, {', '.join(names)}",
            )
            for of, names in missing.items()
        ),
    )


def _data(run: Run) -> list[Conflict]:
    """Find training files that do not fill one batch."""
    batch, count = run.config.data.train_batch_size, count_rows(run.training_files)
    return errors(
        (
            count is not None and count < batch,
            f"data.train_batch_size={batch}",
            f"data.train_files has {count} rows, fewer than one batch: set a smaller batch or give more rows",
        )
    )


def _search(run: Run) -> list[Conflict]:
    """Find what the search agents need of the rollout and do not get."""
    settings = run.search_agent
    if settings is None:
        return []
    engine, limit = run.config.actor_rollout_ref.rollout.get("name", "vllm"), run.config.data.max_response_length
    longest = settings.top_k * settings.passage_tokens
    return errors(
        (
            engine != "vllm",
            f"{ROLLOUT}.name",
            "search_agent stops a turn at its closing tag through vLLM's sampling parameters; "
            f"{ROLLOUT}.name={engine} is not supported, set it to vllm",
        ),
    ) + warnings(
        (
            longest >= limit,
            f"data.max_response_length={limit}",
            f"a search may return {settings.top_k} passages of up to {settings.passage_tokens} tokens, {longest} in "
            "all, and a result that does not fit ends its episode as context_full; raise it, or lower "
            "wapo.search_agent.top_k or passage_tokens",
        ),
    )
