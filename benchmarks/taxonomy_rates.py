"""How often a sampled peak moves the entropy as the rule says, and whether a valley ever does not.

`python -m benchmarks.taxonomy_rates` prints the table of docs/taxonomy.md. Gaussian logits, a vocabulary of 2 to 50
tokens drawn anew for every chunk of draws, the sampled token drawn from the distribution or evenly. Reinforced only:
punished, dH has the other sign.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from wapo_verl.taxonomy import entropy_change

DEVIATIONS = (1.0, 3.0, 10.0)
DRAWS, CHUNK = 200_000, 1_000
LEAST, MOST = 2, 50
ROUNDING = 1e-15
"""nats; a change smaller than this has no sign in float64."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Of the draws of one cell: peaks, those of them that lower the entropy, valleys, those that do not raise it."""

    peaks: int = 0
    lowering: int = 0
    valleys: int = 0
    exceptions: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            self.peaks + other.peaks,
            self.lowering + other.lowering,
            self.valleys + other.valleys,
            self.exceptions + other.exceptions,
        )


def counted(deviation: float, evenly: bool, generator: torch.Generator) -> Counts:
    """Return the counts of one chunk."""
    tokens = int(torch.randint(LEAST, MOST + 1, (), generator=generator))
    logits = deviation * torch.randn(CHUNK, tokens, generator=generator, dtype=torch.float64)
    p = logits.softmax(dim=-1)
    weights = torch.ones_like(p) if evenly else p
    sampled = torch.multinomial(weights, 1, generator=generator)[:, 0]
    change = entropy_change(logits, sampled, torch.ones(CHUNK, dtype=torch.float64))
    peak = p.gather(-1, sampled[:, None])[:, 0] >= p.square().sum(dim=-1)
    return Counts(
        int(peak.sum()), int((peak & (change < 0)).sum()), int((~peak).sum()), int((~peak & (change < -ROUNDING)).sum())
    )


def cells() -> Iterator[tuple[float, bool, Counts]]:
    """Yield the standard deviation of the logits, whether tokens are drawn evenly, and the counts."""
    for deviation in DEVIATIONS:
        for evenly in (False, True):
            generator = torch.Generator().manual_seed(0)
            chunks = (counted(deviation, evenly, generator) for _ in range(DRAWS // CHUNK))
            yield deviation, evenly, sum(chunks, Counts())


def main() -> None:
    """Print the table, and how many valleys were an exception."""
    found = {(deviation, evenly): counts for deviation, evenly, counts in cells()}
    print("| standard deviation of the logits | s drawn from p | s drawn evenly |\n|---|---|---|")
    for deviation in DEVIATIONS:
        rates = [100 * found[deviation, evenly].lowering / found[deviation, evenly].peaks for evenly in (False, True)]
        print(f"| {deviation:g} | " + " | ".join(f"{rate:.1f} %" for rate in rates) + " |")
    total = sum(found.values(), Counts())
    print(f"\n{total.valleys:,} valleys, {total.exceptions} exceptions")


if __name__ == "__main__":
    main()
