"""A pretrained language model, SmolLM2-135M-Instruct, trained with WAPO in veRL on a CPU."""
