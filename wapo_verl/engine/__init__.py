"""veRL's FSDP engine, obeying the step's plan (`wapo_verl.step_plan`). Empty here, since the engine needs veRL."""
