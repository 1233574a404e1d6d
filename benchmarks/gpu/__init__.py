"""The suite for one machine with a GPU: `make test-gpu`, or `python -m benchmarks.gpu` (docs/has_run.md)."""
