"""Make the veRL command line of the quickstart from its settings and folders.

It has only what belongs to the quickstart: the plugin itself sets the keys of WAPO and of the CPU. `training` runs it.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from examples.quickstart.settings import QuickstartSettings, RunSettings
from wapo_verl.evaluation.verl_process import hydra_value, override_key

SPLITS = ("train", "test")
"""Each has an index of its own, so that no search in training can find what is held out."""

KEPT = ("trainer.logger", "trainer.validation_data_dir")
"""Keys the report at the end depends on, which therefore cannot be overridden."""


@dataclass(frozen=True, slots=True)
class Folders:
    """The files and folders of a run. `out` is absolute, because Ray's processes work in folders of their own."""

    out: Path

    @property
    def data(self) -> Path:
        """Parquet files and documents, as `wapo-verl prepare` writes them."""
        return self.out / "data"

    @property
    def index(self) -> Path:
        """One index for each split."""
        return self.out / "index"

    @property
    def model(self) -> Path:
        """The tiny model and its tokenizer."""
        return self.out / "model"

    @property
    def validation(self) -> Path:
        """One file of samples for each validation."""
        return self.out / "validation"

    @property
    def rollouts(self) -> Path:
        """One file of records for each training step."""
        return self.out / "rollouts"

    @property
    def log(self) -> Path:
        """The output of veRL's process."""
        return self.out / "train.log"

    @property
    def metrics(self) -> Path:
        """The lines of veRL's file logger."""
        return self.out / "metrics.jsonl"

    @property
    def report(self) -> Path:
        """The report as JSON."""
        return self.out / "report.json"

    @property
    def curves(self) -> Path:
        """The figure."""
        return self.out / "curves.png"


def training_command(
    folders: Folders, settings: QuickstartSettings, seed: int, overrides: Sequence[str] = ()
) -> list[str]:
    """Return the quickstart's command as a list of arguments.

    Args:
        folders: where the run reads and writes.
        settings: the sizes of the run.
        seed: of the data's order and of the sampling.
        overrides: Hydra overrides, which replace the quickstart's own values.

    Raises:
        ValueError: as ``command_of``.
    """
    search = {
        "actor_rollout_ref.rollout.multi_turn.max_assistant_turns": settings.max_turns,
        **{f"+wapo.search_agent.index.{split}": folders.index / split for split in SPLITS},
        "+wapo.search_agent.top_k": settings.top_k,
        "+wapo.search_agent.passage_tokens": settings.passage_tokens,
        "+wapo.search_agent.max_turn_tokens": settings.max_turn_tokens,
    }
    return command_of({**run_values("quickstart", folders, settings, seed), **search}, overrides)


def command_of(values: Mapping[str, object], overrides: Sequence[str]) -> list[str]:
    """Return veRL's command as a list of arguments.

    Args:
        values: keys of veRL and their values, in the order in which they are shown.
        overrides: Hydra overrides, which replace them.

    Raises:
        ValueError: for a text that is no override, or an override of a key in `KEPT`.
    """
    given = {override_key(override) for override in overrides}
    for key in KEPT:
        if key in given:
            raise ValueError(
                f"the report at the end reads what {key} makes veRL write, so it cannot be overridden; leave it out"
            )
    own = [f"{key}={hydra_value(value)}" for key, value in values.items() if override_key(f"{key}=") not in given]
    return [sys.executable, "-m", "verl.trainer.main_ppo", *own, *overrides]


def copyable(command: Sequence[str], file_logger: Path) -> str:
    """Write the command for a shell, one argument per line, with the variable that veRL's file logger reads."""
    program, *arguments = command
    head = f"VERL_FILE_LOGGER_PATH={shlex.quote(str(file_logger))} {shlex.quote(program)} {' '.join(arguments[:2])}"
    return " \\\n  ".join([head, *map(shlex.quote, arguments[2:])])


def run_values(name: str, folders: Folders, settings: RunSettings, seed: int) -> dict[str, object]:
    """Return the keys of veRL, and their values, of any run that is reported as the quickstart is.

    Args:
        name: the experiment's.
        folders: where the run reads and writes.
        settings: the sizes of the run.
        seed: of the data's order and of the sampling.
    """
    completions = settings.prompts_per_step * settings.group_size
    actor, rollout = "actor_rollout_ref.actor", "actor_rollout_ref.rollout"
    return {
        "algorithm.adv_estimator": "wapo",
        "data.train_files": folders.data / "train.parquet",
        "data.val_files": folders.data / "test.parquet",
        "data.val_max_samples": settings.validation_questions,
        "data.train_batch_size": settings.prompts_per_step,
        "data.max_prompt_length": settings.max_prompt_tokens,
        "data.max_response_length": settings.max_response_tokens,
        "data.seed": seed,
        "actor_rollout_ref.model.path": folders.model,
        f"{actor}.optim.lr": settings.learning_rate,
        f"{actor}.optim.lr_warmup_steps": settings.warm_up_steps,
        f"{actor}.ppo_mini_batch_size": settings.prompts_per_step,
        f"{actor}.ppo_micro_batch_size_per_gpu": completions,
        f"{rollout}.n": settings.group_size,
        f"{rollout}.seed": seed,
        f"{rollout}.log_prob_micro_batch_size_per_gpu": completions,
        f"{rollout}.val_kwargs.do_sample": True,
        f"{rollout}.val_kwargs.temperature": 1.0,
        f"{rollout}.val_kwargs.top_p": 1.0,
        f"{rollout}.val_kwargs.n": 1,
        "reward.custom_reward_function.path": "pkg://wapo_verl.reward",
        "reward.custom_reward_function.name": "compute_score",
        "trainer.project_name": "wapo-verl",
        "trainer.experiment_name": name,
        "trainer.logger": ["console", "file"],
        "trainer.total_training_steps": settings.steps,
        "trainer.val_before_train": True,
        "trainer.test_freq": settings.validate_every,
        "trainer.save_freq": -1,
        "trainer.resume_mode": "disable",
        "trainer.default_local_dir": folders.out / "checkpoints",
        "trainer.validation_data_dir": folders.validation,
        "trainer.rollout_data_dir": folders.rollouts,
        "+wapo.record.tokens": True,
        "hydra.run.dir": folders.out / "hydra",
    }
