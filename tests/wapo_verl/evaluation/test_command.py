"""veRL's command for an evaluation, as veRL composes and validates it. No Ray."""

from __future__ import annotations

from pathlib import Path

import pytest
import verl.trainer
from omegaconf import OmegaConf
from support.hydra_runs import compose_run
from support.samples import model_folder
from verl.trainer.ppo.utils import need_critic, need_reference_policy
from verl.utils.config import omega_conf_to_dataclass, validate_config
from verl.utils.dataset.rl_dataset import get_dataset_class
from verl.utils.import_utils import load_class_from_fqn

from retrieval_index import Document, build_index
from wapo_verl.evaluation.command import verl_command
from wapo_verl.evaluation.dataset import EvaluationDataset
from wapo_verl.evaluation.manifest import EvaluationManifest, ModelRecord, RowsRecord
from wapo_verl.evaluation.questions import Question
from wapo_verl.evaluation.requests import REQUESTS_FILE, Request, write_requests

PACKAGED = str(Path(verl.trainer.__file__).parent / "config")


def manifest(folder: Path, index: str = "", overrides: tuple[str, ...] = (), **config: object) -> EvaluationManifest:
    model = model_folder(folder / "model", **config)
    rows = RowsRecord(source="", split="", questions=1, sha256="2", prompts_sha256="3", index=index)
    return EvaluationManifest(
        model=ModelRecord(asked="m", folder=str(model), sha256="1"),
        rows={"miniwiki": rows},
        samples=4,
        temperature=0.7,
        top_p=1.0,
        seed=0,
        overrides=overrides,
    )


def test_verl_composes_and_validates_it(tmp_path: Path) -> None:
    build_index([Document("1", "Fox", "A fox.")], tmp_path / "index", "tantivy")
    command = verl_command(manifest(tmp_path, str(tmp_path / "index"), ("data.max_response_length=64",)), tmp_path)
    config = compose_run(*command[3:], command_line=True)
    validate_config(config, use_reference_policy=need_reference_policy(config), use_critic=need_critic(config))
    omega_conf_to_dataclass(config.actor_rollout_ref.rollout)
    assert config.trainer.val_only
    assert config.actor_rollout_ref.rollout.val_kwargs.temperature == 0.7
    assert config.data.max_response_length == 64
    assert OmegaConf.select(config, "wapo.search_agent.index.miniwiki") == str(tmp_path / "index")
    assert get_dataset_class(config.data) is EvaluationDataset
    manager = load_class_from_fqn(config.actor_rollout_ref.rollout.agent.agent_loop_manager_class, "AgentLoopManager")
    assert manager.__name__ == "EvaluationManager"


def test_a_damaged_config_of_the_model_is_named(tmp_path: Path) -> None:
    made = manifest(tmp_path)
    for text, said in (("", "config.json is no JSON text"), ("[]", "config.json holds no JSON object")):
        (tmp_path / "model" / "config.json").write_text(text)
        with pytest.raises(ValueError, match=said):
            verl_command(made, tmp_path)


@pytest.mark.parametrize(
    ("positions", "prompt", "response"), [(2048, 1024, 1024), (512, 256, 256), (40960, 1024, 8192)]
)
def test_lengths_are_what_the_model_holds(tmp_path: Path, positions: int, prompt: int, response: int) -> None:
    command = verl_command(manifest(tmp_path, max_position_embeddings=positions), tmp_path)
    assert f"data.max_prompt_length={prompt}" in command
    assert f"data.max_response_length={response}" in command


def test_the_data_set_gives_verl_its_columns(tmp_path: Path) -> None:
    row = {
        "data_source": "miniwiki",
        "prompt": [{"role": "user", "content": "Where?"}],
        "reward_model": {"ground_truth": {"answers": ["a"], "document_ids": []}},
        "extra_info": {"index": 3, "split": "test", "question": "Where?"},
        "agent_name": "search_agent",
    }
    write_requests([Request(Question.of(row), (0, 1), "/x", 0)], tmp_path / REQUESTS_FILE)
    for files in (str(tmp_path / REQUESTS_FILE), [tmp_path / REQUESTS_FILE]):
        rows = EvaluationDataset(files, None, None, None)
        assert len(rows) == 1
        assert rows[0]["__rollout_n__"] == 2
        assert rows[0]["index"] == 3
        assert rows[0]["agent_name"] == "search_agent"
