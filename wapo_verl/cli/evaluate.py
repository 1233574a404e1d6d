"""``wapo-verl eval ENV...``: sample a model on environments, and say what it can do."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wapo_verl.cli.compare import counts_as_zero, whole_numbers
from wapo_verl.cli.one_sentence import one_sentence, options_in

if TYPE_CHECKING:
    from rich.console import Console

    from wapo_verl.evaluation.run import Settings


def evaluate(
    model: Annotated[
        str, typer.Option(help="A model's folder or hub name, a checkpoint global_step_N, or a run's checkpoints.")
    ],
    out: Annotated[Path, typer.Option(help="The evaluation's folder; the same command resumes.", file_okay=False)],
    environments: Annotated[
        list[str] | None,
        typer.Argument(
            help="Environments, NAME or NAME=SOURCE (as `prepare --source`, or a parquet file of prepared rows), and "
            "settings for veRL, key=value with a dot in the key."
        ),
    ] = None,
    suite: Annotated[str | None, typer.Option(help="search or math: the data sets that people report.")] = None,
    source: Annotated[Path | None, typer.Option(help="Where --suite finds its data sets.")] = None,
    skip_missing: Annotated[
        bool, typer.Option("--skip-missing", help="Leave out data sets of --suite that are not there.")
    ] = False,
    samples: Annotated[int, typer.Option(help="Samples a question.")] = 1,
    temperature: Annotated[float, typer.Option(help="Of the sampling; 0 is greedy.")] = 1.0,
    top_p: Annotated[float, typer.Option("--top-p", help="Of the sampling.")] = 1.0,
    limit: Annotated[int | None, typer.Option(help="At most so many questions of each environment.")] = None,
    split: Annotated[str | None, typer.Option(help="The split; an environment's last by default.")] = None,
    index: Annotated[
        list[str] | None, typer.Option(help="ADDRESS of the index to search, or NAME=ADDRESS; may be repeated.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Every sample's own seed is made from it.")] = 0,
    k: Annotated[str | None, typer.Option(help="For pass@k, pass^k and maj@k, such as 1,4,16.")] = None,
    agent: Annotated[str | None, typer.Option(help="The agent loop of the environments that search.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="key=value, an option of the environments.")] = None,
    failed: Annotated[str, typer.Option(help="What a failed sample counts as: out (it is left out) or zero.")] = "out",
    again: Annotated[bool, typer.Option("--again", help="Ask for the failed samples of an earlier run again.")] = False,
) -> None:
    """Sample a model's answers on veRL's own rollout with training's agent loops and reward, and sum them up."""
    from wapo_verl.evaluation.rows import wanted_rows
    from wapo_verl.evaluation.run import Settings

    with one_sentence() as errors:
        as_zero, ks = counts_as_zero(failed), whole_numbers(k)
        if ks and min(ks) < 1:
            raise ValueError(f"--k {min(ks)} cannot be: it counts samples, from 1 on")
        if ks and max(ks) > samples:
            raise ValueError(f"--k {max(ks)} needs more samples a question than --samples {samples}")
        if suite is None and source is not None:
            raise ValueError("--source is of --suite: write NAME=SOURCE for an environment")
        names, overrides = _without_overrides(environments or [])
        if suite is not None:
            names += _data_sets(suite, source or Path("data"), skip_missing, errors)
        settings = Settings(
            wanted=tuple(wanted_rows(names, index or (), options_in(set_), split, limit, agent)),
            model=model,
            out=out,
            samples=samples,
            temperature=temperature,
            top_p=top_p,
            seed=seed,
            ask_failed_again=again,
            overrides=tuple(overrides),
        )
        _refuse_unknown_keys(settings)
        _run(settings, errors)
        _sum_up(out, ks, as_zero)
        errors.print(f"samples: {out / 'samples.jsonl'}", highlight=False, soft_wrap=True)


def _without_overrides(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Tell environments from settings for veRL, whose keys have dots: ``data.max_response_length=512``."""
    overrides = [text for text in arguments if "." in text.partition("=")[0]]
    return [text for text in arguments if text not in overrides], overrides


def _refuse_unknown_keys(settings: Settings) -> None:
    """Compose veRL's configuration here, before rows and model are prepared; veRL itself would refuse after that."""
    if not settings.overrides:
        return
    from wapo_verl.environments.registry import environment_of
    from wapo_verl.evaluation.command import index_values, with_overrides
    from wapo_verl.settings.compose import compose

    indexes = {environment_of(wanted.name).name: wanted.index for wanted in settings.wanted if wanted.index}
    compose(with_overrides(index_values(indexes), settings.overrides))


def _data_sets(suite: str, source: Path, skip_missing: bool, errors: Console) -> list[str]:
    """Return the data sets of a suite, and say which are missing."""
    from wapo_verl.evaluation.suites import suite as data_sets

    named, missing = data_sets(suite, source, skip_missing)
    for name in missing:
        errors.print(f"note: {name} is missing and left out", style="yellow", highlight=False, soft_wrap=True)
    return named


def _run(settings: Settings, console: Console) -> None:
    """Run it, showing how far it is: a bar in a terminal, a line now and then elsewhere."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from wapo_verl.evaluation.run import evaluate

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    spoke = [0.0]
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=None)

        def report(doing: str, done: int, whole: int) -> None:
            progress.update(task, description=doing, completed=done, total=whole or None)
            if not console.is_terminal and time.monotonic() - spoke[0] > 15:
                console.print(f"{doing}: {done:,} of {whole:,} samples", highlight=False, soft_wrap=True)
                spoke[0] = time.monotonic()

        evaluate(settings, report)


def _sum_up(out: Path, ks: list[int], failures_as_zero: bool) -> None:
    """Print what the samples say, with the official scores where a benchmark has such, and write it."""
    from rich.console import Console

    from wapo_verl.evaluation.comparison import compare
    from wapo_verl.evaluation.official import official_scores
    from wapo_verl.evaluation.reading import read_evaluation
    from wapo_verl.evaluation.report import official_lines, print_comparison, write

    found = compare([read_evaluation(out)], ks, failures_as_zero=failures_as_zero)
    print_comparison(found, Console())
    official = official_scores(out)
    write(found, out, "summary", official)
    for line in official_lines(official):
        typer.echo(line)
