"""The pieces of the suite, the most important ones first: later ones are left out where the time is over."""

from benchmarks.gpu.runner import Piece


def _piece(name: str, limit: float, settles: str) -> Piece:
    return Piece(name, ("-m", f"benchmarks.gpu.{name}"), limit, settles)


PIECES = (
    _piece("algorithms", 40, "each algorithm's loss and gradient in float32 and bf16, held to float64"),
    _piece("engine", 75, "taxonomy and updates, dense, packed, fused, offloaded, with LoRA, at vocabulary 151,936"),
    _piece("winners", 50, "updates of the winners alone move the weights as the full batch's"),
)
