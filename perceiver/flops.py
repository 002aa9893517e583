"""What one forward pass costs, multiplications and additions apart, as the paper counts."""

from perceiver.settings import ModelSettings


def flops(settings: ModelSettings, positions: int, channels: int) -> int:
    """Operations for one sample of `positions` x `channels`; gives the paper's figures to the digit."""
    m, c, n, d = positions, channels, settings.latents, settings.width
    w = settings.cross_width or c
    mlp = {"gelu": 4, "geglu": 6}[settings.mlp] * settings.widening * n * d * d
    cross = 4 * m * c * w + 4 * n * m * w + 4 * n * d * w + mlp + 6 * m * c
    layer = 8 * n * d * d + mlp + 4 * n * n * d + 12 * n * d
    return settings.blocks * (cross + settings.layers * layer)
