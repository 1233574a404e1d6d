"""Ends a run in which a process has died or was stopped, with one sentence, and cleans up behind it."""
