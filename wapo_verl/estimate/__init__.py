"""Say beforehand what memory and time a run needs: arithmetic on a model's shape and on the run's settings."""
