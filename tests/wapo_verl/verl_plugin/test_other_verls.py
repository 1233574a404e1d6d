"""Slow: beside another veRL a plain run is left alone, and a run of ours gets what fits, or a refusal by name.

Each veRL comes first on the path without metadata of its own, while those of 0.9.1 are installed: what is imported is
judged. No GPU, no Ray. The release is fetched by pip once; without an index its tests are skipped.
"""

from pathlib import Path
from typing import Any

import pytest
from support.paths import TESTS
from support.processes import found_in, python
from support.ranks import write_tiny_model
from support.verl_copies import release, with_renamed

pytestmark = pytest.mark.slow

PLAIN, OURS = (TESTS / "support" / name for name in ("plain_runs.py", "our_run.py"))
MODERN = "algorithm.adv_estimator=wapo"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def verl_0_9_0(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return release("0.9.0", tmp_path_factory.mktemp("release"))


def last_line(done: Any) -> str:
    assert done.returncode == 1, done.stdout
    return done.stderr.strip().splitlines()[-1]


def ours(tmp_path: Path, verl: Path, model: Path, *overrides: str) -> Any:
    return python(OURS, str(model), *overrides, folder=tmp_path, path=[verl])


def test_importing_another_verl_ends_no_process(tmp_path: Path, verl_0_9_0: Path) -> None:
    """Case 10: neither a run nor a script that only asks whether veRL is there."""
    code = "from verl import DataProto, __version__; print('went on', __version__)"
    done = python(code, folder=tmp_path, path=[verl_0_9_0])
    assert done.stdout.strip() == "went on 0.9.0", done.stderr
    assert "wapo" not in done.stderr


def test_plain_runs_of_0_9_0_are_as_without_us(tmp_path: Path, verl_0_9_0: Path, model: Path) -> None:
    beside, without = (
        found_in(python(PLAIN, str(model), "6", folder=tmp_path, path=[verl_0_9_0], variables=variables))
        for variables in ({}, {"VERL_USE_EXTERNAL_PLUGINS": "none"})
    )
    assert without["verl"][0] == "0.9.0"
    assert beside["examples"] == without["examples"]
    assert beside["surroundings"] == without["surroundings"]


def test_on_0_9_0_the_algorithm_runs_with_verls_trainer_and_says_what_is_missing(
    tmp_path: Path, verl_0_9_0: Path, model: Path
) -> None:
    done = ours(tmp_path, verl_0_9_0, model, MODERN)
    found = found_in(done)
    assert (found["verl"], found["trainer"], found["loss"], found["device"]) == ("0.9.0", "sync", "wapo", "cpu")
    assert found["external_lib"] == {"lib": None}
    said = [line for line in done.stdout.splitlines() if line.startswith("wapo-verl: ")]
    assert said[0].startswith("wapo-verl: its trainer does not fit veRL 0.9.0, so veRL's own runs: ")
    for missing in ("is taken and not skipped", "winners alone", "completion of its own", "options of the algorithm"):
        assert missing in said[0]
    assert "ReplayBufferAsync.wait_for_sampleable is gone" in said[1]


@pytest.mark.parametrize(
    ("override", "feature", "name"),
    [
        ("+wapo.guard.action=stop", "trainer", "ReplayBufferAsync.wait_for_sampleable is gone"),
        ("trainer.v1.trainer_mode=wapo_sync", "trainer", "ReplayBufferAsync.wait_for_sampleable is gone"),
        ("+wapo.search_agent.index=nowhere", "agent loops", "ToolAgentLoop.run does not take priority"),
    ],
)
def test_on_0_9_0_what_does_not_fit_is_refused_by_name(
    tmp_path: Path, verl_0_9_0: Path, model: Path, override: str, feature: str, name: str
) -> None:
    line = last_line(ours(tmp_path, verl_0_9_0, model, MODERN, override))
    setting = override.removeprefix("+").split("=")[0].removesuffix(".action").removesuffix(".index")
    assert f"PluginError: {setting}" in line
    assert f"needs wapo-verl's {feature}, written for veRL 0.9.1, and veRL 0.9.0 differs" in line
    assert name in line
    assert "Install veRL 0.9.1" in line


def test_on_0_9_0_estimators_and_losses_are_found(tmp_path: Path, verl_0_9_0: Path) -> None:
    code = (
        "import verl\n"
        "from verl.trainer.ppo import core_algos\n"
        "for name in ('wapo', 'cpgd', 'dr_grpo'):\n"
        "    print(core_algos.get_adv_estimator_fn(name).__module__)\n"
        "print(core_algos.get_policy_loss_fn('wapo').__module__)"
    )
    done = python(code, folder=tmp_path, path=[verl_0_9_0])
    assert set(done.stdout.split()) == {"wapo_verl.verl_plugin.algorithms"}, done.stderr


def test_the_same_number_with_a_trainer_that_has_moved(tmp_path: Path, model: Path) -> None:
    """The seams decide, not the number: this copy calls itself 0.9.1."""
    verl = with_renamed(tmp_path / "copy", {"_compute_advantage": "_estimate_advantage", "_step_once": "_take_step"})
    done = ours(tmp_path, verl, model, MODERN)
    assert found_in(done)["trainer"] == "sync"
    assert "its trainer does not fit veRL 0.9.1, so veRL's own runs" in done.stdout
    for name in ("_compute_advantage", "_step_once"):
        assert f"verl.trainer.ppo.v1.trainer_base.PPOTrainer.{name} is gone" in done.stdout


def test_the_same_number_with_registries_that_have_moved(tmp_path: Path, model: Path) -> None:
    verl = with_renamed(tmp_path / "copy", {"get_policy_loss_fn": "find_policy_loss"})
    line = last_line(ours(tmp_path, verl, model, MODERN))
    assert "algorithm.adv_estimator=wapo needs wapo-verl's algorithms" in line
    assert "verl.trainer.ppo.core_algos.get_policy_loss_fn is gone" in line
    plain = found_in(python(PLAIN, str(model), "2", folder=tmp_path, path=[verl]))
    assert {outcome["raised"] for outcome in plain["examples"].values()} <= {None} | {
        outcome["raised"] for name, outcome in plain["examples"].items() if name == "grpo with LoRA"
    }


def test_the_same_number_with_a_validation_that_has_moved(tmp_path: Path, model: Path) -> None:
    """Nothing of ours is asked before the run starts then, and the estimator alone would train with another loss."""
    verl = with_renamed(tmp_path / "copy", {"validate_config": "check_config"})
    code = "import verl; from verl.trainer.ppo.core_algos import get_adv_estimator_fn as get; get('grpo'); get('wapo')"
    line = last_line(python(code, folder=tmp_path, path=[verl]))
    assert "verl.utils.config.validate_config is gone" in line
    assert "the settings of the algorithm 'wapo' cannot be resolved" in line


def test_another_number_where_everything_fits(tmp_path: Path, model: Path) -> None:
    verl = with_renamed(tmp_path / "copy", {"NoSuchNameAnywhere": "Other"})
    number = verl / "verl" / "version" / "version"
    number.unlink()
    number.write_text("0.9.2\n")
    done = ours(tmp_path, verl, model, MODERN)
    assert found_in(done)["trainer"] == "wapo_sync"
    assert "wapo-verl: written for veRL 0.9.1; all that this run needs of veRL 0.9.2 is as it was there" in done.stdout
