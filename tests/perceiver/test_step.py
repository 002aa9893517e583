"""One optimizer step: exact means over unequal slices, clipping, averages, and that it learns."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from perceiver.image import ImageSpec
from perceiver.loss import OBJECTIVES, loss_sum
from perceiver.model import Perceiver
from perceiver.optimizer import build_optimizer
from perceiver.schedule import rate_factor
from perceiver.segment import Raw
from perceiver.settings import ImageTokens, ModelSettings
from perceiver.step import Average, clipped, score, update
from perceiver.train_settings import TrainSettings

Samples = list[dict[str, np.ndarray[Any, np.dtype[Any]]]]
PLAIN = TrainSettings(clip=0.0, label_smoothing=0.1)
LABELS = torch.tensor([0, 1, 2, 3, 4, 0, 1])


class Stepped(NamedTuple):
    loss: torch.Tensor
    correct: torch.Tensor
    norm: torch.Tensor


def step(  # noqa: PLR0913
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: dict[str, Raw],
    labels: torch.Tensor,
    settings: TrainSettings,
    *,
    rate: float,
    share: float,
    factor: float = 1.0,
) -> Stepped:
    """Learn from one slice, in one part, and change the weights."""
    optimizer.zero_grad()
    scored = score(model, batch, labels, settings, OBJECTIVES["one"])
    (scored.loss * share * factor).backward()
    norm = clipped(model.parameters(), settings.clip, factor)
    update(optimizer, rate)
    return Stepped(scored.loss.detach(), scored.correct, norm)


@pytest.fixture
def model(build: Callable[..., Perceiver]) -> Perceiver:
    return build("image")


def gradients(
    model: torch.nn.Module, batch: dict[str, Raw], labels: torch.Tensor, share: float
) -> torch.Tensor:
    step(model, torch.optim.SGD(model.parameters()), batch, labels, PLAIN, rate=0.0, share=share)
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("cut", [1, 3, 5])
def test_two_unequal_slices_give_the_gradient_of_the_whole_batch(
    cut: int, model: Perceiver, samples: Samples
) -> None:
    model = model.double()
    parts = [slice(0, cut), slice(cut, 7)]

    whole = gradients(model, model.collate(samples, None), LABELS, share=1 / 7)
    slices = [
        gradients(model, model.collate(samples[part], None), LABELS[part], share=2 / 7) for part in parts
    ]

    torch.testing.assert_close(sum(slices) / 2, whole, rtol=1e-6, atol=1e-7)  # DDP averages over 2 ranks


def test_a_step_tells_the_sum_of_losses_the_correct_answers_and_the_norm(
    model: Perceiver, samples: Samples
) -> None:
    batch = model.collate(samples, None)
    logits = model(batch).detach()

    told = step(model, torch.optim.SGD(model.parameters()), batch, LABELS, PLAIN, rate=0.0, share=1 / 7)

    log = logits.log_softmax(1)
    smoothed = 0.9 * log[torch.arange(7), LABELS] + 0.1 * log.mean(1)
    assert told.loss.item() == pytest.approx(-smoothed.sum().item(), rel=1e-5)
    assert told.correct == (logits.argmax(1) == LABELS).sum()
    norm = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]).norm()
    assert told.norm.item() == pytest.approx(norm.item(), rel=1e-5)


def test_clipping_bounds_the_change_and_the_rate_scales_it(model: Perceiver, samples: Samples) -> None:
    batch, settings = model.collate(samples, None), replace(PLAIN, clip=0.01)
    before = torch.nn.utils.parameters_to_vector(model.parameters()).detach()

    told = step(model, torch.optim.SGD(model.parameters()), batch, LABELS, settings, rate=3.0, share=1 / 7)

    after = torch.nn.utils.parameters_to_vector(model.parameters()).detach()
    assert told.norm > 0.1
    assert (after - before).norm().item() == pytest.approx(0.03, rel=1e-2)


def test_the_loss_scale_is_taken_out_before_the_norm_and_the_bound(
    build: Callable[..., Perceiver], samples: Samples
) -> None:
    settings, told, after = replace(PLAIN, clip=0.01), [], []
    for factor in (1.0, 1024.0):
        torch.manual_seed(0)
        model = build("image")
        batch, optimizer = model.collate(samples, None), torch.optim.SGD(model.parameters())
        told.append(step(model, optimizer, batch, LABELS, settings, rate=1.0, share=1 / 7, factor=factor))
        after.append(torch.nn.utils.parameters_to_vector(model.parameters()).detach())

    torch.testing.assert_close(told[0].norm, told[1].norm)
    torch.testing.assert_close(after[0], after[1])


def test_logits_in_bfloat16_are_summed_up_in_float32() -> None:
    logits = torch.randn(300, 5).bfloat16()
    labels = torch.randint(0, 5, (300,))

    assert loss_sum(logits, labels).dtype == torch.float32
    torch.testing.assert_close(loss_sum(logits, labels), loss_sum(logits.float(), labels))


def test_precision_decides_the_format_of_the_products(model: Perceiver, samples: Samples) -> None:
    batch, formats = model.collate(samples, None), []
    model.head.register_forward_hook(lambda *call: formats.append(call[-1].dtype))

    for precision in ("float32", "bfloat16", "float16"):
        settings = TrainSettings(precision=precision)  # type: ignore[arg-type]
        told = step(model, build_optimizer(model, settings), batch, LABELS, settings, rate=0.01, share=1 / 7)
        assert told.loss.isfinite()
        assert told.norm > 0

    assert formats == [torch.float32, torch.bfloat16, torch.float16]


@pytest.fixture
def group() -> Iterator[None]:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("group")
def test_a_model_wrapped_in_ddp_takes_the_same_step(
    build: Callable[..., Perceiver], samples: Samples
) -> None:
    torch.manual_seed(3)
    alone = build("image", "mesh")
    torch.manual_seed(3)
    wrapped = DistributedDataParallel(build("image", "mesh"))
    batch = alone.collate(samples, None)

    for model in (alone, wrapped):
        step(model, build_optimizer(model, PLAIN), batch, LABELS, PLAIN, rate=0.01, share=1 / 7)

    for one, other in zip(alone.parameters(), wrapped.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_an_average_follows_quickly_at_first_and_slowly_later(model: Perceiver) -> None:
    average = Average(model, decay=0.99)
    first = [p.detach().clone() for p in model.parameters()]
    with torch.no_grad():
        for p in model.parameters():
            p.add_(1.0)

    average.update(model, step=0)
    early = [a - f for a, f in zip(average.model.parameters(), first, strict=True)]
    average.update(model, step=100_000)
    late = [a - f for a, f in zip(average.model.parameters(), first, strict=True)]

    assert all(torch.allclose(e, torch.full_like(e, 0.9), atol=1e-5) for e in early)
    assert all(torch.allclose(x, torch.full_like(x, 0.901), atol=1e-5) for x in late)
    assert not any(p.requires_grad for p in average.model.parameters())


def bright_quarters(count: int) -> tuple[Samples, torch.Tensor]:
    random = np.random.default_rng(1)
    labels = np.arange(count) % 4
    pixels = random.integers(0, 100, (count, 8, 8, 3), dtype=np.uint8)
    for picture, label in zip(pixels, labels, strict=True):
        row, column = divmod(int(label), 2)
        picture[4 * row : 4 * row + 4, 4 * column : 4 * column + 4] += 80
    return [{"image": picture} for picture in pixels], torch.from_numpy(labels)


@pytest.mark.parametrize("optimizer", ["adamw", "lamb"])
def test_it_learns_where_a_picture_is_bright(optimizer: Any) -> None:
    settings = TrainSettings(optimizer=optimizer, rate=0.01, steps=80)
    shape = ModelSettings(
        latents=4, width=16, heads=2, blocks=2, layers=1, bands=2, image=ImageTokens(patch=2)
    )
    spec = ImageSpec.of(shape, height=8, width=8, mean=(65.0,) * 3, std=(40.0,) * 3)
    model = Perceiver(shape, {"image": spec}, 4)
    update, (samples, labels) = build_optimizer(model, settings), bright_quarters(128)
    batch = model.collate(samples, None)

    for number in range(settings.steps):
        rate = settings.rate * rate_factor(settings, number, settings.steps)
        step(model, update, batch, labels, settings, rate=rate, share=1 / 128)

    unseen, answers = bright_quarters(100)
    assert (model(model.collate(unseen, None)).argmax(1) == answers).all()
