"""`wapo-verl doctor`: what a run started in this folder would find, and the fix for each thing that is wrong.

Everything is looked up in the running process, as `python -m verl.trainer.main_ppo` would find it here: the current
folder comes first on Python's path. Nothing needs a GPU or a cluster.
"""

import json
import os
import platform as python_platform
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from importlib.metadata import PackageNotFoundError, distributions, entry_points, version
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from wapo_verl.check import Check

PACKAGES = ("torch", "vllm", "ray", "TransferQueue", "tensordict", "transformers", "numpy", "tantivy")
BREAKS_CPU_VLLM = ("torchvision", "torchaudio", "torchcodec")


def installed(name: str) -> str | None:
    """Return the installed version of a distribution, or None."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def reinstall() -> str:
    """Return the command that installs this package again, from the checkout or wheel that it came from."""
    # In a checkout the *.egg-info that a build left there is one more, and does not say where it came from.
    origins = [package.read_text("direct_url.json") for package in distributions(name="wapo-verl")]
    origin = json.loads(next(filter(None, origins), "{}"))
    source = origin.get("url", "wapo-verl").removeprefix("file://")
    if origin.get("dir_info", {}).get("editable"):
        return f"pip install --no-deps -e {source}"
    return f"pip install --force-reinstall --no-deps {source}"


def look_from_here() -> None:
    """Put the current folder first on Python's path, as `python -m` does; the command `wapo-verl` does not."""
    here = os.getcwd()
    if not sys.flags.safe_path and sys.path[0] not in ("", here):
        sys.path.insert(0, here)


def check_verl() -> list[Check]:
    """Tell which veRL is imported here, whether it loads the plugin, and what of it fits."""
    import verl

    from wapo_verl.verl_plugin import loading, seams
    from wapo_verl.verl_plugin.verl_source import VerlSource

    root = Path(verl.__file__).parent
    checks = [Check("verl", f"{verl.__version__}, {root}")]
    announced = [entry.name for entry in entry_points(group="verl.plugins") if entry.value.startswith("wapo_verl.")]
    allowed = os.environ.get("VERL_USE_EXTERNAL_PLUGINS", "auto").strip().lower()
    if loading.is_off():
        checks.append(Check("plugin", f"off: {loading.OFF} is set", f"unset {loading.OFF} to train with it"))
    elif not announced:
        checks.append(Check("plugin", "veRL does not know of it", f"run: {reinstall()}"))
    elif allowed != "auto" and not {*announced} & {name.strip() for name in allowed.split(",")}:
        checks.append(Check("plugin", f"off: VERL_USE_EXTERNAL_PLUGINS={allowed}", "unset it, or add wapo_verl"))
    else:
        checks.append(Check("plugin", "loaded; runs that ask for nothing of it are left alone"))
    source = VerlSource(root)
    for feature in seams.SEAMS:
        wrong = seams.misfits(feature, source)
        fix = f"written for veRL {seams.VERSION}; a run that needs it is refused: {'; '.join(wrong)}"
        checks.append(Check(feature, "does not fit" if wrong else "fits", fix if wrong else ""))
    return checks


def check_names() -> list[Check]:
    """Tell whether our packages are what their names mean in this folder."""
    import wapo_verl
    from wapo_verl.verl_plugin.errors import PluginError
    from wapo_verl.verl_plugin.start import refuse_foreign

    checks = []
    for name in ("wapo_verl", "retrieval_index"):
        try:
            refuse_foreign(name)
            checks.append(Check(name, str(Path(wapo_verl.__file__).parents[1] / name)))
        except PluginError as error:
            checks.append(Check(name, "another one", str(error)))
    return checks


def check_packages() -> list[Check]:
    """Tell the versions of the packages the stack stands on."""
    fixes = {"vllm": "on a GPU: pip install 'verl[vllm]'; on a CPU: make install, in a checkout of wapo-verl"}
    from wapo_verl.cpu.vllm_distribution import cpu_build

    checks = [Check("python", python_platform.python_version())]
    for name in PACKAGES:
        found = installed(name)
        if name == "vllm" and found is None and (build := cpu_build()):
            found = f"{build.version}, the CPU build {build.metadata['Name']}"
        checks.append(Check(name, found or "missing", "" if found else fixes.get(name, f"pip install {name}")))
    return checks


def check_devices() -> list[Check]:
    """Tell which accelerator this machine has, and what is in the way of a run on its CPU where it has none."""
    import torch

    from wapo_verl.cpu.where import accelerator, running_ray
    from wapo_verl.verl_plugin.start import use_cpu

    name = accelerator()
    if name is not None:
        return [Check("accelerator", name)]
    checks = [Check("accelerator", "none: runs that ask for this package compute on the CPU")]
    if address := running_ray():
        checks.append(Check("Ray", f"a cluster runs here ({address}): its devices count, unless trainer.device=cpu"))
    use_cpu()
    build = "CPU" if torch.version.cuda is None else f"CUDA {torch.version.cuda}, which computes on the CPU too"
    checks.append(Check("torch build", build))
    for package in BREAKS_CPU_VLLM if torch.version.cuda is None else ():
        if installed(package):
            fix = f"pip uninstall {package}: its build does not fit torch's CPU build"
            checks.append(Check(package, "installed", fix))
    return checks


