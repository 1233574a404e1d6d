"""The patches on veRL, all of them: wrappers around single functions that do nothing until a run asks for this package.

What can be done through veRL's registries and settings (platform, engine, trainer, loss, agent loop) is done there, not
here. A function that is not there, or not as it was, is left alone: `seams` says so where a run needs it.
Needs the standard library alone, as `entry_point` says.
"""

import functools
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
)
