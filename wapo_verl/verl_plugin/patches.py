"""The patches on veRL, all of them: wrappers around single functions that do nothing until a run asks for this package.

What can be done through veRL's registries and settings (platform, engine, trainer, loss, agent loop) is done there, not
here. A function that is not there, or not as it was, is left alone: `seams` says so where a run needs it.
Needs the standard library alone, as `entry_point` says.
"""

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from wapo_verl.verl_plugin.after_import import after_import

_MARK = "__wapo_verl_patch__"


@dataclass(frozen=True)
class Patch:
    """One wrapped function.

    Attributes:
        module: dotted name of the module that holds it.
        function: its name there, after the class's and a dot where it is a method.
        why: the reason, as `wapo-verl doctor` prints it.
        wrap: makes the replacement out of the original.
        needed_by: the module of ours without which it is not applied; empty where the replacement itself asks first.
    """

    module: str
    function: str
    why: str
    wrap: Callable[[Any], Any]
    needed_by: str = ""

    def apply(self, module: ModuleType) -> None:
        """Put the replacement in place, once; a function that is gone is left alone."""
        holder, name = self._holder(module)
        original = vars(holder).get(name) if holder is not None else None
        if original is not None and not self.applied(module):
            setattr(holder, name, self.wrap(original))

    def when_needed(self, _: ModuleType) -> None:
        """Apply it as soon as veRL's module is imported: what needs it is."""
        after_import(self.module, self.apply)

    def applied(self, module: ModuleType) -> bool:
        """Tell whether `module` holds the replacement."""
        holder, name = self._holder(module)
        return hasattr(getattr(holder, name, None), _MARK)

    def _holder(self, module: ModuleType) -> tuple[Any, str]:
        """Return the module or the class that holds the function, or None for it, and the function's name there."""
        *owners, name = self.function.split(".")
        holder: Any = module
        for owner in owners:
            holder = getattr(holder, owner, None)
        return holder, name


def marked(original: Callable[..., Any], replacement: Callable[..., Any]) -> Callable[..., Any]:
    """Return the replacement under the original's name and signature, marked as ours."""
    wrapper = functools.wraps(original)(replacement)
    setattr(wrapper, _MARK, True)
    return wrapper


def _start_before_validation(validate_config: Callable[..., None]) -> Callable[..., None]:
    """Resolve the settings of a run that asks for this package, then validate what came out."""

    def validate(config: Any, *args: Any, **kwargs: Any) -> None:
        from wapo_verl.verl_plugin.asks import asks_for_ours

        if asks_for_ours(config):
            from wapo_verl.verl_plugin.start import start

            start(config)
        validate_config(config, *args, **kwargs)

    return marked(validate_config, validate)


def _keep_the_cpu(auto_set_device: Callable[[Any], None]) -> Callable[[Any], None]:
    """Take `trainer.device=cpu` for what it says; veRL writes the device over it that it has settled for."""

    def set_device(config: Any) -> None:
        trainer = getattr(config, "trainer", None)
        if getattr(trainer, "device", None) == "cpu":
            from wapo_verl.verl_plugin.start import use_cpu

            use_cpu()
        auto_set_device(config)

    return marked(auto_set_device, set_device)


def _find_our_estimators(get_adv_estimator_fn: Callable[..., Any]) -> Callable[..., Any]:
    """Register an estimator of ours when it is asked for."""

    def get(name_or_enum: Any) -> Any:
        from wapo_verl.verl_plugin.asks import is_our_estimator

        name = str(getattr(name_or_enum, "value", name_or_enum))
        if is_our_estimator(name):
            from wapo_verl.verl_plugin.algorithms import register_estimator

            register_estimator(name)
        return get_adv_estimator_fn(name_or_enum)

    return marked(get_adv_estimator_fn, get)


def _find_our_losses(get_policy_loss_fn: Callable[[str], Any]) -> Callable[[str], Any]:
    """Register a policy loss of ours when it is asked for."""

    def get(name: str) -> Any:
        from wapo_verl.verl_plugin.asks import is_our_loss

        if is_our_loss(name):
            from wapo_verl.verl_plugin.algorithms import register_loss

            register_loss(name)
        return get_policy_loss_fn(name)

    return marked(get_policy_loss_fn, get)


