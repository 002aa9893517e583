"""What one forward pass costs, multiplications and additions apart, as the paper counts."""

from perceiver.settings import ModelSettings


def flops(settings: ModelSettings, positions: int, channels: int) -> int:
    """Operations for one sample of `positions` x `channels`; gives the paper's figures to the digit."""
    m, c, n, d = positions, channels, settings.latents, settings.width
    cross = 4 * m * c * c + 4 * n * m * c + 4 * n * d * c + 4 * n * d * d + 6 * m * c
    layer = 12 * n * d * d + 4 * n * n * d + 12 * n * d
    return settings.blocks * (cross + settings.layers * layer)
