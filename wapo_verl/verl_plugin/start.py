"""What happens to a run that asks for this package, before veRL validates its configuration. Other runs never get here.

In the order of `start`: nothing foreign stands in the place of our packages, what the run needs of veRL is as it was
(`fit`), the CPU is the platform where the run computes on it, settings are resolved, the workers are told, and the
run's processes are watched.
"""

import importlib
import os
import sys
from pathlib import Path
from types import ModuleType

from omegaconf import DictConfig, ListConfig, OmegaConf

import wapo_verl
from wapo_verl.cpu.where import PLATFORM_VARIABLE, accelerator, asks_for_cpu, elsewhere, joined_cluster, on_cpu
from wapo_verl.say import say
from wapo_verl.verl_plugin.asks import TRAINER_MODE, TRAINER_PREFIX, asked
from wapo_verl.verl_plugin.errors import PluginError
from wapo_verl.verl_plugin.fit import fit

ENGINE = "wapo_verl.verl_plugin.step_plan_engine"
EXTERNAL_LIB = "actor_rollout_ref.model.external_lib"


def start(config: DictConfig) -> None:
    """Resolve a run's settings in place and make this process ready for it.

    Raises:
        PluginError: where something of the user's stands in the way, or a part of this package cannot be imported.
        SettingsError, ValueError: as `wapo_verl.settings.run.apply` does.
    """
    refuse_foreign("retrieval_index")
    fit(config)
    if on_cpu(config):
        use_cpu()
        check_workers_platform()
        if not asks_for_cpu(config) and joined_cluster(config) is not None:
            say("computes on CPUs: the nodes of this Ray cluster have logical GPUs alone")
    elif accelerator() is None and not asks_for_cpu(config):
        say(f"the devices are not this machine's, since {elsewhere(config)}")
    _ours("wapo_verl.settings.run", config).apply(config)
    if str(OmegaConf.select(config, TRAINER_MODE)).startswith(TRAINER_PREFIX):
        send_engine(config)
    watch(config)


def refuse_foreign(name: str) -> None:
    """Raise PluginError where a package of ours is not what its name means: a user's folder comes first on the path.

    It is looked for as an import would, but not imported.
    """
    searches = (finder.find_spec(name, None) for finder in sys.meta_path)
    spec = next(filter(None, searches), None)
    ours = Path(wapo_verl.__file__).resolve().parents[1] / name
    if spec is not None and spec.origin is not None and Path(spec.origin).resolve() == ours / "__init__.py":
        return
    found = "nothing" if spec is None else spec.origin or ", ".join(spec.submodule_search_locations or ())
    raise PluginError(
        f"this run uses wapo-verl, whose package {name!r} is {ours}, but here that name means {found}: rename that, or "
        "start the run in another folder (the current one comes first on Python's path)"
    )


def use_cpu() -> None:
    """Make the CPU this process's platform."""
    _ours("wapo_verl.cpu.platform").use()


def check_workers_platform() -> None:
    """Raise PluginError where Ray was started before its workers could be told that the CPU is their platform."""
    import ray

    if not ray.is_initialized() or os.environ.get(PLATFORM_VARIABLE):
        return
    told = ray.get_runtime_context().runtime_env.get("env_vars") or {}
    if told.get(PLATFORM_VARIABLE) != "cpu":
        raise PluginError(
            "this run computes on the CPU, and Ray was started before its workers could be told: give ray.init the "
            f"argument runtime_env={{'env_vars': {{'{PLATFORM_VARIABLE}': 'cpu'}}}}, or let veRL start Ray"
        )


def send_engine(config: DictConfig) -> None:
    """Have the workers import our engine beside what the user has them import, in place."""
    given = OmegaConf.select(config, EXTERNAL_LIB, default=None) or []
    libraries = list(given) if isinstance(given, ListConfig | list) else [given]
    if ENGINE not in libraries:
        OmegaConf.update(config, EXTERNAL_LIB, [*libraries, ENGINE], force_add=True)


def watch(config: DictConfig) -> None:
    """Have this process look at the run's processes, and end the run with a sentence where one is lost."""
    folder = Path(str(OmegaConf.select(config, "trainer.default_local_dir"))).absolute()
    parts = ["actor", *["critic"] * bool(OmegaConf.select(config, "critic.enable"))]
    checkpoints = _ours("wapo_verl.training.whole_checkpoints")
    evaluates = bool(OmegaConf.select(config, "trainer.val_only"))

    def what_is_next() -> str:
        return "start it again" if evaluates else str(checkpoints.where_to_resume(folder, parts))

    _ours("wapo_verl.watch.watch").begin(what_is_next)


def _ours(name: str, config: DictConfig | None = None) -> ModuleType:
    """Import a module of ours.

    Raises:
        PluginError: where that fails, naming what is missing and the setting that asked for it.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        setting = "trainer.device=cpu" if config is None else "{}={}".format(*next(iter(asked(config).items())))
        fix = "install it into this environment" if error.name else "install wapo-verl into this environment again"
        raise PluginError(f"{setting} asks for wapo-verl, which cannot be imported: {error}; {fix}") from error
