"""An evaluation from end to end: rows, model, veRL's rollout, samples; resumed where it was left."""

from __future__ import annotations

import fcntl
import math
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from wapo_verl.evaluation.command import verl_command
from wapo_verl.evaluation.manifest import (
    EvaluationManifest,
    checkout_commit,
    package_versions,
    read_manifest,
)
from wapo_verl.evaluation.model import loadable_model
from wapo_verl.evaluation.progress import Progress, read_progress
from wapo_verl.evaluation.questions import QUESTIONS_FILE, Question, write_questions
from wapo_verl.evaluation.records import SAMPLES_FILE
from wapo_verl.evaluation.requests import REQUESTS_FILE, Request, write_requests
from wapo_verl.evaluation.rows import Wanted, questions_of
from wapo_verl.evaluation.verl_process import end_family, last_errors

LOG_FILE = "verl.log"
LOOK_EVERY_SECONDS = 0.5

Report = Callable[[str, int, int], None]
"""Called with what is going on, how many samples are there, and how many there will be."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a user asks for.

    Attributes:
        wanted: the rows.
        model: a folder, a name on the hub, or a checkpoint.
        out: the evaluation's folder.
        samples: a question.
        temperature: of the sampling; 0 for greedy decoding.
        top_p: of the sampling.
        seed: every sample's own is made from it.
        ask_failed_again: ask for failed samples of an earlier run again.
        overrides: further settings of veRL.
    """

    wanted: tuple[Wanted, ...]
    model: str
    out: Path
    samples: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int = 0
    ask_failed_again: bool = False
    overrides: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise ValueError(f"--samples must be at least 1, not {self.samples}")
        if not 0 <= self.temperature < math.inf or not 0 < self.top_p <= 1:
            raise ValueError("--temperature must be a number of at least 0, and --top-p must be above 0 and at most 1")
        if self.temperature == 0 and self.samples > 1:
            raise ValueError("with --temperature 0 all samples of a question are the same; leave --samples out")


def evaluate(settings: Settings, report: Report = lambda doing, done, whole: None) -> Progress:
    """Ask for every sample that is not there yet, and return which are there.

    Args:
        settings: what is asked for.
        report: called now and then.

    Raises:
        ValueError: for what cannot be evaluated, a folder that holds another evaluation, or a run of veRL's that ended
            before every sample was there; the sentence says why, and the same call resumes.
        OSError: when a file cannot be read or written.
    """
    settings.out.mkdir(parents=True, exist_ok=True)
    with _alone(settings.out) as lock:
        report("preparing rows and model", 0, 0)
        questions, manifest = _prepared(settings)
        earlier = read_manifest(settings.out)
        if earlier is not None:
            manifest.refuse_other(earlier, settings.out)
        manifest.write(settings.out)
        write_questions(questions, settings.out / QUESTIONS_FILE)
        samples = settings.out / SAMPLES_FILE
        there = read_progress(samples, settings.ask_failed_again)
        requests = _missing(questions, settings, there)
        if requests:
            write_requests(requests, settings.out / REQUESTS_FILE)
            status = _run_verl(manifest, settings.out, lock, len(questions) * settings.samples, report)
            there = read_progress(samples)
            missing = sum(len(request.samples) for request in _missing(questions, settings, there))
            if missing:
                raise ValueError(_broke_off(settings.out, status, missing))
    return there


def _prepared(settings: Settings) -> tuple[list[Question], EvaluationManifest]:
    found = {wanted.name: questions_of(wanted, settings.out / "rows") for wanted in settings.wanted}
    manifest = EvaluationManifest(
        model=loadable_model(settings.model, settings.out),
        rows={name: rows for name, (_, rows) in found.items()},
        samples=settings.samples,
        temperature=settings.temperature,
        top_p=settings.top_p,
        seed=settings.seed,
        overrides=settings.overrides,
        versions=package_versions(),
        commit=checkout_commit(),
    )
    return [question for questions, _ in found.values() for question in questions], manifest


def _missing(questions: Sequence[Question], settings: Settings, there: Progress) -> list[Request]:
    """Return the requests for the samples that are not there."""
    requests = []
    for question in questions:
        key = (question.data_source, question.question_id)
        numbers = tuple(number for number in range(settings.samples) if number not in there.samples.get(key, ()))
        if numbers:
            file = str((settings.out / SAMPLES_FILE).absolute())
            requests.append(Request(question, numbers, file, settings.seed, there.votes.get(key, {})))
    return requests


@contextmanager
def _alone(folder: Path) -> Iterator[int]:
    """Hold an evaluation's folder, and yield the lock: veRL's process holds it on where this one is killed."""
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(f"another evaluation writes into {folder}; wait for its end, or end it") from error
        yield descriptor
    finally:
        os.close(descriptor)


def _run_verl(manifest: EvaluationManifest, folder: Path, lock: int, whole: int, report: Report) -> int:
    """Run veRL to its end and return its exit status; it is ended when this is interrupted."""
    command, samples = verl_command(manifest, folder), folder / SAMPLES_FILE
    started, lines = time.monotonic(), _LineCount(samples)
    with (folder / LOG_FILE).open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, pass_fds=(lock,)
        )
        before = lines.count()
        try:
            while process.poll() is None:
                done = lines.count()
                doing = "sampling" if done > before else f"starting veRL, {time.monotonic() - started:.0f} s"
                report(doing, done, whole)
                time.sleep(LOOK_EVERY_SECONDS)
        finally:
            if process.poll() is None:
                end_family(process)
    report("sampling", lines.count(), whole)
    return process.returncode


class _LineCount:
    """Counts the lines of a growing file, reading what is new."""

    def __init__(self, file: Path) -> None:
        self._file, self._read, self._lines = file, 0, 0

    def count(self) -> int:
        """Return how many whole lines there are."""
        if self._file.is_file():
            with self._file.open("rb") as stream:
                stream.seek(self._read)
                while block := stream.read(1 << 20):
                    self._read += len(block)
                    self._lines += block.count(b"\n")
        return self._lines


def _broke_off(folder: Path, status: int, missing: int) -> str:
    log = (folder / LOG_FILE).read_text(encoding="utf-8", errors="replace")
    last, *_ = last_errors(log, errors=1, lines=1) or ["it said nothing"]
    return (
        f"veRL ended with status {status}, and {missing:,} samples are missing: {last} "
        f"(all it said: {folder / LOG_FILE}); the same command resumes"
    )
