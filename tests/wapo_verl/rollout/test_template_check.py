"""`wapo-verl doctor --model`: what is said of the four families, and the faults it finds. Needs veRL, no GPU."""

from collections.abc import Callable
from pathlib import Path

import pytest
from support.chat_families import FAMILIES, Family, tokenizer_of
from transformers import PreTrainedTokenizerFast
from typer.testing import CliRunner

from wapo_verl.cli import doctor
from wapo_verl.cli.app import app
from wapo_verl.rollout.template_check import check_template

QWEN3, QWEN2_5, SMOLLM3, LLAMA3 = FAMILIES


def found(family: Family, **arguments: bool) -> dict[str, str]:
    checks = check_template(tokenizer_of(family), arguments, family.model_type)
    assert [check.fix for check in checks] == [""] * len(checks)
    return {check.subject: check.result for check in checks}


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_nothing_is_wrong_with_the_four_families(family: Family) -> None:
    said = found(family)
    assert said["end of a turn"].startswith(family.end)
    for subject in ("user turns, our system prompt", "user turns, no system prompt", "tool turns"):
        assert said[f"results as {subject}"] == "built turn by turn, the ids are those of the whole conversation"


def test_each_familys_peculiarity_is_told() -> None:
    assert "drops those of earlier turns" in found(QWEN3)["thoughts"]
    assert found(LLAMA3)["thoughts"] == "stay in earlier turns"
    for subject in ("results as user turns, our system prompt", "results as tool turns"):
        assert r"'<think>\n\n</think>\n\n' before a turn" in found(QWEN3, enable_thinking=False)[subject]
    assert "You are Qwen" in found(QWEN2_5)["before the first turn"]
    assert found(QWEN3)["before the first turn"] == "nothing is added"
    assert "ignores `tools`" in found(SMOLLM3)["tools"]
    assert found(LLAMA3)["tools"] == "shown to the policy"


def altered(family: Family, change: Callable[[str], str]) -> PreTrainedTokenizerFast:
    tokenizer = tokenizer_of(family)
    template = change(tokenizer.chat_template)
    assert template != tokenizer.chat_template
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.backend_tokenizer,
        eos_token=tokenizer.eos_token,
        pad_token=tokenizer.pad_token,
        chat_template=template,
    )


@pytest.mark.parametrize(
    ("change", "subject", "fix"),
    [
        (lambda _: "{{ messages[0].content }}", "turns", "custom_chat_template"),
        (lambda template: template.replace("<|im_end|>", "---"), "end of a turn", "no token of its own"),
        (lambda template: template.replace("<|im_end|>", "<|endoftext|>"), "end of a turn", "does not stop at"),
        (
            lambda template: template.replace("{{- content -}}", "{{- loop.index ~ content -}}"),
            "results as user turns, our system prompt",
            "custom_chat_template",
        ),
    ],
    ids=["forgets turns", "no end token", "another end than the tokenizer's", "writes into history"],
)
def test_a_template_at_fault_is_told_with_a_mend(change: Callable[[str], str], subject: str, fix: str) -> None:
    checks = check_template(altered(QWEN3, change), {}, "qwen3")
    assert fix in next(check.fix for check in checks if check.subject == subject)


def test_the_command_checks_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "SECTIONS", ())
    tokenizer_of(QWEN3).save_pretrained(tmp_path)
    runner = CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1"})
    done = runner.invoke(app, ["doctor", "--model", str(tmp_path), "--set", "enable_thinking=false"])
    assert done.exit_code == 0, done.output
    assert f"chat template of {tmp_path}" in done.output
    assert "the policy saw it" in done.output
    done = runner.invoke(app, ["doctor", "--model", str(tmp_path / "nothing")])
    assert done.exit_code == 1
    assert "its tokenizer cannot be read" in done.output
