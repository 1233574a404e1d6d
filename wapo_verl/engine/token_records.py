"""What an update's forward pass knew of each token, for the records: written beside the rows in TransferQueue.

veRL's update answers with metrics alone, so the engine stores these numbers itself, as veRL's workers store log-probs.
"""

import math
from collections.abc import Sequence

import torch
import transfer_queue as tq
from tensordict import NonTensorStack, TensorDict

from wapo_verl.engine.response_tokens import ResponseTokens

ROW_KEY = "wapo_row_key"
"""The field by which a row of a batch names itself, for the engine to store by; strings."""

TOKEN_NUMBERS = "wapo_token_numbers"
"""The field that is stored: (T, 3) float32 a row, NaN where a number is not known, its columns `NUMBERS`."""

NUMBERS = ("log_prob", "entropy", "bin")
PARTITION = "train"


class TokenRecords:
    """The numbers of one mini-batch's rows, collected micro-batch by micro-batch."""

    def __init__(self) -> None:
        self._keys: list[str] = []
        self._rows: list[torch.Tensor] = []

    def add(
        self,
        keys: Sequence[str],
        tokens: ResponseTokens,
        log_prob: torch.Tensor,
        entropy: torch.Tensor | None,
        bins: torch.Tensor | None,
    ) -> None:
        """Add a micro-batch.

        Args:
            keys: of its rows.
            tokens: its N response tokens.
            log_prob: (N,) float, of each under the policy that is trained.
            entropy: (N,) float, of each one's distribution; None where it was not computed.
            bins: (N,) int64, as `assign_bins` gives them; None where nobody sorted the tokens.
        """
        unknown = torch.full_like(log_prob, math.nan, dtype=torch.float32)
        sorted_ = unknown if bins is None else bins.float().masked_fill(bins < 0, math.nan)
        numbers = torch.stack([log_prob.float(), unknown if entropy is None else entropy.float(), sorted_], dim=1)
        numbers = numbers.masked_fill(~tokens.own[:, None], math.nan).cpu()
        self._keys += keys
        self._rows += numbers.split(torch.bincount(tokens.rows, minlength=tokens.shape[0]).tolist())

    def store(self) -> None:
        """Write the rows' numbers."""
        rows = torch.nested.as_nested_tensor(self._rows, layout=torch.jagged)
        tq.kv_batch_put(
            keys=self._keys,
            partition_id=PARTITION,
            fields=TensorDict({TOKEN_NUMBERS: rows}, batch_size=len(self._keys)),
        )


def row_keys(keys: Sequence[str]) -> NonTensorStack:
    """Return the field `ROW_KEY` of rows."""
    return NonTensorStack(*keys)
