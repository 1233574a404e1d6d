"""`wapo-verl estimate -- OVERRIDES`: what memory and time a run with these settings needs, before it is started."""

from __future__ import annotations

from typing import Annotated

import typer

from wapo_verl.cli.one_sentence import one_sentence


def estimate(
    overrides: Annotated[list[str], typer.Argument(help="The run's settings, as main_ppo takes them; after --.")],
    gpu: Annotated[str, typer.Option(help="rtx4090, l4, a100, h100 or h200.")] = "h100",
) -> None:
    """Compute a run's memory on each device and its time at most, from the settings that the run would take.

    Nothing is loaded and no GPU is needed. Exit status 1 where the run does not fit.
    """
    from rich.console import Console
    from rich.table import Table

    from wapo_verl.estimate.duration import DEVICES
    from wapo_verl.estimate.report import problems, rollout_lines, trainer_lines
    from wapo_verl.estimate.run import config_of, job_of, steps_of

    with one_sentence() as errors:
        if gpu not in DEVICES:
            raise ValueError(f"--gpu {gpu} is not known: choose {', '.join(DEVICES)}")
        config = config_of(overrides)
        job, device = job_of(config), DEVICES[gpu]
        on_gpu = job.utilization is not None
        table = Table("", f"each of {job.devices} {gpu if on_gpu else 'processes on the CPU'}", box=None)
        for what, how_much in trainer_lines(job):
            table.add_row(what, how_much)
        for what, how_much in rollout_lines(job, device, steps_of(config)) if on_gpu else ():
            table.add_row(what, how_much)
        Console().print(table)
        wrong = problems(job, device) if on_gpu else []
        for sentence in wrong:
            errors.print(f"error: {sentence}", style="red", markup=False, highlight=False, soft_wrap=True)
        if wrong:
            raise typer.Exit(1)
