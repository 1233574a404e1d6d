"""Measure what the token taxonomy adds to an actor's update, and write the tables of benchmarks/taxonomy.md.

    OMP_NUM_THREADS=1 python -m benchmarks.taxonomy [--repeats 9] [--note "..."]

An update is what veRL 0.9.1 does on a CPU with dense logits: a Qwen3 model's forward pass, veRL's log-probabilities, a
clipped loss, backward, gradient clipping, an AdamW step. The kinds of update take turns, so that whatever else the
machine does hits them alike; times are this process's CPU seconds, on one thread. The rest of a
training step (rollout, old log-probabilities, weight sync) is not measured: the taxonomy does not change it.
"""

import multiprocessing
import platform
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from wapo_verl.taxonomy import Tokens, assign_bins, bin_weights, diagnose, token_statistics, token_weights

RESULT = Path(__file__).with_suffix(".md")
VOCABULARY = 151_936
PROMPT, RESPONSE = 32, 96


@dataclass(frozen=True)
class Size:
    """A Qwen3 model with tied embeddings, and the sequences of one update."""

    hidden: int
    layers: int
    rows: int


SIZES = (Size(256, 4, 4), Size(512, 8, 4), Size(1024, 4, 2))


@dataclass(frozen=True)
class Seconds:
    """CPU seconds of one update, and those of them spent on the taxonomy."""

    update: float
    taxonomy: float


class Actor:
    """A model, its optimizer and one fixed batch."""

    def __init__(self, size: Size) -> None:
        from transformers import Qwen3Config, Qwen3ForCausalLM

        torch.manual_seed(0)
        heads = size.hidden // 64
        config = Qwen3Config(
            vocab_size=VOCABULARY,
            hidden_size=size.hidden,
            intermediate_size=3 * size.hidden,
            num_hidden_layers=size.layers,
            num_attention_heads=heads,
            num_key_value_heads=heads // 2,
            head_dim=64,
            tie_word_embeddings=True,
        )
        self.model = Qwen3ForCausalLM(config)
        self.parameters = sum(parameter.numel() for parameter in self.model.parameters())
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-6)
        self.tokens = torch.randint(VOCABULARY, (size.rows, PROMPT + RESPONSE))
        advantages = torch.randn(size.rows)[:, None].expand(-1, RESPONSE)
        self.advantages = advantages.contiguous()
        self.mask = torch.ones(size.rows, RESPONSE, dtype=torch.bool)
        predicting = torch.arange(self.tokens.numel()).view(size.rows, -1)[:, PROMPT - 1 : -1]
        self.positions = predicting.reshape(-1)

    def update(self, taxonomy: bool, entropy: bool) -> Seconds:
        """One update; with the taxonomy, and with veRL's own entropy, if asked for."""
        from verl.utils.torch_functional import entropy_from_logits, logprobs_from_logits

        started = time.process_time()
        logits = self.model(self.tokens, use_cache=False).logits
        kept = entropy_from_logits(logits) if entropy else None  # in the graph until the update ends, as in veRL
        packed = torch.cat(list(logits.unbind()))  # veRL packs the padded rows
        log_prob = logprobs_from_logits(packed, self.tokens.roll(-1, dims=1).reshape(-1))
        spent = 0.0
        response = log_prob[self.positions].view_as(self.advantages)
        if taxonomy:
            before = time.process_time()
            found = token_statistics(packed, rows=self.positions)
            shaped = type(found)(*(getattr(found, n).view_as(response) for n in type(found).__slots__))
            bins = assign_bins(response.detach().exp(), shaped.collision, self.advantages)
            weights = token_weights(bins, bin_weights(exclude=["neg_valley"]))
            spent += time.process_time() - before
        advantages = self.advantages * weights if taxonomy else self.advantages
        old = response.detach() + 0.01
        ratio = torch.exp(response - old)
        loss = -torch.minimum(ratio * advantages, ratio.clamp(max=10.0) * advantages).sum() / RESPONSE
        if taxonomy:
            before = time.process_time()
            (gradient,) = torch.autograd.grad(loss, response, retain_graph=True)
            diagnose(
                Tokens(response.detach(), old, self.advantages, self.mask, bins, weights, shaped, gradient, old)
            ).numbers()
            spent += time.process_time() - before
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        del kept
        return Seconds(time.process_time() - started, spent)


KINDS = {
    "update": (False, False),
    "update + taxonomy": (True, False),
    "update + veRL's entropy": (False, True),
}


def measure_updates(size: Size, repeats: int) -> dict[str, Any]:
    """Seconds of every kind of update, taking turns, after one round that does not count."""
    actor = Actor(size)
    seconds: dict[str, list[Seconds]] = {kind: [] for kind in KINDS}
    for repeat in range(repeats + 1):
        for kind, (taxonomy, entropy) in KINDS.items():
            taken = actor.update(taxonomy, entropy)
            print(f"  {kind}: {taken}", flush=True)
            if repeat:
                seconds[kind].append(taken)
    return {"parameters": actor.parameters, "tokens": actor.tokens.numel(), "seconds": seconds}


def chunked(logits: torch.Tensor) -> object:
    """Entropy by veRL's function that works in chunks of 2,048 tokens."""
    from verl.utils.torch_functional import entropy_from_logits_with_chunking

    return entropy_from_logits_with_chunking(logits)