def _find_our_trainers(get_trainer_cls: Callable[[str], type]) -> Callable[[str], type]:
    """Import our trainers, which register themselves, when one is asked for."""

    def get(name: str) -> type:
        from wapo_verl.verl_plugin.asks import TRAINER_PREFIX

        if name.startswith(TRAINER_PREFIX):
            import wapo_verl.training.trainer  # noqa: F401
        return get_trainer_cls(name)

    return marked(get_trainer_cls, get)


def _name_the_cpu_once(initialize: Callable[..., Any]) -> Callable[..., Any]:
    """Ask for plain gloo on the CPU: veRL's "cpu:gloo,cpu:gloo" names the device twice, which torch refuses."""

    def initialize_process_group(timeout_second: float | None = None, backend: str | None = None) -> Any:
        from verl.utils.device import get_device_name

        if backend is None and get_device_name() == "cpu":
            backend = "gloo"
        return initialize(timeout_second=timeout_second, backend=backend)

    return marked(initialize, initialize_process_group)


def _let_losses_choose_their_reduction(from_dict: classmethod) -> classmethod:
    """Keep values that are a `Metric` already; upstream raises where such a one has another reduction."""

    def keep_metrics(cls: type, data: dict[str, Any], aggregation: Any) -> dict[str, Any]:
        plain = {name: value for name, value in data.items() if not isinstance(value, cls)}
        return {**data, **from_dict.__func__(cls, plain, aggregation)}

    return classmethod(marked(from_dict.__func__, keep_metrics))


def _raise_recorded_failures(sync: Callable[[Any], None]) -> Callable[[Any], None]:
    """Look for failed episodes whenever the groups' statuses are read, as every sampling loop of every mode does."""

    def sync_and_check(replay_buffer: Any) -> None:
        sync(replay_buffer)
        if any(replay_buffer.failure_keys.values()):
            from wapo_verl.rollout.fail_fast import raise_recorded_failures

            raise_recorded_failures(replay_buffer.failure_keys)
        ledger = getattr(replay_buffer, "wapo_failures", None)  # which this project's trainer gives its buffer
        if ledger is not None:
            ledger.look(replay_buffer.partitions, replay_buffer.finished_keys)

    return marked(sync, sync_and_check)


def _seed_each_turn(generate: Callable[..., Any]) -> Callable[..., Any]:
    """Give each request of a seeded completion a seed of its own; under the client that continues cut requests too."""

    async def generate_seeded(
        client: Any, request_id: str, *, prompt_ids: Any, sampling_params: dict[str, Any], **kwargs: Any
    ) -> Any:
        from wapo_verl.rollout.seeds import seed_the_turn

        seeded = seed_the_turn(sampling_params, len(prompt_ids))
        return await generate(client, request_id, prompt_ids=prompt_ids, sampling_params=seeded, **kwargs)

    return marked(generate, generate_seeded)


def _is_ours(rollout: Any) -> bool:
    """Tell by a rollout's configuration, in one of its processes, whether the run is one of ours."""
    manager = getattr(getattr(rollout, "agent", None), "agent_loop_manager_class", None)
    return str(manager).startswith("wapo_verl.")


def _socket_of_this_run(job: str) -> str:
    """Return a job's name that no other Ray on this machine has: every local Ray calls its first job 01000000."""
    import ray

    return f"{job}-{ray.get_runtime_context().gcs_address.replace(':', '-')}"


def _name_the_senders_socket(init: Callable[..., None]) -> Callable[..., None]:
    """Send the weights through a socket named after this run, not after the job's number alone."""

    def make(adapter: Any, *args: Any, **kwargs: Any) -> None:
        init(adapter, *args, **kwargs)
        if _is_ours(adapter.config):
            import ray

            job = ray.get_runtime_context().get_job_id()
            adapter.zmq_handle = adapter.zmq_handle.replace(job, _socket_of_this_run(job))

    return marked(init, make)


def _name_the_receivers_socket(init: Callable[..., None]) -> Callable[..., None]:
    """Tell the engine, which inherits this process's variables, the same name."""

    def make(server: Any, *args: Any, **kwargs: Any) -> None:
        init(server, *args, **kwargs)
        if _is_ours(server.config):
            os.environ["VERL_RAY_JOB_ID"] = _socket_of_this_run(os.environ["VERL_RAY_JOB_ID"])

    return marked(init, make)


