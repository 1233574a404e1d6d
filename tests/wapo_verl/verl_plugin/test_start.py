"""What happens to a run that asks for this package before its settings are resolved. No GPU, no Ray started."""

import re
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from omegaconf import OmegaConf

from wapo_verl.verl_plugin import fit, seams, start
from wapo_verl.verl_plugin.asks import asked
from wapo_verl.verl_plugin.errors import PluginError

ESTIMATOR = {"algorithm": {"adv_estimator": "wapo"}}


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (None, [start.ENGINE]),
        ("my.models", ["my.models", start.ENGINE]),
        (["my.models", "my.kernels"], ["my.models", "my.kernels", start.ENGINE]),
        ([start.ENGINE], [start.ENGINE]),
    ],
)
def test_the_workers_import_our_engine_beside_what_the_user_has_them_import(given: Any, sent: list[str]) -> None:
    config = OmegaConf.create({"actor_rollout_ref": {"model": {"external_lib": given}}})
    OmegaConf.set_struct(config, True)
    start.send_engine(config)
    assert config.actor_rollout_ref.model.external_lib == sent


@pytest.mark.parametrize("name", ["wapo_verl", "retrieval_index"])
def test_our_own_packages_are_not_refused(name: str) -> None:
    start.refuse_foreign(name)


def test_a_folder_of_our_name_is_refused_by_its_place(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "retrieval_index.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(PluginError, match=rf"here that name means {tmp_path}/retrieval_index\.py: rename that"):
        start.refuse_foreign("retrieval_index")


@pytest.mark.parametrize(("told", "fails"), [({}, True), ({"VERL_PLATFORM": "cpu"}, False)])
def test_a_ray_whose_workers_cannot_be_told_is_refused(
    monkeypatch: pytest.MonkeyPatch, told: dict[str, str], fails: bool
) -> None:
    monkeypatch.delenv("VERL_PLATFORM", raising=False)
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    context = SimpleNamespace(runtime_env={"env_vars": told} if told else {})
    monkeypatch.setattr(ray, "get_runtime_context", lambda: context)
    if not fails:
        start.check_workers_platform()
        return
    with pytest.raises(PluginError, match=r"runtime_env=\{'env_vars': \{'VERL_PLATFORM': 'cpu'\}\}"):
        start.check_workers_platform()


@pytest.mark.parametrize(
    ("settings", "features"),
    [
        (ESTIMATOR, {seams.SETTINGS, seams.ALGORITHMS}),
        ({"wapo": {"search_agent": {"index": "world"}}}, {seams.SETTINGS, seams.AGENT_LOOPS}),
        ({"data": {"custom_cls": {"path": "pkg://wapo_verl.rollout.rows"}}}, {seams.SETTINGS, seams.AGENT_LOOPS}),
        ({**ESTIMATOR, "trainer": {"device": "cpu"}}, {seams.SETTINGS, seams.ALGORITHMS, seams.CPU}),
        ({"reward": {"custom_reward_function": {"path": "pkg://wapo_verl.reward"}}}, {seams.SETTINGS}),
    ],
)
def test_a_run_needs_of_verl_what_it_asks_for_and_no_more(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], features: set[str]
) -> None:
    monkeypatch.setenv("VERL_PLATFORM", "nvidia")
    config = OmegaConf.create(settings)
    assert set(fit.needed(config, asked(config))) == features


@pytest.mark.parametrize(
    ("wapo", "key"),
    [
        ({"guard": {"action": "stop"}}, "wapo.guard"),
        ({"trainer": True}, "wapo.trainer"),
        ({"winners_only": True}, "wapo.winners_only"),
        ({"trainer": False}, None),
        ({"winners_only": False}, None),
        ({"search_agent": {"index": "world"}}, None),
    ],
)
def test_only_what_the_trainer_alone_does_asks_for_the_trainer_by_name(wapo: dict[str, Any], key: str | None) -> None:
    assert fit._names_our_trainer(asked(OmegaConf.create({**ESTIMATOR, "wapo": wapo}))) == key


@pytest.mark.parametrize(
    ("trainer", "said"),
    [({}, r"there is no whole checkpoint in \S+/checkpoints to resume from"), ({"val_only": True}, "start it again")],
)
def test_a_runs_processes_are_watched_and_its_end_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any, trainer: dict[str, Any], said: str
) -> None:
    begun: list[Any] = []
    monkeypatch.setattr("wapo_verl.watch.watch.begin", begun.append)
    start.watch(OmegaConf.create({"trainer": {"default_local_dir": str(tmp_path / "checkpoints"), **trainer}}))
    assert re.fullmatch(said, begun[0]())
