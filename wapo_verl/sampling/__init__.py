"""Sampling that wastes less: stop asking for completions of settled groups, and filter all-equal groups with an end."""
