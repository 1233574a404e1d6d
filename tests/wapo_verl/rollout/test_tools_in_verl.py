"""Slow: the tool protocol in the real thing: veRL's V1 trainer, Ray, FSDP2 and vLLM train two steps of tool episodes.

Nothing is replaced. A tiny model first learns a few episodes by heart, half of them with a wrong answer, so that it
writes calls that can be made and its answers differ.
"""

import os
import subprocess
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM

from examples.quickstart.command import SPLITS, Folders, training_command
from examples.quickstart.model import make_model
from examples.quickstart.real_text_model import train_tokenizer
from examples.quickstart.settings import QuickstartSettings
from retrieval_index import build_index, open_index
from wapo_verl.data.json_lines import read_json_lines
from wapo_verl.data.prepare import Request, prepare
from wapo_verl.environments.protocol import render_answer, render_tool_response, render_tool_search
from wapo_verl.environments.registry import environment

BOOKS, QUESTIONS, STEPS = 8, 8, 2
UPDATES = 100
TOOL_TURN = "<|im_start|>tool"
SETTINGS = QuickstartSettings(
    books=BOOKS,
    held_out_books=BOOKS,
    prompts_per_step=4,
    group_size=4,
    max_turn_tokens=96,
    max_prompt_tokens=128,
    max_response_tokens=640,
    validation_questions=4,
)
OPTIONS: dict[str, Any] = {"books": BOOKS, "held_out_books": BOOKS}

pytestmark = [pytest.mark.slow, pytest.mark.ray]


def make_files(folders: Folders) -> list[dict[str, Any]]:
    """Rows for the tool loop, an index of each split, and the training rows."""
    request = Request("miniwiki", folders.data, limit=QUESTIONS, options=OPTIONS, agent="search_tool_agent")
    prepare(request)
    documents = list(environment("miniwiki").documents(None, **OPTIONS))
    for split in SPLITS:
        build_index(documents, folders.index / split)
    return pq.read_table(folders.data / "train.parquet").to_pylist()


def conversations(folders: Folders, rows: list[dict[str, Any]]) -> list[list[dict[str, str]]]:
    """Each row played twice: two calls, then once the right answer and once the answer to another row."""
    index = open_index(folders.index / "train")
    answers = [row["reward_model"]["ground_truth"]["answers"][0] for row in rows]
    found = []
    for row, right, wrong in zip(rows, answers, [*answers[1:], answers[0]], strict=True):
        messages = list(row["prompt"])
        for query in (row["extra_info"]["first_query"], row["extra_info"]["second_query"]):
            texts = [hit.document.text for hit in index.search([query], SETTINGS.top_k)[0]]
            messages.append({"role": "assistant", "content": render_tool_search([query])})
            messages.append({"role": "tool", "content": render_tool_response([texts])})
        found += [[*messages, {"role": "assistant", "content": render_answer(text)}] for text in (right, wrong)]
    return found


def learnt_by_heart(found: list[list[dict[str, str]]]) -> tuple[Qwen3ForCausalLM, PreTrainedTokenizerFast]:
    """A tiny model that has seen these conversations often, and its tokenizer."""
    tokenizer = train_tokenizer(("\n".join(m["content"] for m in messages) for messages in found), vocabulary=700)
    tokenizer.model_max_length = 1024
    model = make_model(tokenizer, seed=0, positions=1024)
    texts = tokenizer.apply_chat_template(found, tokenize=False)
    batch = tokenizer(texts, add_special_tokens=False, return_tensors="pt", padding=True, padding_side="right")
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(UPDATES):
        loss = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.3, loss.item()
    return model, tokenizer


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """Train, and return the folders of all that was written."""
    folders = Folders(tmp_path_factory.mktemp("tools"))
    model, tokenizer = learnt_by_heart(conversations(folders, make_files(folders)))
    model.save_pretrained(folders.model)
    tokenizer.save_pretrained(folders.model)
    overrides = [
        f"trainer.total_training_steps={STEPS}",
        "trainer.val_before_train=False",
        "trainer.test_freq=-1",
        "data.filter_overlong_prompts=True",
        "actor_rollout_ref.rollout.multi_turn.max_assistant_turns=2",  # one less than the rows promise
        f"trainer.rollout_data_dir={folders.out / 'rollouts'}",
    ]
    command = training_command(folders, SETTINGS, 0, overrides)
    environment_ = {**os.environ, "VERL_FILE_LOGGER_PATH": str(folders.metrics)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800, env=environment_)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    (folders.out / "log").write_text(done.stdout + done.stderr)
    return folders


def test_rows_are_filtered_by_the_prompts_that_the_loop_builds(run: Folders) -> None:
    log = (run.out / "log").read_text()
    assert "Using dataset class: EpisodeRows" in log
    assert f"filter dataset len: {QUESTIONS}" in log


def test_the_rows_turns_are_obeyed_and_that_is_said_once(run: Folders) -> None:
    assert (run.out / "log").read_text().count("rows of this run promise max_turns=3 in extra_info") == 1
    lines = read_json_lines(run.out / "rollouts" / f"{STEPS}.jsonl")
    assert max(line["episode"]["turns"] for line in lines) == 3


def test_two_steps_train_on_episodes_that_call_the_tool(run: Folders) -> None:
    rows = read_json_lines(run.metrics)
    steps = [row["data"] for row in rows if row["step"] > 0]
    assert len(steps) == STEPS
    for step in steps:
        assert step["episode/searches/mean"] > 0.5
        assert step["episode/answer_rate"] > 0
        assert step["episode/retrieval_error_rate"] == 0
        assert 0 < step["group/winner_fraction"] < 1
        assert step["actor/grad_norm"] > 0
        assert step["reward/exact_match/mean"] == pytest.approx(step["critic/score/mean"])
        # One update a step: the actor's probabilities before it are the rollout's, if ids and log-probs stand in line.
        assert step["actor/ratio_mean"] == pytest.approx(1.0, abs=1e-4)
        assert step["actor/ratio_max"] == pytest.approx(1.0, abs=1e-2)


def test_the_dump_holds_calls_and_results(run: Folders) -> None:
    lines = read_json_lines(run.out / "rollouts" / f"{STEPS}.jsonl")
    assert len(lines) == SETTINGS.prompts_per_step * SETTINGS.group_size
    searched = [line for line in lines if line["episode"]["queries"]]
    assert searched
    for line in searched:
        assert line["output"].count("<tool_call>") >= 1
        # A tiny policy that samples may write a tool's turn of its own, which no call made and no query stands for.
        own = line["episode"]["completion"].count(TOOL_TURN)
        assert line["output"].count(TOOL_TURN) - own == line["episode"]["turns"] - 1, "results, or an error"
    assert any(line["episode"]["document_ids"][0] for line in searched), (
        "a sampled query may find nothing, not all of them"
    )
