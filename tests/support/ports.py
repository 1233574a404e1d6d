"""A port that nothing else takes meanwhile."""

import random
import socket

OUTSIDE = range(20_000, 32_000)
"""Below the ports that Linux gives to whoever asks for any, and above those of Ray's workers."""


def free_port() -> int:
    """A port of `OUTSIDE` that was free a moment ago, and that only another call of this may choose."""
    for port in random.sample(OUTSIDE, len(OUTSIDE)):
        with socket.socket() as tried:
            try:
                tried.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError(f"no port of {OUTSIDE} is free")
