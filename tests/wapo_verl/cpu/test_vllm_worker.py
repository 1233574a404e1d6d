"""Slow: vLLM on the CPU answers with the weights that were synced last, tied output layer included. No GPU, no Ray."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.slow

# In a process of its own: vLLM keeps its engine, threads and environment for as long as the process lives.
SYNC = """
import json, os, sys
os.environ.update(
    VLLM_CPU_KVCACHE_SPACE="1", VLLM_ENABLE_V1_MULTIPROCESSING="0", VLLM_CPU_OMP_THREADS_BIND="nobind",
    TORCH_COMPILE_DISABLE="1", OMP_NUM_THREADS="1",
)
from safetensors.torch import load_file
from vllm import LLM, SamplingParams
from vllm.model_executor.model_loader.reload.layerwise import finalize_layerwise_reload, initialize_layerwise_reload
from wapo_verl.cpu.vllm_worker import pack_output_layers

model, pack = sys.argv[1], sys.argv[2] == "pack"
llm = LLM(model, dtype="float32", enforce_eager=True, load_format="dummy", max_model_len=64, skip_tokenizer_init=True)


def sync(module):
    initialize_layerwise_reload(module)
    module.load_weights((name, weight.clone()) for name, weight in load_file(f"{model}/model.safetensors").items())
    finalize_layerwise_reload(module, llm.llm_engine.model_config)
    if pack:
        pack_output_layers(module)


llm.apply_model(sync)
parameters = SamplingParams(max_tokens=6, temperature=1.0, seed=1, logprobs=0, detokenize=False)
output = llm.generate([{"prompt_token_ids": [5, 7, 9, 30]}], parameters)[0].outputs[0]
numbers = [list(position.values())[0].logprob for position in output.logprobs]
print("FOUND", json.dumps([list(output.token_ids), numbers]))
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model with tied embeddings, far from the start that vLLM gives dummy weights."""
    from examples.quickstart.model import make_model
    from examples.quickstart.tokenizer import make_tokenizer

    folder = tmp_path_factory.mktemp("model")
    tokenizer = make_tokenizer()
    tokenizer.save_pretrained(folder)
    made = make_model(tokenizer, seed=0)
    assert made.config.tie_word_embeddings
    made.save_pretrained(folder)
    return folder


def largest_gap(model: Path, how: str) -> float:
    """Return the largest difference between vLLM's log-probs after a sync and transformers' own."""
    import json

    from transformers import AutoModelForCausalLM

    done = subprocess.run([sys.executable, "-c", SYNC, str(model), how], capture_output=True, text=True, timeout=300)
    found = [line for line in done.stdout.splitlines() if line.startswith("FOUND")]
    assert found, done.stderr[-3000:]
    ids, log_probs = json.loads(found[0].removeprefix("FOUND"))
    with torch.no_grad():
        logits = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)(torch.tensor([[5, 7, 9, 30, *ids]]))
    expected = logits.logits[0, 3:-1].log_softmax(-1).gather(1, torch.tensor(ids)[:, None])[:, 0]
    return float((torch.tensor(log_probs) - expected).abs().max())


def test_a_sync_leaves_no_stale_weight(model: Path) -> None:
    assert largest_gap(model, "pack") < 1e-4


def test_vllms_reload_alone_keeps_the_tied_output_layer_stale(model: Path) -> None:
    """Why `pack_output_layers` exists; if this fails, vLLM has changed and it may go."""
    assert largest_gap(model, "no pack") > 1e-2
