"""Draws: a pure function of the seed, the same in every batch."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from perceiver.draws import integers, normals, sample_seeds, uniforms

SEED = st.integers(-(2**63), 2**63 - 1)
BITS = 2**64


def splitmix64(state: int) -> int:
    """Vigna's reference, one number after `state`."""
    z = (state + 0x9E3779B97F4A7C15) % BITS
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % BITS
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % BITS
    return z ^ (z >> 31)


@settings(deadline=None)
@given(run=st.integers(0, 2**31), epoch=st.integers(0, 10**6), sample=st.integers(0, 10**9))
def test_a_seed_is_the_splitmix64_of_run_epoch_and_sample(run: int, epoch: int, sample: int) -> None:
    drawn = sample_seeds(run, torch.tensor([epoch]), torch.tensor([sample]))

    inner = splitmix64(splitmix64(run) + epoch - 0x9E3779B97F4A7C15)
    assert drawn.item() % BITS == splitmix64(inner + sample)


@settings(deadline=None)
@given(seeds=st.lists(SEED, min_size=1, max_size=8), data=st.data())
def test_a_draw_does_not_depend_on_the_place_in_the_batch(seeds: list[int], data: st.DataObject) -> None:
    order = torch.tensor(data.draw(st.permutations(range(len(seeds)))))
    batch = torch.tensor(seeds)

    drawn = uniforms(batch[order], "a purpose", 3)

    assert torch.equal(drawn, uniforms(batch, "a purpose", 3)[order])
    assert ((drawn >= 0) & (drawn < 1)).all()


def test_visits_purposes_and_counts_have_streams_of_their_own() -> None:
    epochs, samples = torch.arange(100).repeat(100), torch.arange(100).repeat_interleave(100)
    seeds = sample_seeds(7, epochs, samples)

    one, other = uniforms(seeds, "one", 2), uniforms(seeds, "other", 2)

    assert len(seeds.unique()) == 10_000
    columns = torch.cat([one, other], 1).T
    assert (torch.corrcoef(columns) - torch.eye(4)).abs().max() < 0.05
    assert (columns.mean(1) - 1 / 2).abs().max() < 0.02
    assert (columns.var(1) - 1 / 12).abs().max() < 0.005


def test_integers_reach_both_ends_and_normals_are_normal() -> None:
    seeds = torch.arange(20_000)

    drawn, bells = integers(seeds, "dice", torch.full_like(seeds, 6)), normals(seeds, "bell", 1)

    assert torch.bincount(drawn).shape == (6,)
    assert torch.bincount(drawn).min() > 3000
    assert abs(bells.mean()) < 0.03
    assert abs(bells.std() - 1) < 0.02
    assert bells.isfinite().all()
