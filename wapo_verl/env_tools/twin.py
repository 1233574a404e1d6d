"""``python -m wapo_verl.env_tools.twin REQUEST``: an environment's rows and gold scores, read in another process.

Sets and dicts come out in another order there (Python hashes text differently in every process), clocks and counters
stand elsewhere: what a row or a score owes to any of these shows as a difference. Prints one digest a row.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from wapo_verl.env_tools.play import SINGLE, Row, score
from wapo_verl.environments.environment import Environment
from wapo_verl.environments.registry import environment

HASH_SEED = "20260617"
END = "end of split"


def digest(env: Environment, row: Row) -> str:
    """Return a digest of a row, its gold episode and that one's score: 32 hexadecimal digits."""
    gold = env.gold_episode(row)
    scored = score(row, gold.completion, None if row["agent_name"] == SINGLE else gold)
    text = json.dumps([row, gold.to_record(), scored], sort_keys=True)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


@contextmanager
def twin(
    env: Environment, splits: Sequence[str], source: Path | None, options: Mapping[str, Any], limit: int | None
) -> Iterator[Iterator[str]]:
    """Read the digests of the splits' rows, in order, from another process, and END after each split's.

    The process is ended with the block.
    """
    request = json.dumps(
        [env.name, env.agent_name, list(splits), None if source is None else str(source), dict(options), limit]
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "wapo_verl.env_tools.twin", request],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONHASHSEED": HASH_SEED},
    )
    assert process.stdout
    try:
        yield (line.strip() for line in process.stdout)
    finally:
        process.kill()
        process.stdout.close()
        process.wait()


def main(request: str) -> None:
    """Print the digests that `twin` reads."""
    name, agent_name, splits, source, options, limit = json.loads(request)
    env = environment(name).played_by(agent_name)
    for split in splits:
        examples = env.examples(split, None if source is None else Path(source), **options)
        for index, example in enumerate(islice(examples, limit)):
            row = env.row(example, split, index)
            try:
                print(digest(env, row), flush=True)
            except Exception as error:  # noqa: BLE001 - the other process meets it too, and says it about the row
                print(f"raises {type(error).__name__}", flush=True)
        print(END, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
