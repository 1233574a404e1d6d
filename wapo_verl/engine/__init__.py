"""veRL's FSDP engine, obeying the step's plan (`wapo_verl.engine.step_plan`). Imports nothing."""
