"""The trainer: veRL's V1 step with this project's advantages, row selection and metrics."""
