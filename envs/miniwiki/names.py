"""Make invented names for miniwiki, and separate the names of training from the held-out ones.

A name is one word of a head and a tail ("Bal" + "iad"). Each kind of entity has 32 heads and 32 tails of its own, so
1,024 names. Their pieces decide which names are held out, not the world's seed: whatever worlds a policy was trained
on, it has seen every piece and none of the held-out names.
"""

from __future__ import annotations

import random
from itertools import product

KINDS = ("book", "person", "town", "school")
TRAIN, HELD_OUT = "train", "held_out"
PARTS = (TRAIN, HELD_OUT)
_HELD_OUT_EVERY = 8

_ONSETS = {
    "book": ("B", "D", "F", "G", "K", "L", "M", "N"),
    "person": ("H", "J", "P", "R", "S", "T", "V", "Z"),
    "town": ("Br", "Cl", "Cr", "Dr", "Gr", "Sk", "Sn", "Tr"),
    "school": ("Ch", "Fl", "Gl", "Pl", "Sh", "Sp", "St", "W"),
}
_RIMES = {
    "book": ("al", "er", "os", "un"),
    "person": ("am", "el", "ir", "on"),
    "town": ("ax", "ev", "im", "ob"),
    "school": ("ad", "ey", "in", "ott"),
}
_TAILS = {
    "book": (
        "iad ique ozar anthe ebra ilka orna undis avar elune igon opha umbra asque etto idora "
        "olyx urna andor evik isme ophil ulan axia enza irth ovane uril aquin edda ilex omira"
    ),
    "person": (
        "alda evin iska orrin ugan ardo emund isolde otto ulric annek eska idris olga undine avice "
        "ethel ingar orla usha axel enna irwin owen urbo agnar edwy ivo odile ursel ayla emil"
    ),
    "town": (
        "ford wick holm stead bury mouth haven gate field dale moor cliff bridge port marsh crest "
        "thorpe worth combe minster garth mere ley den hurst well shaw toft kirk beck firth quay"
    ),
    "school": (
        "abbey acre arch bell brook chapel close court crown dene fold gable glade grange green grove "
        "hall heath hill ivy keep knoll lodge manor meadow oak orchard park row stone tower yard"
    ),
}


def heads(kind: str) -> tuple[str, ...]:
    """Return the 32 first pieces of a kind's names."""
    return tuple(onset + rime for onset, rime in product(_ONSETS[kind], _RIMES[kind]))


def tails(kind: str) -> tuple[str, ...]:
    """Return the 32 last pieces of a kind's names."""
    return tuple(_TAILS[kind].split())


def part_names(kind: str, part: str) -> tuple[str, ...]:
    """Return all names of a kind that belong to `part`: 896 for "train", 128 for "held_out", in a fixed order.

    Every head and every tail occurs in both parts, so a policy that saw only the names of training saw all pieces.
    """
    held_out = part == HELD_OUT
    return tuple(
        head + tail
        for (i, head), (j, tail) in product(enumerate(heads(kind)), enumerate(tails(kind)))
        if ((i + j) % _HELD_OUT_EVERY == 0) == held_out
    )


def draw_names(kind: str, part: str, count: int, generator: random.Random) -> list[str]:
    """Draw `count` different names of a kind and part, in random order.

    Raises:
        ValueError: where there are fewer; names how many there are.
    """
    pool = part_names(kind, part)
    if count > len(pool):
        raise ValueError(
            f"miniwiki has {len(pool)} {part} names of kind {kind!r} and {count} were asked for; ask for fewer books"
        )
    return generator.sample(pool, count)
