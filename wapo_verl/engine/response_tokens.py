"""A micro-batch's response tokens, one after the other, and where in the packed sequences each was predicted.

veRL keeps prompts and responses of different lengths as jagged nested tensors; their values are all rows' tokens in one
line. The log-probability of a token stands at the position before it.
"""

from dataclasses import dataclass

import torch
from tensordict import TensorDict


@dataclass(frozen=True, slots=True)
class ResponseTokens:
    """The N response tokens of a micro-batch of B rows, tool results and other text of the environment included.

    Attributes:
        positions: (N,) int64, where in all rows' packed tokens, prompts included, each was predicted.
        rows: (N,) int64, the row each belongs to, 0..B-1.
        columns: (N,) int64, its place in its row's response.
        own: (N,) bool, true on tokens the policy wrote.
        shape: (B, T), T the tokens of the longest response.
    """

    positions: torch.Tensor
    rows: torch.Tensor
    columns: torch.Tensor
    own: torch.Tensor
    shape: tuple[int, int]

    @classmethod
    def of(cls, data: TensorDict) -> "ResponseTokens":
        """Read them off a micro-batch's `prompts`, `responses` and `response_mask`.

        Raises:
            ValueError: where these are not jagged nested tensors, which veRL's V1 trainer makes.
        """
        for name in ("prompts", "responses", "response_mask"):
            if not data[name].is_nested:
                raise ValueError(f"{name} of the micro-batch is padded: a step plan needs trainer.use_v1=True")
        offsets = data["responses"].offsets()
        lengths = offsets.diff()
        ends = (data["prompts"].offsets().diff() + lengths).cumsum(0)
        own = data["response_mask"].values().bool()
        rows = torch.repeat_interleave(lengths, output_size=len(own))
        places = torch.arange(len(own), device=own.device)
        return cls(
            positions=places + (ends - offsets[1:] - 1)[rows],
            rows=rows,
            columns=places - offsets[:-1][rows],
            own=own,
            shape=(len(lengths), int(lengths.max())),
        )

    def padded(self, values: torch.Tensor) -> torch.Tensor:
        """Lay (N,) values out as (B, T), zero behind each row's end."""
        return values.new_zeros(self.shape).index_put_((self.rows, self.columns), values)
