"""Which form reads what: a table of geometries, and what is refused."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from reading import attention_formula, grid, real_rows
from torch import Tensor

from perceiver.forms.absorbed import Absorbed
from perceiver.forms.choice import Reader, chosen, prepared
from perceiver.forms.folding import Folded
from perceiver.forms.separable import Separable
from perceiver.forms.streamed import Streamed
from perceiver.forms.textbook import Textbook
from perceiver.inputs import Spec
from perceiver.model import Perceiver
from perceiver.segment import Geometry
from perceiver.settings import Form, ModelSettings

Build = Callable[..., Perceiver]
Samples = list[dict[str, np.ndarray[Any, np.dtype[Any]]]]
PICTURE = Geometry(positions=50_176, channels=261, values=3, axes=2)
CLIP = Geometry(positions=12_544, channels=579, values=384, axes=3)
SOUND = Geometry(positions=480, channels=513, values=128, axes=1)
POINTS = Geometry(positions=2_000, channels=387, values=387, axes=0)
FORCED: tuple[Form, ...] = ("textbook", "absorbed", "streamed", "separable")


def reader(latents: int, heads: int = 1, width: int = 387, channels: int = 387) -> Reader:
    return Reader(latents, heads, width, channels)


TABLE: list[tuple[str, dict[str, Geometry], Reader, str, dict[str, Form]]] = [
    ("a picture", {"image": PICTURE}, reader(512), "cpu", {"image": "separable"}),
    ("a picture with eight heads", {"image": PICTURE}, reader(512, 8), "cpu", {"image": "separable"}),
    ("a clip", {"video": CLIP}, reader(512), "cpu", {"video": "separable"}),
    ("a clip read with little width", {"video": CLIP}, reader(32, 4, 64, 579), "cpu", {"video": "textbook"}),
    ("sound", {"audio": SOUND}, reader(64), "cpu", {"audio": "streamed"}),
    ("points", {"mesh": POINTS}, reader(512), "cpu", {"mesh": "streamed"}),
    ("points with eight heads", {"mesh": POINTS}, reader(512, 8), "cpu", {"mesh": "textbook"}),
    ("as many points as latents", {"mesh": POINTS}, reader(2_000), "cpu", {"mesh": "textbook"}),
    ("few pixels", {"image": PICTURE._replace(positions=64)}, reader(512), "cpu", {"image": "textbook"}),
    ("several", {"video": CLIP, "audio": SOUND}, reader(512), "cpu",
     {"video": "separable", "audio": "streamed"}),
    ("few of one, many in all", {"audio": SOUND, "mesh": POINTS}, reader(512), "cpu",
     {"audio": "streamed", "mesh": "streamed"}),
    ("few of both", {"audio": SOUND, "mesh": POINTS}, reader(2_480), "cpu",
     {"audio": "textbook", "mesh": "textbook"}),
    ("a picture on a GPU", {"image": PICTURE}, reader(512), "cuda", {"image": "absorbed"}),
    ("few points on a GPU", {"mesh": POINTS}, reader(9_999), "cuda", {"mesh": "absorbed"}),
    ("several on a GPU", {"video": CLIP, "audio": SOUND}, reader(512), "cuda",
     {"video": "streamed", "audio": "streamed"}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("parts", "who", "device", "forms"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE]
)
def test_auto_chooses_by_geometry_and_device(
    parts: dict[str, Geometry], who: Reader, device: str, forms: dict[str, Form]
) -> None:
    assert chosen("auto", parts, who, device) == forms


@pytest.mark.parametrize("wanted", FORCED)
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_what_the_user_says_is_what_happens(wanted: Form, device: str) -> None:
    assert chosen(wanted, {"image": PICTURE, "video": CLIP}, reader(512), device) == {
        "image": wanted,
        "video": wanted,
    }


@pytest.mark.parametrize(
    ("geometry", "axes"), [(POINTS, "none"), (SOUND, "1")], ids=["no axes at all", "one axis"]
)
def test_separable_without_a_grid_is_refused_by_name_with_a_way_out(geometry: Geometry, axes: str) -> None:
    complaint = rf"separable needs a grid of two or more axes, odd has {axes}: choose auto or streamed"

    with pytest.raises(ValueError, match=complaint):
        chosen("separable", {"image": PICTURE, "odd": geometry}, reader(512), "cpu")


def test_a_model_that_could_not_be_read_is_refused_when_it_is_built(
    small: ModelSettings, specs: Mapping[str, Spec]
) -> None:
    wanted = replace(small, attention="separable")

    with pytest.raises(ValueError, match="mesh has none"):
        Perceiver(wanted, {"image": specs["image"], "mesh": specs["mesh"]}, 5)

    assert Perceiver(wanted, {"image": specs["image"]}, 5).forms("cuda") == {"image": "separable"}


def test_a_model_names_the_form_of_every_modality(small: ModelSettings, build: Build) -> None:
    """12 pixels, 8 blocks, 20 points; read by 6 latents with one head or eight."""
    names = ("image", "video", "mesh")

    few, many = build(*names), build(*names, settings=replace(small, cross_heads=8, cross_width=8))

    assert few.forms("cpu") == {"image": "separable", "video": "separable", "mesh": "streamed"}
    assert many.forms("cpu") == dict.fromkeys(names, "textbook")
    assert few.forms("cuda") == dict.fromkeys(names, "streamed")
    assert build("mesh").forms("cuda") == {"mesh": "absorbed"}


def test_every_part_is_read_in_the_form_that_was_chosen_for_it() -> None:
    segments = [grid(sizes=(3, 4), values=5), grid(sizes=(2, 2, 2), values=2)]

    both = prepared(segments, ["separable", "streamed"])
    one = prepared(segments, ["absorbed", "absorbed"])

    assert isinstance(both, Folded)
    assert [type(part) for part in both.parts] == [Separable, Streamed]
    assert isinstance(one, Folded)
    assert [type(part) for part in one.parts] == [Absorbed]
    assert isinstance(prepared(segments, ["textbook", "textbook"]), Textbook)


@pytest.mark.parametrize("form", ["textbook", "streamed", "auto"])
@pytest.mark.parametrize("heads", [1, 2])
def test_attended_is_the_softmax_of_the_formula_in_every_block(
    form: Form, heads: int, small: ModelSettings, build: Build, samples: Samples
) -> None:
    own = replace(small, blocks=3, cross_heads=heads, cross_width=8, attention=form)
    model = build("image", "mel", settings=own).double()
    batch = model.collate([{**sample, "audio": sample["mel"]} for sample in samples[:4]], None)
    segments = model.segments(batch)
    sizes = [segment.values.shape[1] for segment in segments]
    mask = torch.cat([torch.ones(4, sizes[0], dtype=torch.bool), _mask(segments[1].mask)], 1)

    found = list(model.attended(batch))

    assert [list(block) for block in found] == [["image", "audio"]] * 3
    assert not mask.all()
    for block, wanted in zip(found, softmax_by_block(model, batch, mask), strict=True):
        weights = torch.cat(list(block.values()), 2)
        assert [part.shape[2] for part in block.values()] == sizes
        torch.testing.assert_close(weights.sum(2), torch.ones(4, small.latents).double())
        assert not weights.masked_select(~mask[:, None]).any()
        torch.testing.assert_close(weights, wanted, rtol=1e-10, atol=1e-12)


def _mask(mask: Tensor | None) -> Tensor:
    assert mask is not None
    return mask


@torch.no_grad()
def softmax_by_block(model: Perceiver, batch: Any, mask: Tensor) -> list[Tensor]:
    """exp(score) / sum exp(score) over what is real, mean over heads, sample by sample."""
    segments = model.segments(batch)
    latents, found = model.latents.expand(len(mask), -1, -1), list[Tensor]()
    for cross, transformer in model.blocks():
        attention, norm, blocks = cross.attention, cross.byte_norm, list[Tensor]()
        for sample, own in enumerate(latents):
            rows = real_rows(segments, sample)
            centred = rows - rows.mean(1, keepdim=True)
            normed = (
                centred / (centred.square().mean(1, keepdim=True) + 1e-5).sqrt() * norm.weight + norm.bias
            )
            q, k = attention.query(cross.latent_norm(own)), attention.key(normed)
            q, k = (each.unflatten(1, (attention.heads, -1)).transpose(0, 1) for each in (q, k))
            scores = (q @ k.mT / q.shape[2] ** 0.5).exp()
            weights = torch.zeros(len(own), mask.shape[1], dtype=rows.dtype)
            weights[:, mask[sample]] = (scores / scores.sum(2, keepdim=True)).mean(0)
            blocks.append(weights)
        found.append(torch.stack(blocks))
        answers = [
            attention_formula(cross, own, real_rows(segments, sample)) for sample, own in enumerate(latents)
        ]
        latents = transformer(torch.stack(answers))
    return found


def test_attended_over_a_sample_with_nothing_real_still_sums_to_one(build: Build, samples: Samples) -> None:
    model = build("wave")
    batch = model.collate([{**sample, "audio": sample["wave"]} for sample in samples[:2]], None)
    spans = batch["audio"].spans
    assert spans is not None
    spans[0] = 0

    weights = next(iter(model.attended(batch)))["audio"]

    torch.testing.assert_close(weights.sum(2), torch.ones(2, 6))
