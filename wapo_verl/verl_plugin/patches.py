"""The patches on veRL 0.9.1, all of them.

Each is a wrapper around one function, put in place right after veRL imports the module that holds it. What can be done
through veRL's registries (platform, engine, trainer, estimator, loss, agent loop) is done there, not here.
`tests/wapo_verl/verl_plugin/test_patches.py` holds each seam to the shape it had in 0.9.1.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

VERSION = "0.9.1"


@dataclass(frozen=True)
class Patch:
    """One wrapped function.

    Attributes:
        module: dotted name of the module that holds it.
        function: its name there, after the class's and a dot where it is a method.
        why: the reason, as `wapo-verl doctor` prints it.
        wrap: makes the replacement out of the original.
    """

    module: str
    function: str
    why: str
    wrap: Callable[[Any], Any]

    def apply(self, module: ModuleType) -> None:
        """Put the replacement in place; raises AttributeError, naming the seam, where upstream has moved."""
        holder, name = self._holder(module)
        original = vars(holder).get(name) if holder is not None else None
        if original is None:
            raise AttributeError(
                f"{self.module}.{self.function} is gone: wapo-verl patches verl {VERSION}. Install that version."
            )
        if not self.applied(module):
            setattr(holder, name, self.wrap(original))

    def applied(self, module: ModuleType) -> bool:
        """Tell whether `module` holds the replacement."""
        holder, name = self._holder(module)
        return hasattr(getattr(holder, name, None), "__wapo_verl_patch__")

    def _holder(self, module: ModuleType) -> tuple[Any, str]:
        """Return the module or the class that holds the function, or None for it, and the function's name there."""
        *owners, name = self.function.split(".")
        holder: Any = module
        for owner in owners:
            holder = getattr(holder, owner, None)
        return holder, name


def _marked(original: Callable[..., Any], replacement: Callable[..., Any]) -> Callable[..., Any]:
    wrapper = functools.wraps(original)(replacement)
    wrapper.__wapo_verl_patch__ = True  # type: ignore[attr-defined]
    return wrapper


def _resolve_settings_first(validate_config: Callable[..., None]) -> Callable[..., None]:
    """Resolve the algorithm's and the platform's settings, then validate what came out."""

    def validate(config: Any, *args: Any, **kwargs: Any) -> None:
        from wapo_verl.settings import run as run_settings

        run_settings.apply(config)
        validate_config(config, *args, **kwargs)

    return _marked(validate_config, validate)


def _name_the_cpu_once(initialize: Callable[..., Any]) -> Callable[..., Any]:
    """Ask for plain gloo on the CPU: veRL's "cpu:gloo,cpu:gloo" names the device twice, which torch refuses."""

    def initialize_process_group(timeout_second: float | None = None, backend: str | None = None) -> Any:
        from verl.utils.device import get_device_name

        if backend is None and get_device_name() == "cpu":
            backend = "gloo"
        return initialize(timeout_second=timeout_second, backend=backend)

    return _marked(initialize, initialize_process_group)


def _let_losses_choose_their_reduction(from_dict: classmethod) -> classmethod:
    """Keep values that are a `Metric` already; upstream raises where such a one has another reduction."""

    def keep_metrics(cls: type, data: dict[str, Any], aggregation: Any) -> dict[str, Any]:
        plain = {name: value for name, value in data.items() if not isinstance(value, cls)}
        return {**data, **from_dict.__func__(cls, plain, aggregation)}

    return classmethod(_marked(from_dict.__func__, keep_metrics))


def _raise_recorded_failures(sync: Callable[[Any], None]) -> Callable[[Any], None]:
    """Look for failed episodes whenever the groups' statuses are read, as every sampling loop of every mode does."""

    def sync_and_check(replay_buffer: Any) -> None:
        sync(replay_buffer)
        if any(replay_buffer.failure_keys.values()):
            from wapo_verl.rollout.fail_fast import raise_recorded_failures

            raise_recorded_failures(replay_buffer.failure_keys)

    return _marked(sync, sync_and_check)


def _end_turns_as_the_template_does(get_builder_class: Callable[..., type]) -> Callable[..., type]:
    """Use our builder where veRL's knows no rule for the model, or only Qwen's line break."""

    def get_class(model_family: Any) -> type:
        from wapo_verl.rollout.turn_tokens import builder_for

        return builder_for(get_builder_class(model_family))

    return _marked(get_builder_class, get_class)


def _take_control_tokens_out_of_results(call_tool: Callable[..., Any]) -> Callable[..., Any]:
    """Clean the text of every result, veRL's own messages about unknown tools and bad arguments included."""

    async def call(agent_loop: Any, *args: Any, **kwargs: Any) -> Any:
        from wapo_verl.rollout.chat import without_control_strings

        response, reward, metrics = await call_tool(agent_loop, *args, **kwargs)
        if response.text:
            text = without_control_strings(response.text, agent_loop.tokenizer)
            response = response.model_copy(update={"text": text})
        return response, reward, metrics

    return _marked(call_tool, call)


PATCHES = (
    Patch(
        module="verl.utils.config",
        function="validate_config",
        why="algorithm.adv_estimator alone sets the whole objective, and a CPU its settings, before veRL validates",
        wrap=_resolve_settings_first,
    ),
    Patch(
        module="verl.utils.distributed",
        function="initialize_global_process_group_ray",
        why='on a CPU veRL asks torch for the backend "cpu:gloo,cpu:gloo", which torch refuses',
        wrap=_name_the_cpu_once,
    ),
    Patch(
        module="verl.utils.metric",
        function="Metric.from_dict",
        why="a loss may choose how its metrics are reduced over micro-batches (a maximum, a token-weighted mean)",
        wrap=_let_losses_choose_their_reduction,
    ),
    Patch(
        module="verl.trainer.ppo.v1.replay_buffer",
        function="ReplayBuffer._sync_metadata_from_transfer_queue",
        why="a failed search or reward stops the run with its reason; veRL logs it and trains on what is left",
        wrap=_raise_recorded_failures,
    ),
    Patch(
        module="verl.utils.tokenizer.continuous_token_wiring",
        function="get_continuous_token_builder_class",
        why="before a tool's result, a turn gets the chat template's end of turn (SmolLM3's; that of a cut turn)",
        wrap=_end_turns_as_the_template_does,
    ),
    Patch(
        module="verl.experimental.agent_loop.tool_agent_loop",
        function="ToolAgentLoop._call_tool",
        why="control tokens of the chat template written in a tool's result as text must not become such",
        wrap=_take_control_tokens_out_of_results,
    ),
)
