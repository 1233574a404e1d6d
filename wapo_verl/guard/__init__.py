"""Watching a run for a collapse: a detector of rules, its measurement on recorded runs, and a guard inside veRL."""
