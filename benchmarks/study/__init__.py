"""The stability study: a grid of algorithms, learning rates, off-policy steps and seeds, in process on the tiny task.

The world, the model, its warm start, the episodes, the advantages and the losses are those of a veRL run; only the
machinery around them (Ray, vLLM, FSDP) is left out, so that hundreds of short runs fit on two cores.
"""
