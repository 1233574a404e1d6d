"""One rank of `test_sequence_parallel`: the statistics of its own part of packed logits, gathered over gloo."""

import sys
from pathlib import Path

import torch
from verl.utils import tensordict_utils as tu
from verl.utils.ulysses import set_ulysses_sequence_parallel_group
from verl.workers.engine.fsdp.transformer_impl import FSDPEngineWithLMHead

from wapo_verl.engine.distribution import packed_statistics


def main(inputs: str, out: str) -> None:
    torch.distributed.init_process_group("gloo")
    set_ulysses_sequence_parallel_group(torch.distributed.group.WORLD)
    given = torch.load(inputs)
    engine = object.__new__(FSDPEngineWithLMHead)
    engine.use_ulysses_sp = True
    fields = {name: torch.nested.as_nested_tensor(rows, layout=torch.jagged) for name, rows in given["fields"].items()}
    data = tu.get_tensordict(fields, {"use_remove_padding": True})
    rank, ranks = torch.distributed.get_rank(), torch.distributed.get_world_size()
    padding = -len(given["logits"]) % ranks
    logits = torch.nn.functional.pad(given["logits"], (0, 0, 0, padding), value=float("nan")).chunk(ranks)[rank]
    temperature = torch.nn.functional.pad(given["temperature"], (0, padding), value=1.0).chunk(ranks)[rank]
    arguments = {"pad_size": padding, "temperature_rmpad": temperature}
    found = packed_statistics(engine, logits.unsqueeze(0), arguments, data)
    if rank == ranks - 1:
        torch.save({name: values.values() for name, values in found.items()}, Path(out))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
