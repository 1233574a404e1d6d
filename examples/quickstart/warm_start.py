"""Train the tiny model on imperfect demonstrations: it learns the protocol, and to copy names.

The demonstrations come from worlds of their own, which use only names of training. What remains to be learned, by WAPO,
is which of the names it reads is the right one. This is plain torch on one thread, without veRL.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path

import torch
import transformers
import wapo_verl.environments.installed.miniwiki
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from torch import Tensor
from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM
from wapo_verl.environments.installed.miniwiki.demonstrations import demonstrations
from wapo_verl.environments.installed.miniwiki.names import TRAIN
from wapo_verl.environments.installed.miniwiki.world import make_questions, make_world

from examples.quickstart.model import make_model
from examples.quickstart.settings import WarmStartSettings
from examples.quickstart.tokenizer import TURN_END, TURN_START, make_tokenizer
from retrieval_index import Document, Index, build_index, open_index

BETAS = (0.9, 0.98)
MAX_GRAD_NORM = 1.0
SILENT_STEPS = 50  # updates between two lines of progress where there is no terminal
SMOOTHED_STEPS = 20
RECORD_NAME = "warm_start.json"
_MODULE_FOLDERS = (Path(__file__).parent, Path(wapo_verl.environments.installed.miniwiki.__file__).parent)
_CODE_FILES = ("tokenizer.py", "model.py", "warm_start.py", "names.py", "world.py", "demonstrations.py")


@dataclass(frozen=True, slots=True)
class WarmStart:
    """The warm-started model.

    Attributes:
        directory: the Hugging Face folder of model and tokenizer.
        losses: mean loss on the policy's own tokens, one value per update.
        cached: whether the folder was there already and nothing was trained.
    """

    directory: Path
    losses: tuple[float, ...]
    cached: bool


def warm_start(
    directory: Path | str,
    seed: int,
    settings: WarmStartSettings | None = None,
    top_k: int = 3,
    console: Console | None = None,
) -> WarmStart:
    """Make a warm-started model and its tokenizer in `directory`, or use the one that is there.

    The folder is used again where it was made with the same seed, settings and code. A new one is written beside its
    place and moved there when complete. The same arguments give the same weights on the same machine.

    Args:
        directory: folder of the model.
        seed: of the demonstrations' worlds, the weights and the order.
        settings: sizes of the warm start; the defaults where None.
        top_k: passages of a search in the demonstrations; the same as in training.
        console: where to print; standard output where None.

    Raises:
        ValueError: where `directory` holds something else, which is not touched, or its record is damaged.
    """
    target, console = Path(directory), console or Console()
    settings = settings or WarmStartSettings()
    key = cache_key(seed, settings, top_k)
    found = cached(target, key)
    if found is not None:
        console.print(f"warm start: found in {target}, made with the same seed, settings and code; not trained again")
        return found
    tokenizer = make_tokenizer()
    examples = tokenize(conversations(seed, settings, top_k), tokenizer)
    model = make_model(tokenizer, seed)
    losses = train(model, examples, tokenizer, settings, seed, console)
    write(target, model, tokenizer, {"key": key, "seed": seed, "settings": asdict(settings), "losses": losses})
    return WarmStart(target, tuple(losses), cached=False)


def cache_key(seed: int, settings: WarmStartSettings, top_k: int) -> str:
    """Hash all that decides the weights: the arguments, the code of the files involved, torch's version."""
    arguments = json.dumps(
        {"seed": seed, "top_k": top_k, "torch": torch.__version__, **asdict(settings)}, sort_keys=True
    )
    digest = hashlib.sha256(arguments.encode())
    for folder in _MODULE_FOLDERS:
        for name in _CODE_FILES:
            if (folder / name).is_file():
                digest.update((folder / name).read_bytes())
    return digest.hexdigest()[:16]


def tokenize(conversations: Sequence[list[dict[str, str]]], tokenizer: PreTrainedTokenizerFast) -> list[list[int]]:
    """Return the token ids of each conversation, rendered with the chat template."""
    texts = tokenizer.apply_chat_template(list(conversations), tokenize=False)
    ids: list[list[int]] = tokenizer(texts, add_special_tokens=False)["input_ids"]
    return ids


def make_batch(examples: Sequence[Sequence[int]], tokenizer: PreTrainedTokenizerFast) -> tuple[Tensor, Tensor]:
    """Return right-padded token ids (int64) and the policy mask (bool), both of shape (examples, longest).

    The mask is true on tokens of the assistant between a turn's header and its end token.
    """
    longest = max(map(len, examples))
    pad = tokenizer.pad_token_id
    ids = torch.tensor([[*example, *[pad] * (longest - len(example))] for example in examples])
    start, assistant, end = tokenizer.convert_tokens_to_ids([TURN_START, "assistant", TURN_END])
    position = torch.arange(longest).expand_as(ids)
    last_start = torch.where(ids == start, position, -1).cummax(dim=1).values
    last_end = torch.where(ids == end, position, -1).cummax(dim=1).values
    role = ids.gather(1, (last_start + 1).clamp(max=longest - 1))
    return ids, (role == assistant) & (position >= last_start + 2) & (last_end < last_start)


