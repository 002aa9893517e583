"""Position features against the formula of Sec. 3.2."""

import math

import pytest
import torch

from perceiver.positions import Grid, axis, expanded, frequencies


def grid(sizes: tuple[int, ...], bands: int, max_frequency: float) -> torch.Tensor:
    return expanded(Grid(sizes, bands, max_frequency).axes)


def test_the_papers_images_have_50_176_positions_of_258_channels() -> None:
    table = grid((224, 224), bands=64, max_frequency=224.0)

    assert table.shape == (50_176, 258)


def test_bands_are_spaced_evenly_up_to_half_the_max_frequency() -> None:
    assert frequencies(64, 224.0)[[0, 1, 63]].tolist() == pytest.approx([1, 1 + 111 / 63, 112])


def test_a_row_is_each_axis_coordinate_sines_and_cosines() -> None:
    table = grid((3, 5), bands=2, max_frequency=8.0)

    down, right = 0.0, 0.5  # row 1 of 3, column 3 of 5
    expected = [
        value
        for x in (down, right)
        for value in (
            x,
            *(math.sin(math.pi * f * x) for f in (1, 4)),
            *(math.cos(math.pi * f * x) for f in (1, 4)),
        )
    ]
    assert table[1 * 5 + 3].tolist() == pytest.approx(expected, abs=1e-6)


def test_max_frequency_0_means_the_resolution_of_each_axis() -> None:
    open_ended = grid((6, 10), bands=4, max_frequency=0.0)

    assert torch.equal(open_ended[::10, :9], axis(6, 4, 6.0).float())
    assert torch.equal(open_ended[:10, 9:], axis(10, 4, 10.0).float())


def test_a_single_place_lies_in_the_middle() -> None:
    assert axis(1, 3, 0.0).tolist() == [[0, 0, 0, 0, 1, 1, 1]]
