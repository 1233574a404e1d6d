"""A world of a few books and a model that was trained just long enough to write the protocol's tags. No GPU."""

from pathlib import Path

import pytest
import torch
from rich.console import Console

from benchmarks.study.cell import Seed
from benchmarks.study.settings import StudySettings
from benchmarks.study.task import make_indexes, model_folder
from examples.quickstart.model import make_model
from examples.quickstart.settings import QuickstartSettings, WarmStartSettings
from examples.quickstart.tokenizer import make_tokenizer
from examples.quickstart.warm_start import conversations, tokenize, train

TASK = QuickstartSettings(books=8, held_out_books=4, prompts_per_step=4, group_size=4)
SETTINGS = StudySettings(steps=2, validate_every=2, validation_questions=8, task=TASK)
LESSON = WarmStartSettings(worlds=1, books=24, batch_size=8, warm_up_steps=5, max_plateau_steps=80, decay_steps=20)


@pytest.fixture(scope="session")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study's folder with the files of seed 0."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("study")
    make_indexes(folder, 0, TASK)
    tokenizer = make_tokenizer()
    model = make_model(tokenizer, 0, heads=2, positions=256)
    train(model, tokenize(conversations(0, LESSON, TASK.top_k), tokenizer), tokenizer, LESSON, 0, Console(quiet=True))
    model.save_pretrained(model_folder(folder, 0))
    tokenizer.save_pretrained(model_folder(folder, 0))
    return folder


@pytest.fixture(scope="session")
def seed(out: Path) -> Seed:
    """Seed 0 of it."""
    return Seed(out, 0, SETTINGS)
