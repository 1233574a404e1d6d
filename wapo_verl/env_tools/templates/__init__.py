"""What ``new-env`` writes: ``KIND_environment.txt`` is the environment, ``KIND_FILE.jsonl`` go into its ``sample/``."""
