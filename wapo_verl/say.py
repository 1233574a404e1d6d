"""Say something in a run's output, under this project's name."""

import sys

_subjects: set[str] = set()


def say(sentence: str, is_error: bool = False) -> None:
    """Print a sentence as a line of its own; on stderr where it is an error."""
    sys.stdout.flush()  # so that both come in this order where they go to one file
    print(f"wapo-verl: {sentence}", file=sys.stderr if is_error else sys.stdout, flush=True)


def say_once(subject: str, sentence: str) -> None:
    """Print a sentence, the first of its subject in this process."""
    if is_first(subject):
        say(sentence)


def is_first(subject: str) -> bool:
    """Tell whether a subject comes up for the first time in this process; from now on it does not."""
    is_new = subject not in _subjects
    _subjects.add(subject)
    return is_new