def whole(logits: torch.Tensor) -> object:
    """Entropy by veRL's plain function."""
    from verl.utils.torch_functional import entropy_from_logits

    return entropy_from_logits(logits)


def squares(logits: torch.Tensor) -> object:
    """S by veRL's function."""
    from verl.utils.torch_functional import calculate_sum_pi_squared_from_logits

    return calculate_sum_pi_squared_from_logits(logits)


PIECES: dict[str, Callable[[torch.Tensor], object]] = {
    "`token_statistics`: H, S and Σp² ln p": token_statistics,
    "veRL `entropy_from_logits`: H": whole,
    "veRL `entropy_from_logits_with_chunking`: H": chunked,
    "veRL `calculate_sum_pi_squared_from_logits`: S": squares,
}


def measure_piece(name: str, positions: int, repeats: int) -> tuple[float, float]:
    """Median CPU seconds, and MiB that the peak of the process rises by in the first call."""
    torch.set_num_threads(1)
    piece = PIECES[name]
    logits = 3 * torch.randn(positions, VOCABULARY)
    with torch.no_grad():
        piece(logits[:1, :100])
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        piece(logits)
        risen = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        times = []
        for _ in range(repeats):
            started = time.process_time()
            piece(logits)
            times.append(time.process_time() - started)
    return statistics.median(times), risen / 1024


def _put(queue: Any, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    queue.put(function(*arguments))


def alone(function: Callable[..., Any], *arguments: Any) -> Any:
    """The result of `function(*arguments)` in a fresh process, so that its memory is its own."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=_put, args=(queue, function, arguments))
    process.start()
    result = queue.get(timeout=1800)
    process.join()
    return result


def spread(values: list[float], form: str = "{:.3f}") -> str:
    """Median and quartiles."""
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{form.format(middle)} ({form.format(low)} to {form.format(high)})"


def update_row(size: Size, found: dict[str, Any]) -> str:
    """One line of the first table."""
    plain, with_taxonomy, with_entropy = (found["seconds"][kind] for kind in KINDS)
    shares = [100 * taken.taxonomy / (taken.update - taken.taxonomy) for taken in with_taxonomy]
    ratios = [a.update / b.update for a, b in zip(with_taxonomy, plain, strict=True)]
    against = [a.update / b.update for a, b in zip(with_taxonomy, with_entropy, strict=True)]
    return " | ".join(
        (
            f"| {found['parameters'] / 1e6:.0f} M (hidden {size.hidden}, {size.layers} layers)",
            str(found["tokens"]),
            spread([taken.update for taken in plain], "{:.2f}"),
            spread(shares, "{:.1f}"),
            spread(ratios),
            f"{spread(against)} |",
        )
    )


def page(updates: list[str], pieces: list[str], repeats: int, positions: int, note: str) -> str:
    """The whole of benchmarks/taxonomy.md."""
    return f"""# What the taxonomy costs

`OMP_NUM_THREADS=1 python -m benchmarks.taxonomy --repeats {repeats} --sizes {len(updates)}`,
on a CPU ({platform.machine()}, torch {version("torch")}, verl
{version("verl")}, transformers {version("transformers")}), one thread, float32, vocabulary {VOCABULARY:,}.
Times are CPU seconds of the process, median of {repeats} (quartiles); the kinds of update take turns in one process.
{note}

## An actor's update

Forward, veRL's log-probabilities, clipped loss, backward, gradient clipping, AdamW step; rows of {PROMPT} prompt and
{RESPONSE} response tokens. The taxonomy is statistics, bins, weights, `autograd.grad(loss, log_probs)` and all
diagnostics of the response tokens; the overlap of a group's completions, which the trainer measures, is not in
it. *Taxonomy, %* is its own time over the time of the rest of the same
update; the ratios compare whole updates of one round.

| model | tokens | plain update, s | taxonomy, % | with taxonomy / plain | with taxonomy / with veRL's entropy |
|---|---|---|---|---|---|
{chr(10).join(updates)}

## Against veRL's own pieces

{positions} positions, no gradient, each in a process of its own; the logits are
{positions * VOCABULARY * 4 / 2**20:.0f} MiB.

| piece | s | peak memory on top, MiB |
|---|---|---|
{chr(10).join(pieces)}
"""


def main(
    repeats: Annotated[int, typer.Option(help="Rounds that count.")] = 9,
    positions: Annotated[int, typer.Option(help="Positions of the second table.")] = 384,
    note: Annotated[str, typer.Option(help="A sentence about the conditions.")] = "",
    sizes: Annotated[int, typer.Option(help="How many of the model sizes, from the smallest.")] = len(SIZES),
) -> None:
    """Measure everything; the page is written after every model, so that an interrupted run leaves what it has."""
    updates: list[str] = []
    pieces: list[str] = []
    for name in PIECES:
        seconds, mebibytes = alone(measure_piece, name, positions, repeats)
        pieces.append(f"| {name} | {seconds:.3f} | {mebibytes:.0f} |")
        print(pieces[-1], flush=True)
    for size in SIZES[:sizes]:
        updates.append(update_row(size, alone(measure_updates, size, repeats)))
        print(updates[-1], flush=True)
        RESULT.write_text(page(updates, pieces, repeats, positions, note))


if __name__ == "__main__":
    typer.run(main)
