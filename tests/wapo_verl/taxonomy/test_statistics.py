"""The taxonomy's statistics, held to float64 sums over the whole distribution. Torch only: no veRL, no GPU."""

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from wapo_verl.taxonomy import Statistics, statistics, token_statistics


def reference(logits: torch.Tensor, temperature: torch.Tensor | float = 1.0) -> tuple[torch.Tensor, ...]:
    temperature = torch.as_tensor(temperature, dtype=torch.float64)
    log_p = torch.log_softmax(logits.double() / temperature.reshape(-1, 1), dim=-1)
    p = log_p.exp()
    log_p = log_p.masked_fill(p == 0, 0)
    return (p**2).sum(-1), -(p * log_p).sum(-1), (p**2 * log_p).sum(-1)


def assert_close(found: Statistics, wanted: tuple[torch.Tensor, ...]) -> None:
    for name, value in zip(("collision", "entropy", "square_log_prob"), wanted, strict=True):
        given = getattr(found, name)
        assert given.dtype == torch.float32
        absolute = 0 if name == "collision" else 3e-6
        torch.testing.assert_close(given.double(), value, rtol=1e-5, atol=absolute, msg=lambda m, n=name: f"{n}: {m}")


def logits(positions: int, vocabulary: int, scale: float = 3.0, seed: int = 0) -> torch.Tensor:
    return scale * torch.randn(positions, vocabulary, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(params=[7, 64, 1000, 1 << 17])
def tile(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Tiles narrower and wider than a vocabulary, and one that holds several positions."""
    monkeypatch.setattr(statistics, "CPU_TILE", request.param)
    return int(request.param)


@pytest.mark.parametrize("shape", [(1, 1), (5, 2), (13, 300), (0, 10)])
def test_every_tile_size_gives_the_float64_sums(tile: int, shape: tuple[int, int]) -> None:
    z = logits(*shape)
    assert_close(token_statistics(z), reference(z))
    assert_close(token_statistics(z, temperature=0.7), reference(z, 0.7))


def test_a_real_vocabulary() -> None:
    z = logits(3, 151_936)
    assert_close(token_statistics(z), reference(z))


def test_a_temperature_of_its_own_for_each_position(tile: int) -> None:
    z, temperature = logits(9, 200), torch.linspace(0.3, 3, 9)
    rows = torch.tensor([8, 0, 3])
    wanted = reference(z, temperature)
    assert_close(token_statistics(z, temperature), wanted)
    assert_close(token_statistics(z, temperature, rows), tuple(value[rows] for value in wanted))


def test_a_temperature_of_few_bits_is_taken_as_it_is(tile: int) -> None:
    """Divided in bfloat16, 1 / T would be off by up to 0.4 %, in every logit in the same direction."""
    z, temperature = logits(9, 200).bfloat16(), torch.full((9,), 1.1).bfloat16()
    assert_close(token_statistics(z, temperature), reference(z, temperature))


def test_rows_choose_positions_in_their_order(tile: int) -> None:
    z, rows = logits(9, 200), torch.tensor([8, 0, 3, 3])
    assert_close(token_statistics(z, rows=rows), tuple(value[rows] for value in reference(z)))
    assert token_statistics(z, rows=rows[:0]).entropy.shape == (0,)


def test_masked_tokens_count_for_nothing(tile: int) -> None:
    z = logits(6, 200)
    z[0, 1:] = -torch.inf  # one token is left
    z[1, :150] = -torch.inf  # whole tiles are gone
    z[2, ::2] = -torch.inf
    assert_close(token_statistics(z), reference(z))


def test_what_softmax_has_no_answer_for_is_nan(tile: int) -> None:
    z = logits(4, 200)
    z[0] = -torch.inf
    z[1, 7] = torch.nan
    z[2, 150] = torch.inf
    found = token_statistics(z)
    for value in (found.collision, found.entropy, found.square_log_prob):
        assert value.isnan().tolist() == [True, True, True, False]


def test_peaked_and_uniform_distributions(tile: int) -> None:
    z = torch.zeros(6, 500)
    z[1, 3] = 1e4
    z[2, 3], z[2, 400] = 60.0, 60.0
    z[3] = torch.linspace(-300, 300, 500)
    z[4, 3] = 12.0
    z[5] += 1e4
    assert_close(token_statistics(z), reference(z))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_dtypes_are_read_as_float32(tile: int, dtype: torch.dtype) -> None:
    z = logits(5, 300).to(dtype)
    assert_close(token_statistics(z), reference(z.float()))
    assert_close(token_statistics(z, torch.full((5,), 1.5)), reference(z.float(), 1.5))


def test_logits_stay_as_they_are_and_get_no_gradient(tile: int) -> None:
    z = logits(5, 300).requires_grad_()
    before = z.detach().clone()
    found = token_statistics(z, temperature=0.5)
    assert torch.equal(z.detach(), before)
    assert not found.entropy.requires_grad


def test_strided_logits(tile: int) -> None:
    z = logits(10, 600)[::2, 100:400]
    assert_close(token_statistics(z), reference(z))
    assert_close(token_statistics(logits(300, 5).T), reference(logits(300, 5).T))


def test_wrong_shapes_are_named() -> None:
    with pytest.raises(ValueError, match=r"\(2, 3, 4\).*flatten"):
        token_statistics(torch.zeros(2, 3, 4))
    with pytest.raises(ValueError, match=r"\(3,\) do not fit 4"):
        token_statistics(torch.zeros(4, 5), torch.ones(3))


class LargestResult(TorchDispatchMode):
    """Remembers the most bytes that one operation newly allocated."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        given = {x.untyped_storage().data_ptr() for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)}
        for value in tree_leaves(result):
            if isinstance(value, torch.Tensor) and value.untyped_storage().data_ptr() not in given:
                self.bytes = max(self.bytes, value.untyped_storage().nbytes())
        return result


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("temperature", [1.0, torch.linspace(0.5, 2, 200)])
def test_no_temporary_is_larger_than_two_tiles(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, temperature: float | torch.Tensor
) -> None:
    monkeypatch.setattr(statistics, "CPU_TILE", 2048)
    z = logits(200, 5000).to(dtype)  # 4 MB in float32
    with LargestResult() as largest:
        token_statistics(z, temperature)
        token_statistics(z, temperature, rows=torch.arange(0, 200, 3))
    assert 2048 * 4 < largest.bytes <= max(2 * 2048 * 4 * torch.get_num_threads(), 5 * 3 * 200 * 8)
