"""The pieces of the suite, the most important ones first: later ones are left out where the time is over."""

from benchmarks.gpu.runner import Piece


def _piece(name: str, limit: float, settles: str) -> Piece:
    return Piece(name, ("-m", f"benchmarks.gpu.{name}"), limit, settles)


PIECES = (
    _piece("algorithms", 30, "each algorithm's loss and gradient in float32 and bf16, held to float64"),
    _piece("engine", 60, "taxonomy and updates, dense, packed, fused, offloaded, with LoRA, at vocabulary 151,936"),
    _piece("winners", 40, "updates of the winners alone move the weights as the full batch's"),
    _piece("quickstart", 90, "the sync trainer, Ray, FSDP2 and vLLM: ten steps of the quickstart, with the taxonomy"),
    _piece("checkpoints", 110, "the guard's rollback and stop, checkpoints, and a resumed run"),
    _piece("smollm2", 80, "a pretrained model: ten steps of examples/smollm2"),
    _piece("asynchronous", 70, "the asynchronous modes that fit on the cards that are there"),
)
