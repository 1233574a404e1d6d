"""Slow: veRL's own tests come out with the plugin as without it. No GPU, no Ray, no model; the sdist is fetched once.

The tests are those of the source archive of the release that the package is written for; they run beside its code.
"""

import os
import subprocess
import sys
import tarfile
import xml.etree.ElementTree as ElementTree
from functools import cache
from pathlib import Path

import pytest
from support.processes import HIDDEN
from support.verl_copies import downloaded

from wapo_verl.verl_plugin.seams import VERSION

pytestmark = pytest.mark.slow

FILES = (
    "checkpoint_engine/test_block_placement.py",
    "checkpoint_engine/test_fsdp_lora_only_checkpoint_on_cpu.py",
    "checkpoint_engine/test_global_steps_on_cpu.py",
    "checkpoint_engine/test_sglang_fusion_bucketing_on_cpu.py",
    "checkpoint_engine/test_sglang_loader.py",
    "checkpoint_engine/test_sharded_delta.py",
    "experimental/agent_loop/test_agent_loop_extra_fields_schema_on_cpu.py",
    "experimental/agent_loop/test_audio_server_contract_on_cpu.py",
    "experimental/agent_loop/test_call_tool_on_cpu.py",
    "experimental/agent_loop/test_multimodal_position_ids_on_cpu.py",
    "experimental/agent_loop/test_qwen3_tool_parser_on_cpu.py",
    "experimental/agent_loop/test_tool_call_id_on_cpu.py",
    "experimental/fully_async_policy/test_async_genrm_config_on_cpu.py",
    "plugin/test_platform_abstraction.py",
    "test_base_config_on_cpu.py",
    "test_protocol_on_cpu.py",
    "test_protocol_v2_on_cpu.py",
    "tools/test_function_tool_on_cpu.py",
    "tools/test_mixed_tools_on_cpu.py",
    "trainer/ppo/test_core_algos_on_cpu.py",
    "trainer/ppo/test_dynamic_policy_losses_on_cpu.py",
    "trainer/ppo/test_loss_aggregation_on_cpu.py",
    "trainer/ppo/test_metric_utils_on_cpu.py",
    "trainer/ppo/test_reinforce_pp_multiturn_on_cpu.py",
    "trainer/ppo/test_rollout_corr.py",
    "trainer/ppo/test_rollout_corr_integration.py",
    "trainer/ppo/test_rollout_moe_lb_metrics_on_cpu.py",
    "trainer/ppo/test_spec_decode_metrics_on_cpu.py",
    "trainer/ppo/test_value_loss_normalization_on_cpu.py",
    "trainer/test_constants_ppo_on_cpu.py",
    "trainer/test_multi_trajectories_advantage_on_cpu.py",
)
"""What is run, under `tests/`. The others need a GPU, a model from the hub, or a Ray of their own."""


@cache
def outcomes(root: Path, policy: str) -> dict[str, str]:
    """Run the files with the plugin ("auto") or without ("none"); return test -> passed, failure, error or skipped."""
    report = root.parent / f"{policy}.xml"
    inherited = {name: value for name, value in os.environ.items() if name not in HIDDEN}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--timeout=120", f"--junitxml={report}"]
    subprocess.run(
        [*command, *(f"tests/{file}" for file in FILES)],
        cwd=root,
        env={**inherited, "VERL_USE_EXTERNAL_PLUGINS": policy, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        timeout=900,
    )
    cases = ElementTree.parse(report).iter("testcase")
    return {
        f"{case.get('classname')}::{case.get('name')}": next(
            (kind.tag for kind in case if kind.tag in ("failure", "error", "skipped")), "passed"
        )
        for case in cases
    }


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked source archive."""
    folder = tmp_path_factory.mktemp("sdist")
    with tarfile.open(downloaded(VERSION, "--no-binary", "verl")) as archive:
        archive.extractall(folder, filter="data")
    return folder / f"verl-{VERSION}"


def test_every_test_comes_out_as_without_the_plugin(source: Path) -> None:
    """Cases 4 and 6: eight of `test_call_tool_on_cpu` and the platform's detection once failed beside it."""
    without, beside = outcomes(source, "none"), outcomes(source, "auto")
    assert {name: outcome for name, outcome in beside.items() if outcome != without.get(name)} == {}
    assert beside.keys() == without.keys()


def test_nearly_all_of_them_pass(source: Path) -> None:
    """Else the comparison above would show nothing."""
    without = outcomes(source, "none")
    assert len(without) > 350
    assert sum(outcome == "passed" for outcome in without.values()) > 0.95 * len(without)