def check_registrations() -> list[Check]:
    """Tell what of ours veRL finds under its name."""
    from verl.experimental.agent_loop.agent_loop import _agent_loop_registry
    from verl.trainer.ppo import core_algos
    from verl.trainer.ppo.v1 import get_trainer_cls

    from wapo_verl.algorithms import ALGORITHMS
    from wapo_verl.environments.registry import environments
    from wapo_verl.training.decisions import MODES
    from wapo_verl.verl_plugin.asks import AGENT_LOOPS, TRAINER_PREFIX

    losses = sorted({loss for ours in ALGORITHMS.values() for loss in (ours.loss_mode, *ours.losses)})
    return [
        _names("estimators", list(ALGORITHMS), core_algos.get_adv_estimator_fn),
        _names("losses", losses, core_algos.get_policy_loss_fn),
        _names("trainers", [TRAINER_PREFIX + mode for mode in MODES], get_trainer_cls),
        _names("agent loops", list(AGENT_LOOPS), _agent_loop_registry.__getitem__),
        Check("environments", ", ".join(sorted(environments()))),
    ]


def _names(kind: str, names: Sequence[str], look_up: Callable[[str], object]) -> Check:
    missing = []
    for name in names:
        try:
            look_up(name)
        except (KeyError, ValueError):
            missing.append(name)
    return Check(kind, ", ".join(names), f"{', '.join(missing)} missing; run: {reinstall()}" if missing else "")


def check_patches() -> list[Check]:
    """Tell what is patched in veRL, in a run that asks for this package, and why."""
    from wapo_verl.verl_plugin.patches import PATCHES

    checks = []
    for patch in PATCHES:
        if patch.needed_by:
            import_module(patch.needed_by)
        applied = patch.applied(import_module(patch.module))
        checks.append(Check(f"{patch.module}.{patch.function}", patch.why, "" if applied else "not applied"))
    return checks


def check_math_verifier() -> list[Check]:
    """Tell whether a worker process of the mathematics verifier starts and answers."""
    from wapo_verl.environments.math.equivalence import EQUAL
    from wapo_verl.environments.math.workers import WorkerError, WorkerLimits, WorkerPool

    found = [Check(name, installed(name) or "missing") for name in ("math-verify", "antlr4-python3-runtime")]
    pool = WorkerPool(WorkerLimits(workers=1))
    try:
        verdict = pool.ask(r"\frac{\sqrt{3}}{3}", r"\frac{1}{\sqrt{3}}")
    except WorkerError as error:
        return [*found, Check("worker", "does not start", f"{error}: pip install 'math-verify[antlr4_9_3]'")]
    finally:
        pool.close()
    fix = "" if verdict == EQUAL else "pip install 'math-verify[antlr4_9_3]', which fits hydra's antlr4"
    return [*found, Check("worker", f"says {verdict} of two equal fractions", fix)]


def check_backends() -> list[Check]:
    """Tell which retrieval back ends can be used here; one is enough."""
    from retrieval_index.backends import backend, backend_names

    checks = []
    for name in backend_names():
        try:
            backend(name)
            checks.append(Check(name, "usable"))
        except ValueError as error:
            checks.append(Check(name, f"optional, not usable: {error}", missing=True))
    if all(check.missing for check in checks):
        return [*checks, Check("back ends", "none is usable", f"run: {reinstall()}")]
    return checks


SECTIONS: tuple[tuple[str, Callable[[], list[Check]]], ...] = (
    ("names, as a run started in this folder sees them", check_names),
    ("veRL", check_verl),
    ("packages", check_packages),
    ("devices", check_devices),
    ("found by veRL under its name", check_registrations),
    ("patched in veRL by a run that asks for this package, and why", check_patches),
    ("retrieval back ends", check_backends),
    ("mathematics verifier", check_math_verifier),
)


def _check_chat_template(model: str, settings: Sequence[str]) -> list[Check]:
    """Tell what a model's chat template does to episodes of several turns; `settings` are key=value for it."""
    from omegaconf import OmegaConf

    from wapo_verl.rollout.template_check import check_model

    arguments = OmegaConf.from_dotlist(list(settings))
    return check_model(model, {str(key): value for key, value in arguments.items()})


def doctor(console: Console | None = None, model: str | None = None, template_settings: Sequence[str] = ()) -> int:
    """Print the report; return 0, or 1 where something is wrong.

    A section that cannot be looked at because an earlier thing is missing is itself reported, with the reason. With a
    `model` its chat template is looked at as well.
    """
    look_from_here()
    sections = [*SECTIONS]
    if model is not None:
        sections.append((f"chat template of {model}", partial(_check_chat_template, model, template_settings)))
    console = console or Console()
    warnings.filterwarnings("ignore", message=".* engine is not available")  # veRL's engines for other hardware
    wrong: list[Check] = []
    for title, run_checks in sections:
        try:
            checks = run_checks()
        except (ImportError, AttributeError, RuntimeError, ValueError) as error:
            checks = [Check(title, "could not be checked", f"{type(error).__name__}: {error}")]
        console.print(f"\n[bold]{title}[/]")
        for check in checks:
            line = f"  {_mark(check)} {escape(check.subject)}: {escape(check.result)}"
            console.print(line, soft_wrap=True, highlight=False)
        wrong += [check for check in checks if check.fix]
        if wrong and run_checks is check_names:
            break  # the other sections would import what stands in the place of our packages
    console.print()
    for check in wrong:
        console.print(f"[red]{escape(check.subject)}[/]: {escape(check.fix)}", soft_wrap=True, highlight=False)
    console.print("all well" if not wrong else f"{len(wrong)} thing(s) to fix")
    return 1 if wrong else 0


def _mark(check: Check) -> str:
    if check.fix:
        return "[red]✗[/]"
    return "–" if check.missing else "[green]✓[/]"
