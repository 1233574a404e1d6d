"""`wapo-verl doctor`: show what is installed, registered and patched, and a fix for each fault.

Everything is read in this process, as a training run's process would see it. GPUs and clusters are not examined.
"""

import json
import os
import platform as python_platform
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, distribution, version

from rich.console import Console
from rich.markup import escape

from wapo_verl.check import Check

PACKAGES = ("torch", "verl", "vllm", "ray", "TransferQueue", "tensordict", "transformers", "numpy", "tantivy", "wrapt")
BREAKS_CPU_VLLM = ("torchvision", "torchaudio", "torchcodec")


def installed(name: str) -> str | None:
    """Return the installed version of a distribution, or None."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def reinstall() -> str:
    """Return the command that installs this package again, from the checkout or wheel that it came from."""
    origin = json.loads(distribution("wapo-verl").read_text("direct_url.json") or "{}")
    source = origin.get("url", "wapo-verl").removeprefix("file://")
    if origin.get("dir_info", {}).get("editable"):
        return f"pip install --no-deps -e {source}"
    return f"pip install --force-reinstall --no-deps {source}"


def check_plugin() -> list[Check]:
    """Load the plugin as `import verl` does, and tell whether it loaded."""
    # veRL must not load it by itself: a failure would end this process before it could be reported.
    os.environ["VERL_USE_EXTERNAL_PLUGINS"] = "none"
    from wapo_verl.verl_plugin import loading

    try:
        loading.load()
    except loading.PluginError as error:
        return [Check("plugin", "not loaded", str(error))]
    return [Check("plugin", f"loaded, {len(loading.HOOKS)} hooks")]


def check_packages() -> list[Check]:
    """Tell the versions of the packages the stack stands on."""
    fixes = {"vllm": "on a GPU: pip install 'verl[vllm]'; on a CPU: make install, in a checkout of wapo-verl"}
    checks = [Check("python", python_platform.python_version())]
    for name in PACKAGES:
        found = installed(name)
        checks.append(Check(name, found or "missing", "" if found else fixes.get(name, f"pip install {name}")))
    return checks


def check_platform() -> list[Check]:
    """Tell which device veRL computes on, and what prevents a run on a CPU."""
    from verl.utils.device import get_device_name

    device = get_device_name()
    checks = [Check("platform", device)]
    if device != "cpu":
        return checks
    import torch

    if torch.version.cuda is not None:
        checks.append(Check("torch build", f"CUDA {torch.version.cuda}, which computes on the CPU as well"))
    for name in BREAKS_CPU_VLLM:
        if installed(name):
            checks.append(Check(name, "installed", f"pip uninstall {name}: its build does not fit torch's CPU build"))
    return checks


def check_registrations() -> list[Check]:
    """Tell which parts of this project are in veRL's registries."""
    from verl.experimental.agent_loop.agent_loop import _agent_loop_registry
    from verl.trainer.ppo import core_algos
    from verl.trainer.ppo.v1.trainer_base import TRAINER_REGISTRY
    from verl.workers.engine import EngineRegistry

    from wapo_verl.algorithms import algorithms
    from wapo_verl.engine.engine import BACKENDS, StepPlanEngine
    from wapo_verl.environments.registry import environments
    from wapo_verl.settings.run import MODES, PREFIX

    def has_our_engine(name: str) -> bool:
        backend, _, device = name.split(" ")
        return EngineRegistry._engines["language_model"][backend].get(device) is StepPlanEngine

    wanted: list[tuple[str, list[str], Callable[[str], bool]]] = [
        ("estimators", list(algorithms()), lambda name: name in core_algos.ADV_ESTIMATOR_REGISTRY),
        (
            "losses",
            sorted({loss for found in algorithms().values() for loss in (found.loss_mode, *found.losses)}),
            lambda name: name in core_algos.POLICY_LOSS_REGISTRY,
        ),
        ("trainers", [PREFIX + mode for mode in MODES], lambda name: name in TRAINER_REGISTRY),
        ("agent loops", ["search_agent", "search_tool_agent"], lambda name: name in _agent_loop_registry),
        ("actor engines", [f"{backend} on {device}" for backend, device in BACKENDS], has_our_engine),
        ("environments", sorted(environments()), lambda _: True),
    ]
    checks = []
    for kind, names, registered in wanted:
        missing = [name for name in names if not registered(name)]
        fix = f"{', '.join(missing)} missing; run: {reinstall()}" if missing else ""
        checks.append(Check(kind, ", ".join(names), fix))
    return checks