def _keep_the_metrics_before(init: Callable[..., None]) -> Callable[..., None]:
    """Keep the lines of the steps before where a run is resumed; veRL empties the file."""

    def make(logger: Any, project_name: str, experiment_name: str) -> None:
        from wapo_verl.training.metrics_file import kept_lines, metrics_file

        kept = kept_lines(metrics_file(project_name, experiment_name))
        init(logger, project_name, experiment_name)
        logger.fp.write(kept)

    return marked(init, make)


def _survive_a_full_disk(log: Callable[..., None]) -> Callable[..., None]:
    """Say once that metrics cannot be written, and go on; veRL ends the run."""

    def write(logger: Any, data: dict[str, Any], step: int) -> None:
        from wapo_verl.training.metrics_file import write_whole

        write_whole(logger, lambda: log(logger, data, step))

    return marked(log, write)


_SETTINGS = "a run that asks for this package has its settings resolved before veRL validates them"

PATCHES = (
    Patch("verl.utils.config", "validate_config", _SETTINGS, _start_before_validation),
    Patch("verl.utils", "validate_config", f"{_SETTINGS} (veRL's second name for it)", _start_before_validation),
    Patch(
        module="verl.utils.device",
        function="auto_set_device",
        why="trainer.device=cpu makes the CPU the platform; veRL would write the device over it that it settled for",
        wrap=_keep_the_cpu,
    ),
    Patch(
        module="verl.trainer.ppo.core_algos",
        function="get_adv_estimator_fn",
        why="an estimator of this project is registered when it is asked for",
        wrap=_find_our_estimators,
    ),
    Patch(
        module="verl.trainer.ppo.core_algos",
        function="get_policy_loss_fn",
        why="a policy loss of this project is registered when it is asked for",
        wrap=_find_our_losses,
    ),
    Patch(
        module="verl.trainer.ppo.v1.trainer_base",
        function="get_trainer_cls",
        why="a trainer of this project is registered when it is asked for",
        wrap=_find_our_trainers,
    ),
    Patch(
        module="verl.utils.distributed",
        function="initialize_global_process_group_ray",
        why='on a CPU veRL asks torch for the backend "cpu:gloo,cpu:gloo", which torch refuses',
        wrap=_name_the_cpu_once,
        needed_by="wapo_verl.cpu.platform",
    ),
    Patch(
        module="verl.utils.metric",
        function="Metric.from_dict",
        why="a loss of this project chooses how its metrics are reduced (a maximum, a token-weighted mean)",
        wrap=_let_losses_choose_their_reduction,
        needed_by="wapo_verl.engine.loss_metrics",
    ),
    Patch(
        module="verl.trainer.ppo.v1.replay_buffer",
        function="ReplayBuffer._sync_metadata_from_transfer_queue",
        why="a failed search or reward is counted, or stops the run with its reason; veRL logs it and trains on",
        wrap=_raise_recorded_failures,
        needed_by="wapo_verl.rollout.fail_fast",
    ),
    Patch(
        module="verl.workers.rollout.llm_server",
        function="LLMServerClient.generate",
        why="a completion's random numbers are its own, whichever request reaches the engine first",
        wrap=_seed_each_turn,
        needed_by="wapo_verl.rollout.fail_fast",
    ),
    Patch(
        module="verl.workers.rollout.vllm_rollout.vllm_rollout",
        function="ServerAdapter.__init__",
        why="two runs on one machine send their weights through sockets of their own (every local Ray's first job has "
        "the same number)",
        wrap=_name_the_senders_socket,
    ),
    Patch(
        module="verl.workers.rollout.vllm_rollout.vllm_async_server",
        function="vLLMHttpServer.__init__",
        why="the engine is told the name of that socket",
        wrap=_name_the_receivers_socket,
    ),
    Patch(
        module="verl.utils.tracking",
        function="FileLogger.__init__",
        why="the metrics of the steps before are kept when a run is resumed; veRL empties the file",
        wrap=_keep_the_metrics_before,
        needed_by="wapo_verl.training.metrics_file",
    ),
    Patch(
        module="verl.utils.tracking",
        function="FileLogger.log",
        why="metrics that cannot be written are said once, and training goes on",
        wrap=_survive_a_full_disk,
        needed_by="wapo_verl.training.metrics_file",
    ),
)
