"""Tensors are written as safetensors would write them, and read by it."""

import io
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save
from torch import Tensor

from pipelines.training.tensor_files import NAMES, read, sum_of, write

shapes = st.lists(st.integers(0, 4), max_size=3)
named = st.dictionaries(st.text(max_size=6), st.tuples(st.sampled_from([*NAMES]), shapes), max_size=6)


@given(named)
def test_what_is_written_is_what_safetensors_writes(
    wanted: Mapping[str, tuple[torch.dtype, list[int]]],
) -> None:
    tensors = {name: some(dtype, shape) for name, (dtype, shape) in wanted.items()}
    file = io.BytesIO()

    written = write(file, tensors)

    assert file.getvalue() == save(tensors)
    file.seek(0)
    assert sum_of(file) == written
    assert written.bytes == len(file.getvalue())


def some(dtype: torch.dtype, shape: list[int]) -> Tensor:
    return torch.arange(64).reshape(4, 4, 4)[tuple(slice(size) for size in shape)].sum(
        tuple(range(len(shape), 3))
    ).to(dtype).contiguous()  # fmt: skip


def test_views_are_written_as_they_look_and_large_ones_whole(tmp_path: Path) -> None:
    tensors = {"t": torch.arange(6.0).reshape(2, 3).T, "large": torch.arange(2**21), "0": torch.tensor(3.0)}
    path = tmp_path / "x.safetensors"

    with path.open("wb") as file:
        write(file, tensors)
    found = read(path)
    path.write_bytes(b"")

    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)
    assert found["0"].shape == ()


def test_a_dtype_that_the_format_does_not_know_is_refused_by_name() -> None:
    with pytest.raises(TypeError, match=r"w is torch.complex128, which safetensors has no name for"):
        write(io.BytesIO(), {"w": torch.zeros(1, dtype=torch.complex128)})
