"""`python -m retrieval_index`."""

from retrieval_index.cli.app import app

app(prog_name="python -m retrieval_index")
