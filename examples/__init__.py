"""Programs that show the project at work; not installed."""
