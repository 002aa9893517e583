"""Random numbers as a pure function of a seed per sample, equal on every device and in every batch.

A counter is hashed (splitmix64) instead of a generator being stepped, so nothing depends on who else is
in the batch, on the rank, or on how many numbers were drawn for something else.
"""

import math
import zlib

import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

_GAMMA = 0x9E3779B97F4A7C15 - 2**64
_FIRST = 0xBF58476D1CE4E5B9 - 2**64
_SECOND = 0x94D049BB133111EB - 2**64


def _right(bits: Int64[Tensor, "*S"], places: int) -> Int64[Tensor, "*S"]:
    return (bits >> places) & ((1 << (64 - places)) - 1)  # torch shifts the sign in, a hash must not


def _mixed(bits: Int64[Tensor, "*S"]) -> Int64[Tensor, "*S"]:
    bits = (bits ^ _right(bits, 30)) * _FIRST
    bits = (bits ^ _right(bits, 27)) * _SECOND
    return bits ^ _right(bits, 31)


def sample_seeds(seed: int, epochs: Int64[Tensor, " B"], samples: Int64[Tensor, " B"]) -> Int64[Tensor, " B"]:
    """A seed for every visit: the same sample in the same epoch of the same run, the same seed."""
    run = _mixed(torch.full_like(epochs, seed) + _GAMMA)
    return _mixed(_mixed(run + epochs) + _GAMMA + samples)


def uniforms(seeds: Int64[Tensor, " B"], purpose: str, count: int) -> Float32[Tensor, "B {count}"]:
    """Numbers in [0, 1) for every seed; each purpose has a stream of its own."""
    stream = _mixed(seeds ^ (zlib.crc32(purpose.encode()) * 0x100000001))[:, None]
    counter = torch.arange(1, count + 1, device=seeds.device)
    return _right(_mixed(stream + counter * _GAMMA), 40).to(torch.float32) * 2.0**-24


def between(
    seeds: Int64[Tensor, " B"], purpose: str, low: float, high: float, count: int = 1
) -> Float32[Tensor, "B {count}"]:
    """Numbers in [low, high)."""
    return low + (high - low) * uniforms(seeds, purpose, count)


def integers(seeds: Int64[Tensor, " B"], purpose: str, limits: Int64[Tensor, " B"]) -> Int64[Tensor, " B"]:
    """One of 0 .. limit - 1 for every seed."""
    drawn = (uniforms(seeds, purpose, 1)[:, 0].double() * limits).long()
    return torch.minimum(drawn, limits - 1)


def normals(seeds: Int64[Tensor, " B"], purpose: str, count: int) -> Float[Tensor, "B {count}"]:
    """Standard normal numbers (Box-Muller)."""
    radius = (-2 * torch.log1p(-uniforms(seeds, f"{purpose} radius", count))).sqrt()
    return radius * torch.cos(2 * math.pi * uniforms(seeds, f"{purpose} angle", count))
