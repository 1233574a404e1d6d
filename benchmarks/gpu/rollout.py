"""Piece: tokens a second that vLLM samples with 1.5 billion random weights, with searches between turns and without.

Episodes of three turns, all at once. After a turn each episode searches by a sentence of the quickstart's world, and
the passages are put behind what was sampled. Without searches the same passages are put there, so that the difference
is the searches' time alone. No Ray, and no compiled kernels (`enforce_eager`).
"""

import os
import random
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice
from typing import Any

import torch
from rich.console import Console

from benchmarks.gpu.cases import Cases, Numbers, Setting, piece
from benchmarks.gpu.worker import LARGE, ModelSize, save_model
from examples.quickstart.command import Folders
from examples.quickstart.run import Stages, make_world
from examples.quickstart.settings import QuickstartSettings
from examples.quickstart.tokenizer import make_tokenizer
from retrieval_index import open_index
from wapo_verl.data.json_lines import read_json_lines

TURNS, TOP_K, THREADS = 3, 3, 16
Tokens = list[list[int]]
"""Token ids, episode by episode."""


class Searcher:
    """Searches the quickstart's training documents, for many episodes at once."""

    def __init__(self, folders: Folders) -> None:
        make_world(folders, QuickstartSettings(), 0, Stages(Console(quiet=True)))
        self._index = open_index(folders.index / "train")
        documents = read_json_lines(folders.data / "documents.jsonl")
        self._queries = cycle(document["text"] for document in documents)
        self._tokenizer = make_tokenizer()

    def search(self, episodes: int) -> Tokens:
        """Search once for each episode, each in a call of its own; return the passages' tokens."""
        with ThreadPoolExecutor(THREADS) as threads:
            return list(threads.map(self._passages, islice(self._queries, episodes)))

    def _passages(self, query: str) -> list[int]:
        hits = self._index.search([query], TOP_K)[0]
        return self._tokenizer(" ".join(hit.document.text for hit in hits), add_special_tokens=False)["input_ids"]


def make_engine(setting: Setting) -> Any:
    """Start vLLM in this process, with a random model."""
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    if setting.device == "cpu":
        os.environ |= {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    from vllm import LLM

    model = setting.out / "model"
    size = ModelSize(64, 1, 2, 1, 128, vocabulary=1000) if setting.small else LARGE
    dtype = "float32" if setting.device == "cpu" else "bfloat16"
    save_model(model, size, setting.device, dtype)
    return LLM(
        str(model),
        skip_tokenizer_init=True,
        dtype=dtype,
        enforce_eager=True,
        max_model_len=4096,
        gpu_memory_utilization=0.6,
        enable_prefix_caching=True,
        seed=0,
    )


def play(engine: Any, prompts: Tokens, tokens: int, between: list[Tokens], searcher: Searcher | None) -> Numbers:
    """Play all episodes turn by turn; passages are searched and kept in `between`, or taken from there."""
    from vllm import SamplingParams

    sampling = SamplingParams(max_tokens=tokens, ignore_eos=True, detokenize=False, temperature=1.0, seed=0)
    episodes, searching, started = [list(prompt) for prompt in prompts], 0.0, time.perf_counter()
    for turn in range(TURNS):
        asked = [{"prompt_token_ids": episode} for episode in episodes]
        sampled = engine.generate(asked, sampling, use_tqdm=False)
        if searcher is not None:
            before = time.perf_counter()
            between.append(searcher.search(len(episodes)))
            searching += time.perf_counter() - before
        for episode, output, passages in zip(episodes, sampled, between[turn], strict=True):
            episode += [*output.outputs[0].token_ids, *passages]
    taken, total = time.perf_counter() - started, TURNS * tokens * len(prompts)
    return {"episodes": len(prompts), "sampled tokens": total, "seconds": taken, "searching": searching,
            "tokens/s": total / taken}  # fmt: skip


def run(cases: Cases, setting: Setting) -> None:
    """Play a warm-up, then with searches and without."""
    searcher, engine = Searcher(Folders(setting.out.parent / "world")), make_engine(setting)
    dice, count, tokens = random.Random(0), 4 if setting.small else 256, 8 if setting.small else 128
    prompts = [[dice.randrange(5, 1000) for _ in range(64)] for _ in range(count)]
    play(engine, prompts, tokens, [], searcher)
    between: list[Tokens] = []
    cases.run("with searches", play, engine, prompts, tokens, between, searcher)
    cases.run("without", play, engine, prompts, tokens, between, None)
    if setting.device == "cuda":
        print(f"{torch.cuda.max_memory_allocated() / 1e9:.1f} GB at most")


if __name__ == "__main__":
    piece(run)
