"""Run the example from end to end: model, questions, veRL, report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from examples.quickstart.command import Folders, command_of, run_values
from examples.quickstart.memory import PeakMemory
from examples.quickstart.report import Goal, standard_error
from examples.quickstart.run import Prepared, Stages, train_and_conclude
from examples.smollm2.model import make_model
from examples.smollm2.rows import write_rows
from examples.smollm2.settings import SmolLM2Settings

NAME = "smollm2"


def rose_clearly(first: float, last: float, questions: int) -> bool:
    """Tell whether the last share is above the first, and the 95 % intervals (1.96 standard errors) do not touch."""
    errors = (standard_error(first, questions) or 0.0) + (standard_error(last, questions) or 0.0)
    return last - first > 1.96 * errors


GOAL = Goal("beyond the 95 % intervals of both", rose_clearly)


def micro_batches(settings: SmolLM2Settings) -> dict[str, object]:
    """Return the keys that bound a pass: the logits of one completion take 18 MB, with a vocabulary of 49,152."""
    actor, rollout = "actor_rollout_ref.actor", "actor_rollout_ref.rollout"
    return {
        f"{actor}.ppo_micro_batch_size_per_gpu": settings.micro_batch_rows,
        f"{rollout}.log_prob_micro_batch_size_per_gpu": settings.micro_batch_rows,
    }


def smollm2(seed: int, out: Path, overrides: Sequence[str], console: Console) -> int:
    """Run everything and print the report.

    Args:
        seed: of the questions and the training.
        out: folder for all that is written; a model that was converted there before is used again.
        overrides: for veRL's command, as Hydra takes them.
        console: where to print.

    Returns:
        The exit status, 0 only where training came to its end.

    Raises:
        ValueError: for an override that is not possible.
        OSError: when a file cannot be read or written, or the model could not be converted.
    """
    settings, folders, stages = SmolLM2Settings(), Folders(out.absolute()), Stages(console)
    command = command_of({**run_values(NAME, folders, settings, seed), **micro_batches(settings)}, overrides)
    folders.out.mkdir(parents=True, exist_ok=True)
    with PeakMemory() as memory:
        with stages.stage("SmolLM2-135M-Instruct, converted"):
            make_model(folders.model)
        with stages.stage("questions"):
            counts = {"test": settings.validation_questions, "train": settings.training_rows}
            write_rows(folders.data, counts, seed)
        return train_and_conclude(Prepared(NAME, seed, command, stages, GOAL), folders, memory)