def losses_of(model: Qwen3ForCausalLM, ids: Tensor, policy: Tensor, pad: int) -> tuple[Tensor, Tensor]:
    """Return the mean next-token loss on the policy's own tokens and on all others but padding, scalars in nats."""
    targets, own = ids[:, 1:], policy[:, 1:]
    real = targets != pad
    logits = model.lm_head(model.model(input_ids=ids).last_hidden_state[:, :-1][real])
    losses = torch.nn.functional.cross_entropy(logits, targets[real], reduction="none")
    return losses[own[real]].mean(), losses[~own[real]].mean()


def train(
    model: Qwen3ForCausalLM,
    examples: Sequence[Sequence[int]],
    tokenizer: PreTrainedTokenizerFast,
    settings: WarmStartSettings,
    seed: int,
    console: Console,
) -> list[float]:
    """Train the model in place, with a progress bar; returns the loss on the policy's own tokens of each update."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, betas=BETAS)
    batches = _batches(examples, settings.batch_size, random.Random(f"warm start order {seed}"))
    losses: list[float] = []
    plateau = settings.max_plateau_steps
    bar = (TextColumn("warm start"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Progress(*bar, TimeElapsedColumn(), console=console) as progress:
        task = progress.add_task("", total=plateau + settings.decay_steps)
        while len(losses) < plateau + settings.decay_steps:
            optimizer.param_groups[0]["lr"] = settings.learning_rate * _schedule(len(losses), plateau, settings)
            ids, policy = make_batch(next(batches), tokenizer)
            own, others = losses_of(model, ids, policy, tokenizer.pad_token_id)
            optimizer.zero_grad()
            (own + settings.passage_weight * others).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_GRAD_NORM)
            optimizer.step()
            losses.append(own.item())
            if len(losses) < plateau and _learned(losses, settings.learned_loss):
                plateau = len(losses)
            progress.update(task, advance=1, total=plateau + settings.decay_steps, description=f"loss {losses[-1]:.2f}")
            if not console.is_terminal and len(losses) % SILENT_STEPS == 0:  # the bar shows itself on terminals only
                console.print(f"warm start: {len(losses)} updates, loss {losses[-1]:.2f}", highlight=False)
    return losses


def _learned(losses: Sequence[float], threshold: float) -> bool:
    recent = losses[-SMOOTHED_STEPS:]
    return len(recent) == SMOOTHED_STEPS and sum(recent) / SMOOTHED_STEPS < threshold


def _schedule(step: int, plateau: int, settings: WarmStartSettings) -> float:
    """Return the share of the peak learning rate at an update counted from 0: a rise, a plateau, a fall to zero."""
    rise = (step + 1) / settings.warm_up_steps
    fall = (plateau + settings.decay_steps - step) / settings.decay_steps
    return min(1.0, rise, fall)


def _batches(examples: Sequence[Sequence[int]], size: int, generator: random.Random) -> Iterator[list[Sequence[int]]]:
    """Yield batches without end; each example comes once before any comes again."""
    waiting: list[Sequence[int]] = []
    while True:
        while len(waiting) < size:
            waiting += generator.sample(list(examples), len(examples))
        yield [waiting.pop() for _ in range(size)]


def conversations(seed: int, settings: WarmStartSettings, top_k: int) -> list[list[dict[str, str]]]:
    """Make the demonstrations' messages, from worlds whose seeds no training world has."""
    found: list[list[dict[str, str]]] = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(settings.worlds):
            generator = random.Random(f"warm start {seed} {number}")
            world = make_world(-1 - generator.getrandbits(40), TRAIN, settings.books)
            documents = list(world.documents())
            generator.shuffle(documents)
            build_index(documents, Path(folder) / str(number))
            index = open_index(Path(folder) / str(number))
            search = cache(partial(_search, index, top_k))
            questions = make_questions(world, 0.0, generator)
            for demonstration in demonstrations(world, questions, search, settings.mistake_share, generator):
                found.append(list(demonstration.messages))
    return found


def _search(index: Index, top_k: int, query: str) -> list[Document]:
    return [hit.document for hit in index.search([query], top_k)[0]]


def cached(target: Path, key: str) -> WarmStart | None:
    """Return the warm start that is in `target` already, None where there is none or its key is another one.

    Raises:
        ValueError: where `target` holds something else, or its record is damaged.
    """
    record = target / RECORD_NAME
    if not record.is_file():
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise ValueError(f"{target} exists and holds no warm start; give another folder or remove it")
        return None
    try:
        content = json.loads(record.read_text())
        found = WarmStart(target, tuple(content["losses"]), cached=True)
        return found if content["key"] == key else None
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{record} is damaged ({error}); remove the folder {target}") from error


def write(target: Path, model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, record: dict[str, object]) -> None:
    """Write model, tokenizer and record (`key` and `losses` among it) beside `target`, and then move them there."""
    working = target.with_name(f".{target.name}.writing-{os.getpid()}")
    shutil.rmtree(working, ignore_errors=True)
    working.mkdir(parents=True)
    transformers.logging.disable_progress_bar()  # a bar for one file of a megabyte
    model.save_pretrained(working)
    tokenizer.save_pretrained(working)
    (working / RECORD_NAME).write_text(json.dumps(record))
    shutil.rmtree(target, ignore_errors=True)
    working.rename(target)
