"""Describe a training batch: its rows, the completions they belong to, and the groups of these.

A row is one sequence that veRL trains on. A completion is one sample for a prompt: usually one row, but an agent loop
may return several outputs for one session, which are several rows of one completion. A group is the completions of one
prompt. Padding rows, which veRL appends to fill the last mini-batch, belong to no completion of a prompt.
"""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, fields, replace

import torch


@dataclass(frozen=True, slots=True)
class Completions:
    """The C completions of a batch, padding included.

    Attributes:
        rewards: (C,) float, the reward of each completion's last output, in its own dtype.
        groups: (C,) int64, group numbers 0..K-1.
        padding: (C,) bool.
        truncated: (C,) bool, whether the final output was cut by a length limit.
        of_row: (R,) int64, the completion each row belongs to.
        lengths: (C,) int64, response tokens of all rows of a completion, or None where they were not counted.
        outcomes: (C,) float, the outcome that gates who wins, or None where nothing does.
    """

    rewards: torch.Tensor
    groups: torch.Tensor
    padding: torch.Tensor
    truncated: torch.Tensor
    of_row: torch.Tensor
    lengths: torch.Tensor | None
    outcomes: torch.Tensor | None = None

    @property
    def real(self) -> torch.Tensor:
        """(C,) bool, true on completions that are not padding."""
        return ~self.padding

    def with_rewards(self, rewards: torch.Tensor) -> "Completions":
        """Return the same completions with other rewards, (C,)."""
        return replace(self, rewards=rewards)

    def gated(self, advantages: torch.Tensor) -> torch.Tensor:
        """Return (C,) advantages, zero where the outcome speaks against them; all of them where there is no outcome.

        A group whose outcomes are all the same has no advantage, and a completion whose outcome is not the group's
        highest has none above 0.
        """
        if self.outcomes is None:
            return advantages
        highest, lowest = self._bounds(self.outcomes, "amax"), self._bounds(self.outcomes, "amin")
        may_win = self.outcomes == highest
        return torch.where((lowest < highest) & (may_win | (advantages < 0)), advantages, 0.0)

    def _bounds(self, values: torch.Tensor, kind: str) -> torch.Tensor:
        """Return the highest ("amax") or lowest ("amin") value of each member's group, padding left out: (C,)."""
        nothing = -torch.inf if kind == "amax" else torch.inf
        found = values.new_full((int(self.groups.max()) + 1,), nothing)
        return found.scatter_reduce(0, self.groups, values.masked_fill(self.padding, nothing), kind)[self.groups]

    def counted_lengths(self) -> torch.Tensor:
        """Return `lengths`.

        Raises:
            ValueError: where they were not counted.
        """
        if self.lengths is None:
            raise ValueError("this algorithm averages over tokens: give the batch its rows' `lengths`")
        return self.lengths


