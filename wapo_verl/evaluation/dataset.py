"""The rows of an evaluation as veRL's trainer takes them: `data.custom_cls` names this class."""

from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from wapo_verl.evaluation.requests import read_requests


class EvaluationDataset(Dataset):
    """Reads the requests that `wapo-verl eval` wrote.

    Not veRL's own dataset: rows of several environments have columns of different types, which parquet files that are
    read together cannot have, and each row says how many samples it is to get.
    """

    def __init__(self, data_files: Any, tokenizer: Any, processor: Any, config: Any, max_samples: int = -1) -> None:
        """Take veRL's arguments; the file or files of requests are all that is used."""
        files = [data_files] if isinstance(data_files, str) else list(data_files)
        self._requests = [request for file in files for request in read_requests(Path(file))]

    def __len__(self) -> int:
        return len(self._requests)

    def __getitem__(self, item: int) -> dict[str, Any]:
        # veRL's batches need one tensor.
        return {**self._requests[item].row(), "dummy_tensor": torch.tensor([0], dtype=torch.uint8)}
