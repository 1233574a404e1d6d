"""The quickstart: make a world, an index and a tiny model, train it in veRL on a CPU, and report what came out."""