@dataclass(frozen=True, slots=True)
class Batch:
    """One whole training batch, R rows in any order.

    Attributes:
        rewards: (R,) float, each row's scalar reward.
        group_ids: (R,) int64, equal for the rows of one prompt.
        completion_ids: (R,) int64, equal for the rows of one completion; None where each row is a completion.
        output_index: (R,) int64, a row's place among its completion's outputs, of which the last one's reward counts;
            None where `completion_ids` is None.
        padding: (R,) bool, or None where no row is known to be padding.
        truncated: (R,) bool, or None where no row is known to be truncated.
        lengths: (R,) int64, tokens of each row that the policy wrote, or None where they were not counted.
        outcomes: (R,) float, the outcome that gates who wins (`Completions.gated`); None where nothing does.

    Raises:
        ValueError: where a shape does not fit or a reward is not finite; names the field or the row.
    """

    rewards: torch.Tensor
    group_ids: torch.Tensor
    completion_ids: torch.Tensor | None = None
    output_index: torch.Tensor | None = None
    padding: torch.Tensor | None = None
    truncated: torch.Tensor | None = None
    lengths: torch.Tensor | None = None
    outcomes: torch.Tensor | None = None

    def __post_init__(self) -> None:
        for name in (field.name for field in fields(self)):
            values = getattr(self, name)
            if values is not None and values.shape != (len(self.rewards),):
                raise ValueError(f"{name} has shape {tuple(values.shape)}, expected ({len(self.rewards)},) as rewards")
        if (self.completion_ids is None) != (self.output_index is None):
            raise ValueError("completion_ids and output_index belong together: give both or neither")
        finite = torch.isfinite(self.rewards)
        if not bool(finite.all()):
            row = int((~finite).nonzero()[0])
            raise ValueError(f"row {row} has the reward {float(self.rewards[row])}: a reward must be a finite number")

    @classmethod
    def from_keys(
        cls,
        keys: Sequence[str],
        rewards: torch.Tensor,
        padding: Sequence[bool] | None = None,
        truncated: Sequence[bool] | None = None,
        lengths: torch.Tensor | None = None,
        outcomes: torch.Tensor | None = None,
    ) -> "Batch":
        """Build a batch from the keys under which veRL's V1 trainer stores rows, "{uid}_{session}_{output}".

        Args:
            keys: R keys, in the order of `rewards`.
            rewards: (R,) float.
            padding: R flags (veRL's tag `is_padding`), or None.
            truncated: R flags, or None.
            lengths: (R,) int64, tokens of each row that the policy wrote, or None.
            outcomes: (R,) float, or None.

        Raises:
            ValueError: where a key does not have that form; names the key.
        """
        parts = [_parts(str(key)) for key in keys]
        device = rewards.device
        return cls(
            rewards=rewards,
            group_ids=numbered([uid for uid, _, _ in parts], device),
            completion_ids=numbered([(uid, session) for uid, session, _ in parts], device),
            output_index=torch.tensor([output for _, _, output in parts], dtype=torch.int64, device=device),
            padding=None if padding is None else torch.tensor(padding, dtype=torch.bool, device=device),
            truncated=None if truncated is None else torch.tensor(truncated, dtype=torch.bool, device=device),
            lengths=lengths,
            outcomes=outcomes,
        )

    def completions(self) -> Completions:
        """Collect the rows of each completion.

        Raises:
            ValueError: where two outputs of one completion have the same place, so that none is the last.
        """
        rows = len(self.rewards)
        none = torch.zeros(rows, dtype=torch.bool, device=self.rewards.device)
        padding = none if self.padding is None else self.padding
        truncated = none if self.truncated is None else self.truncated
        groups = torch.unique(self.group_ids, return_inverse=True)[1]
        if self.completion_ids is None or self.output_index is None:
            of_row = torch.arange(rows, device=self.rewards.device)
            return Completions(self.rewards, groups, padding, truncated, of_row, self.lengths, self.outcomes)
        names, of_row = torch.unique(self.completion_ids, return_inverse=True)
        last = torch.zeros(len(names), dtype=torch.int64, device=self.rewards.device)
        last.scatter_reduce_(0, of_row, self.output_index, "amax", include_self=False)
        final = (self.output_index == last[of_row]).nonzero().flatten()
        if len(final) != len(names):
            raise ValueError(f"{len(final)} rows are the last output of {len(names)} completions: each has one last")
        final = final[of_row[final].argsort()]
        lengths = None
        if self.lengths is not None:
            lengths = self.lengths.new_zeros(len(names)).index_add_(0, of_row, self.lengths)
        outcomes = None if self.outcomes is None else self.outcomes[final]
        return Completions(
            self.rewards[final], groups[final], padding[final], truncated[final], of_row, lengths, outcomes
        )


def numbered(labels: Iterable[Hashable], device: torch.device | None = None) -> torch.Tensor:
    """Return the same number for equal labels, in the order in which they come: R labels -> (R,) int64."""
    numbers: dict[Hashable, int] = {}
    return torch.tensor([numbers.setdefault(label, len(numbers)) for label in labels], dtype=torch.int64, device=device)


def _parts(key: str) -> tuple[str, str, int]:
    """Split "{uid}_{session}_{output}"; the uid may have underscores of its own."""
    uid, session, output = key.rsplit("_", 2) if key.count("_") > 1 else ("", "", "")
    if not uid:
        raise ValueError(f"key {key!r} is not of the form uid_session_output, which veRL's V1 trainer gives its rows")
    if not output.isdigit():
        raise ValueError(f"key {key!r} does not end in an output's number")
    return uid, session, int(output)


def spread(rows: torch.Tensor, response_mask: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Give each token that the policy wrote its row's advantage: (R,) -> (R, T) of `dtype`, zero on other tokens."""
    return rows.unsqueeze(-1).to(dtype) * response_mask.to(dtype)
