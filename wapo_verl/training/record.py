"""What a run writes of each completion beside veRL's own dump (docs/records.md)."""

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import torch
from omegaconf import DictConfig
from pydantic import BaseModel, ConfigDict, Field

from wapo_verl.algorithms.objective import bypasses
from wapo_verl.data.episode_record import SCHEMA, turns
from wapo_verl.engine.token_records import NUMBERS
from wapo_verl.taxonomy.bins import BINS

TOKEN_FIELDS = {
    "rollout_log_probs": "rollout_log_prob",
    "old_log_probs": "actor_log_prob",
    "entropy": "entropy",
    "advantages": "advantage",
}
"""veRL's name of a per-token field -> its name in a record."""

MEASURED = {"log_prob": "actor_log_prob", "entropy": "entropy", "bin": "bin"}
"""The engine's name of a number of a token (`NUMBERS`) -> its name in a record."""


class RecordKeys(BaseModel):
    """The group `wapo.record`.

    Attributes:
        every: steps from one dump of training's completions to the next.
        tokens: whether a record holds its tokens with their log-probs and advantages; a line is then much longer.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    every: Annotated[int, Field(ge=1)] = 1
    tokens: bool = False


def recorded_fields(config: DictConfig, winners_only: bool) -> list[str]:
    """Return which of `TOKEN_FIELDS` veRL stores for every row of a run.

    The actor's log-probs and entropy are not among them in bypass mode, in which the rollout's log-probs stand for the
    actor's, or where they are computed for the chosen rows alone.
    """
    stored = ["advantages", *validation_fields(config)]
    if not bypasses(config) and not winners_only:
        stored += ["old_log_probs", "entropy"]
    return stored


def validation_fields(config: DictConfig) -> list[str]:
    """Return which of `TOKEN_FIELDS` veRL stores for the rows of a validation, on which no actor computes."""
    return ["rollout_log_probs"] if config.actor_rollout_ref.rollout.get("calculate_log_probs", False) else []


class Tokens(Sequence[dict[str, list[Any]]]):
    """The `tokens` of rows, laid out when each is written: as lists they are ten times as large as in tensors.

    Args:
        fields: of N rows, by the names that they have in a record, the tensor of each row, or None where a row has
            none; `ids` and `mask` are among them. NaN stands for a number that is not known.
        texts: token id -> its text, for every id of the rows.
    """

    def __init__(self, fields: Mapping[str, Sequence[torch.Tensor | None]], texts: Mapping[int, str]) -> None:
        self._fields, self._texts = fields, texts

    def __len__(self) -> int:
        """Return the rows."""
        return len(self._fields["ids"])

    def __getitem__(self, place: Any) -> Any:
        """Return one row's: name -> a list with one entry a token."""
        lists = {
            name: _listed(name, row) for name, values in self._fields.items() if (row := values[place]) is not None
        }
        ids = lists.pop("ids")
        return {"ids": ids, "text": [self._texts[each] for each in ids], **lists}


def _listed(name: str, row: torch.Tensor) -> list[Any]:
    """Return a number a token, None where it is not known; a bin by its name."""
    if not row.is_floating_point():
        return row.long().tolist()
    values = [None if math.isnan(value) else value for value in row.tolist()]
    if name == "bin":
        return [None if value is None else BINS[int(value)] for value in values]
    return [None if value is None else round(value, 5) for value in values]


def sampled_log_probs(config: DictConfig, winners_only: bool) -> list[str]:
    """Return the field of the policy that sampled, the rollout's before the actor's; none where none is stored."""
    return [name for name in recorded_fields(config, winners_only) if name.endswith("log_probs")][:1]


class RecordWriter:
    """Lays out records; decodes each token of the vocabulary once.

    Args:
        tokenizer: the policy's.
        keys: the run's settings.
    """

    def __init__(self, tokenizer: Any, keys: RecordKeys) -> None:
        self._tokenizer = tokenizer
        self._keys = keys
        self._texts: dict[int, str] = {}

    def columns(
        self,
        fields: Mapping[str, Any],
        extra_fields: Sequence[Any] = (),
        measured: Sequence[torch.Tensor | None] | None = None,
    ) -> dict[str, Sequence[Any]]:
        """Return the columns that a record adds to veRL's dump.

        Args:
            fields: nested tensors of N rows by veRL's names: `responses` and `response_mask`, and those of
                `TOKEN_FIELDS` that the run has, each (N, T) with rows of their own lengths.
            extra_fields: what the agent loop stored of each row; `turn_seconds` is read, where a loop has it.
            measured: of each row, what the update measured of its tokens, (T, 3) as `token_records` stores it; None for
                a row that was not trained on.

        Returns:
            `schema`, `turns`, `advantage` (the first token's, which all tokens of a completion share), and `tokens`
            where they are asked for.
        """
        rows = {name: list(values.unbind()) for name, values in fields.items()}
        ids = [row.tolist() for row in rows["responses"]]
        masks = [row.long().tolist() for row in rows["response_mask"]]
        told = [turns(one, mask, self._tokenizer.decode) for one, mask in zip(ids, masks, strict=True)]
        for each, extra in zip(told, extra_fields, strict=False):
            seconds = extra.get("turn_seconds") if isinstance(extra, Mapping) else None
            for turn, value in zip(each, seconds or (), strict=False):  # results that did not fit are no turn
                turn["seconds"] = round(value, 3)
        found: dict[str, Sequence[Any]] = {"schema": [SCHEMA] * len(ids), "turns": told}
        if "advantages" in rows:
            found["advantage"] = [_largest(row) for row in rows["advantages"]]
        if self._keys.tokens:
            for each in {each for row in ids for each in row} - self._texts.keys():
                self._texts[each] = self._tokenizer.decode([each])
            found["tokens"] = Tokens(_named(rows, measured), self._texts)
        return found


def _named(
    rows: Mapping[str, list[torch.Tensor]], measured: Sequence[torch.Tensor | None] | None
) -> dict[str, Sequence[torch.Tensor | None]]:
    """Return the per-token fields by their names in a record; what veRL stored of every row is preferred."""
    named: dict[str, Sequence[torch.Tensor | None]] = {"ids": rows["responses"], "mask": rows["response_mask"]}
    for number, name in enumerate(NUMBERS if measured is not None else ()):
        columns = [None if row is None or row[:, number].isnan().all() else row[:, number] for row in measured or ()]
        if any(column is not None for column in columns):
            named[MEASURED[name]] = columns
    named |= {TOKEN_FIELDS[name]: rows[name] for name in TOKEN_FIELDS if name in rows}
    if "entropy" in rows:  # veRL's forward pass has one for the environment's tokens as well
        pairs = zip(rows["entropy"], rows["response_mask"], strict=True)
        named["entropy"] = [row.masked_fill(mask == 0, math.nan) for row, mask in pairs]
    return named


def _largest(row: torch.Tensor) -> float:
    """Return the value of largest size: a completion's own, since the environment's tokens have zero."""
    return float(row[row.abs().argmax()]) if row.numel() else 0.0
