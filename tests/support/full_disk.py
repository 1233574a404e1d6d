"""A disk that takes no more, for a few lines of a test: the system cuts a write short there as on a full one."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def files_end_at(length: int) -> Iterator[None]:
    """Let no file of this process grow beyond so many bytes; not around a whole test, since pytest writes one too."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (length, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
