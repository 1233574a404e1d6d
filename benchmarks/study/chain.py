"""The task `chain`: long answers, each right only as a whole.

A question is a row of digits, and its answer the last digit of their sum so far, behind each of them:

    question: 5 9 9 7          answer: 5 4 3 0

One turn, no search. In the warm start's demonstrations a link is wrong with a small chance, and the links behind it go
on from the wrong one. Whoever imitates them writes each link right but for that chance, and so hardly ever all of them:
nearly every token of a wrong answer is right.
"""

from __future__ import annotations

import json
import math
import random
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from benchmarks.study.settings import ChainSettings
from examples.quickstart.model import make_model
from examples.quickstart.settings import WarmStartSettings
from examples.quickstart.tokenizer import make_tokenizer
from examples.quickstart.warm_start import cached, tokenize, train, write

DEMONSTRATIONS = 6000
DIGITS = 10


def sums(digits: list[int]) -> list[int]:
    """Return the last digit of the sum of the digits up to each."""
    total, found = 0, []
    for digit in digits:
        total = (total + digit) % DIGITS
        found.append(total)
    return found


def with_mistakes(digits: list[int], share: float, generator: random.Random) -> list[int]:
    """Return the sums of an imperfect demonstration: each link is wrong with the chance `share`."""
    wrong = [generator.randrange(1, DIGITS) if generator.random() < share else 0 for _ in digits]
    return sums([digit + error for digit, error in zip(digits, wrong, strict=True)])


def questions(split: str, seed: int, settings: ChainSettings) -> list[tuple[str, str]]:
    """Return the (question, answer) pairs of a split; a seed has its own."""
    count = settings.train_questions if split == "train" else settings.validation_questions
    generator = random.Random(f"chain questions {seed} {split}")
    rows = [[generator.randrange(DIGITS) for _ in range(settings.links)] for _ in range(count)]
    return [(written(row), written(sums(row))) for row in rows]


def written(digits: list[int]) -> str:
    """Write digits as the tokenizer has one token for each."""
    return " ".join(map(str, digits))


def conversations(seed: int, settings: ChainSettings) -> list[list[dict[str, str]]]:
    """Make the demonstrations' messages."""
    generator = random.Random(f"chain demonstrations {seed}")
    found = []
    for _ in range(DEMONSTRATIONS):
        row = [generator.randrange(DIGITS) for _ in range(settings.links)]
        answer = written(with_mistakes(row, settings.mistake_share, generator))
        turns = (("user", written(row)), ("assistant", f"<answer> {answer} </answer>"))
        found.append([{"role": role, "content": content} for role, content in turns])
    return found


def lesson(settings: ChainSettings) -> WarmStartSettings:
    """Return the warm start's settings: it has learned where the loss is near that of the mistakes, which have no rule.

    A wrong link is one of nine, each as likely: the entropy of a link is H(e) + e ln 9 for a chance of e.
    """
    share = settings.mistake_share
    link = -share * math.log(share / (DIGITS - 1)) - (1 - share) * math.log1p(-share)
    return WarmStartSettings(
        batch_size=16, learned_loss=link + 0.03, max_plateau_steps=700, decay_steps=100, passage_weight=0.0
    )


def warm_start(folder: Path, seed: int, settings: ChainSettings, console: Console) -> None:
    """Make the seed's warm-started model and its tokenizer; one that is there already is kept.

    Raises:
        ValueError: where the folder holds something else.
    """
    taught = lesson(settings)
    key = json.dumps({"seed": seed, "links": settings.links, **asdict(taught)})
    if cached(folder, key) is not None:
        return
    tokenizer = make_tokenizer()
    model = make_model(tokenizer, seed)
    losses = train(model, tokenize(conversations(seed, settings), tokenizer), tokenizer, taught, seed, console)
    write(folder, model, tokenizer, {"key": key, "losses": losses})
