"""A run's settings: read, resolved, checked and printed."""