def check_patches() -> list[Check]:
    """Tell what is patched in veRL, and why."""
    from importlib import import_module

    from wapo_verl.verl_plugin.patches import PATCHES

    checks = []
    for patch in PATCHES:
        applied = patch.applied(import_module(patch.module))
        checks.append(Check(f"{patch.module}.{patch.function}", patch.why, "" if applied else "not applied"))
    return checks


def check_math_verifier() -> list[Check]:
    """Tell whether a worker process of the mathematics verifier starts and answers."""
    from wapo_verl.environments.math.equivalence import EQUAL
    from wapo_verl.environments.math.workers import Limits, WorkerError, WorkerPool

    found = [Check(name, installed(name) or "missing") for name in ("math-verify", "antlr4-python3-runtime")]
    pool = WorkerPool(Limits(workers=1))
    try:
        verdict = pool.ask(r"\frac{\sqrt{3}}{3}", r"\frac{1}{\sqrt{3}}")
    except WorkerError as error:
        return [*found, Check("worker", "does not start", f"{error}: pip install 'math-verify[antlr4_9_3]'")]
    finally:
        pool.close()
    fix = "" if verdict == EQUAL else "pip install 'math-verify[antlr4_9_3]', which fits hydra's antlr4"
    return [*found, Check("worker", f"says {verdict} of two equal fractions", fix)]


def check_backends() -> list[Check]:
    """Tell which retrieval back ends can be used here."""
    from retrieval_index.backends import backend, backend_names

    checks = []
    for name in backend_names():
        try:
            backend(name)
            checks.append(Check(name, "usable"))
        except ValueError as error:
            checks.append(Check(name, f"not usable: {error}"))
    return checks


SECTIONS: tuple[tuple[str, Callable[[], list[Check]]], ...] = (
    ("plugin", check_plugin),
    ("packages", check_packages),
    ("platform", check_platform),
    ("registered with veRL", check_registrations),
    ("patched in veRL, and why", check_patches),
    ("retrieval back ends", check_backends),
    ("mathematics verifier", check_math_verifier),
)


def _check_chat_template(model: str, settings: Sequence[str]) -> list[Check]:
    """Check a model's chat template with episodes of several turns; `settings` are its arguments, as key=value."""
    from omegaconf import OmegaConf

    from wapo_verl.rollout.template_check import check_model

    arguments = OmegaConf.from_dotlist(list(settings))
    return check_model(model, {str(key): value for key, value in arguments.items()})


def doctor(console: Console | None = None, model: str | None = None, template_settings: Sequence[str] = ()) -> int:
    """Print the report.

    A section that cannot be checked because something else is missing is itself reported as a fault, with the reason.

    Args:
        console: where to print; standard output by default.
        model: a model's folder or hub name, whose chat template is checked too.
        template_settings: arguments of the chat template, as key=value.

    Returns:
        0, or 1 where there is a fault.
    """
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
            mark = "[red]✗[/]" if check.fix else "[green]✓[/]"
            line = f"  {mark} {escape(check.subject)}: {escape(check.result)}"
            console.print(line, soft_wrap=True, highlight=False)
        wrong += [check for check in checks if check.fix]
        if title == "plugin" and wrong:
            break
    console.print()
    for check in wrong:
        console.print(f"[red]{escape(check.subject)}[/]: {escape(check.fix)}", soft_wrap=True, highlight=False)
    console.print("all well" if not wrong else f"{len(wrong)} thing(s) to fix")
    return 1 if wrong else 0
