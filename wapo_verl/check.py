"""One line of a report on what is installed, or on what a chat template does."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes:
        subject: what it is.
        result: its state.
        fix: what to do, where it is at fault; "" where all is well.
        missing: whether it is an optional part that is not there.
    """

    subject: str
    result: str
    fix: str = ""
    missing: bool = False
