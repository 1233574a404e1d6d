"""What a model can do, and whether another can do more: samples, their statistics, comparison, and scoring again."""
