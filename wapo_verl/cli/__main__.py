"""Run `wapo-verl` as `python -m wapo_verl.cli`."""

from wapo_verl.cli.app import app

app(prog_name="wapo-verl")
