"""Takes the records of training's and validations' completions from the store, for veRL to dump (docs/records.md)."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from omegaconf import DictConfig
from transfer_queue import KVBatchMeta

from wapo_verl.engine.token_records import TOKEN_NUMBERS
from wapo_verl.training.decisions import Decisions
from wapo_verl.training.dump import dump_columns
from wapo_verl.training.record import RecordWriter, recorded_fields, validation_fields
from wapo_verl.training.stored import fetch
from wapo_verl.training.validation_records import ValidationRecords, sampled_batches


class Recorder:
    """What a run writes of its completions.

    Args:
        config: the run's.
        decisions: what was decided of it.
        tokenizer: the policy's.
    """

    def __init__(self, config: DictConfig, decisions: Decisions, tokenizer: Any) -> None:
        self._config, self._keys, self._tokenizer = config, decisions.record, tokenizer
        self._writer = RecordWriter(tokenizer, decisions.record)
        self._fields = recorded_fields(config, decisions.winners_only)
        self._measured: set[str] = set()  # rows of this step of which the update stored its tokens' numbers
        self._validation: ValidationRecords | None = None  # of the validation that runs, where its dump is asked for

    def begin_step(self) -> None:
        """Forget which rows the last step's update measured."""
        self._measured.clear()

    def is_due(self, step: int) -> bool:
        """Tell whether training's completions of a step are dumped, where a dump is asked for."""
        return step % self._keys.every == 0

    def wants_numbers(self, step: int) -> bool:
        """Tell whether a step's update is to store what it knows of each token."""
        return self._keys.tokens and self.is_due(step) and bool(self._config.trainer.get("rollout_data_dir"))

    def measured(self, keys: Collection[str]) -> None:
        """Note rows of which the update has stored that."""
        self._measured.update(keys)

    def training_dump(self, batch: KVBatchMeta) -> dict[str, Any]:
        """Return the arguments of veRL's `_dump_generations` for training's rows, its folder apart."""
        data = fetch(batch, "prompts", "responses", "rm_scores", "reward_model")
        return {
            "inputs": [self._tokenizer.decode(ids) for ids in data["prompts"].unbind()],
            "outputs": [self._tokenizer.decode(ids) for ids in data["responses"].unbind()],
            "gts": [item.get("ground_truth") for item in data["reward_model"]],
            "scores": [float(scores.sum()) for scores in data["rm_scores"].unbind()],
            "reward_extra_infos_dict": self._columns(batch, self._fields),
        }

    @contextmanager
    def validation(self, buffer: Any) -> Iterator[None]:
        """Take the records of a validation's batches before veRL clears their rows, where their dump is asked for.

        Args:
            buffer: the replay buffer that they are sampled from.
        """
        if not self._config.trainer.get("validation_data_dir"):
            yield
            return
        self._validation = kept = ValidationRecords()
        fields = validation_fields(self._config)
        try:
            with sampled_batches(buffer, lambda batch: kept.take(batch.keys, self._columns(batch, fields))):
                yield
        finally:
            self._validation = None

    def beside(self, columns: Mapping[str, Sequence[Any]]) -> Mapping[str, Sequence[Any]]:
        """Return the columns of a dump; those of a validation with the records that were taken."""
        return columns if self._validation is None else self._validation.beside(columns)

    def _columns(self, batch: KVBatchMeta, numbers: Sequence[str]) -> dict[str, Sequence[Any]]:
        """Return what a record has of each row beside veRL's own line; `numbers` are veRL's per-token fields of it."""
        tokens = ["responses", "response_mask", *numbers]
        data = fetch(batch, "extra_fields", "data_source", *tokens)
        extras, responses = list(data["extra_fields"]), data["responses"].unbind()
        columns = dump_columns(
            batch.keys,
            extras,
            list(data["data_source"]),
            lambda place: self._tokenizer.decode(responses[place], skip_special_tokens=True),
        )
        return {**columns, **self._writer.columns({name: data[name] for name in tokens}, extras, self._numbers(batch))}

    def _numbers(self, batch: KVBatchMeta) -> list[torch.Tensor | None] | None:
        """Fetch what the update has stored of each row's tokens; None for the rows of which it has nothing."""
        there = [key for key in batch.keys if key in self._measured]
        if not there:
            return None
        found = fetch(batch.select_keys(there), TOKEN_NUMBERS)[TOKEN_NUMBERS].unbind()
        rows = dict(zip(there, found, strict=True))
        return [rows.get(key) for key in batch.keys]
