"""Where environments are found: the package, folders that a variable names, installed packages. No GPU."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from wapo_verl.environments import installed, registry

BODY = """
from wapo_verl.environments.environment import Environment, Example

class Sums(Environment):
    name, ability, splits, agent_name = "{name}", "math", ("train",), "single_turn_agent"

    def examples(self, split, source, **options):
        yield Example("1 + 1", ("2",))

    def prompt(self, example):
        return [{{"role": "user", "content": example.question}}]

    def parts(self, episode, ground_truth):
        return {{"exact_match": float(episode.completion == ground_truth["answers"][0])}}

ENVIRONMENT = Sums()
"""


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test leaves a folder on the package's path or a place in the registry's memory."""
    monkeypatch.setattr(installed, "__path__", list(installed.__path__))
    monkeypatch.delenv(registry.VARIABLE, raising=False)
    registry.forget()


def write(folder: Path, name: str, named: str | None = None) -> None:
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").write_text(BODY.format(name=named or name))


def test_a_folder_elsewhere_is_an_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a", "zz_sums_a")
    write(tmp_path / "b", "zz_sums_b")
    monkeypatch.setenv(registry.VARIABLE, os.pathsep.join([str(tmp_path / "a"), str(tmp_path / "b")]))
    assert {"miniwiki", "zz_sums_a", "zz_sums_b"} <= set(registry.names())
    found = registry.environment("zz_sums_b")
    assert type(found).__module__ == "wapo_verl.environments.installed.zz_sums_b"
    assert registry.environment("zz_sums_b") is found


def test_another_process_finds_it_by_the_variable_alone(tmp_path: Path) -> None:
    write(tmp_path, "zz_sums")
    code = "from wapo_verl.reward import compute_score; print(compute_score('zz_sums', '2', {'answers': ['2']}))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, registry.VARIABLE: str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "{'score': 1.0, 'exact_match': 1.0}"


def test_a_package_announces_its_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "zz_package", named="zz_announced")
    monkeypatch.syspath_prepend(str(tmp_path))
    announced = EntryPoint("zz_announced", "zz_package", registry.GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda group: (announced,) if group == registry.GROUP else ())
    assert registry.environment("zz_announced").name == "zz_announced"
    monkeypatch.setenv(registry.VARIABLE, str(tmp_path))
    write(tmp_path, "zz_announced")
    with pytest.raises(ValueError, match=r"two environments are named 'zz_announced', in .*zz_announced and in zz_p"):
        registry.names()


def test_what_is_wrong_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(registry.VARIABLE, str(tmp_path / "gone"))
    with pytest.raises(ValueError, match=r"WAPO_ENVIRONMENTS names .*gone, which is no folder"):
        registry.names()
    monkeypatch.setenv(registry.VARIABLE, str(tmp_path))
    (tmp_path / "zz_empty").mkdir()
    with pytest.raises(ValueError, match=r"zz_empty has no __init__\.py"):
        registry.environment("zz_empty")
    write(tmp_path, "miniwiki")
    registry.forget()
    with pytest.raises(ValueError, match="two environments are named 'miniwiki'"):
        registry.names()
    (tmp_path / "miniwiki").rename(tmp_path / "zz_other")
    registry.forget()
    with pytest.raises(ValueError, match=r"exposes an environment named 'miniwiki'; both names must be 'zz_other'"):
        registry.environment("zz_other")
    with pytest.raises(ValueError, match=r"no environment 'zz'.*looked for in the folders that WAPO_ENVIRONMENTS"):
        registry.environment("zz")
    with pytest.raises(ValueError, match=r"no environment 'otqa'; .*; did you mean 'ottqa'\?"):
        registry.environment("otqa")
    write(tmp_path / "deep", "zz_deep")
    monkeypatch.setenv(registry.VARIABLE, str(tmp_path / "deep" / "zz_deep"))
    with pytest.raises(ValueError, match=rf"names the environment .*zz_deep itself: name {tmp_path}/deep, which holds"):
        registry.environment("zz_deep")
