"""The pieces of the suite, the most important ones first: later ones are left out where the time is over.

Their limits are for pieces that hang, and add up to more than the suite's own time.
"""

from benchmarks.gpu.runner import Piece


def _piece(name: str, limit: float, settles: str) -> Piece:
    return Piece(name, ("-m", f"benchmarks.gpu.{name}"), limit, settles)


PIECES = (
    _piece("algorithms", 60, "each algorithm's loss and gradient in float32 and bf16, held to float64"),
    _piece("engine", 90, "taxonomy and updates, dense, packed, fused, offloaded, with LoRA, at vocabulary 151,936"),
    _piece("winners", 60, "updates of the winners alone move the weights as the full batch's"),
    _piece("quickstart", 120, "the sync trainer, Ray, FSDP2 and vLLM: ten steps of the quickstart, with the taxonomy"),
    _piece("checkpoints", 150, "the guard's rollback and stop, checkpoints, and a resumed run"),
    _piece("timings", 90, "what an update of 1.5B weights takes: with the taxonomy, and by the share of winners"),
    _piece("rollout", 90, "tokens a second of vLLM with 1.5B weights, with searches between turns and without"),
    _piece("smollm2", 100, "a pretrained model: ten steps of examples/smollm2"),
    _piece("asynchronous", 90, "the asynchronous modes that fit on the cards that are there"),
)
