"""The model's benchmark compares like with like, and writes down what it measured."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import model, ours, peers, pictures
from benchmarks.cases import CASES, GROWTH, Case
from benchmarks.contestant import Job, RefusedError, Remote, prepare

pytestmark = pytest.mark.slow

TINY = dataclasses.replace(
    CASES["image-56"], about="tiny", sizes=(6, 6), bands=3, latents=5, width=16, heads=2, classes=4, rounds=2
)  # fmt: skip


def counted(case: Case, who: str) -> tuple[int, torch.Tensor]:
    network, answer = peers.built(who, case, ours.byte_array(case), ours.weights(case))
    return sum(parameter.numel() for parameter in network.parameters()), answer()


@pytest.mark.parametrize("blocks", [1, 3])
@pytest.mark.parametrize("who", ["lucidrains", "lucidrains-ready", "transformers"])
def test_a_peer_is_our_network_with_our_weights(who: str, blocks: int) -> None:
    case = dataclasses.replace(TINY, blocks=blocks)
    network, answer = ours.built(case, "auto")
    channels = ours.byte_array(case).shape[-1]

    parameters, theirs = counted(case, who)

    mine = sum(parameter.numel() for parameter in network.parameters())
    assert parameters + peers.missing(case, who, channels) == mine
    torch.testing.assert_close(theirs, answer(), rtol=1e-4, atol=1e-5)


def test_the_peer_with_our_import_name_is_our_network_too(tmp_path: Path) -> None:
    prepare(TINY, tmp_path)
    network, answer = ours.built(TINY, "auto")

    try:
        started = Remote(Job(who="krasserm", case=TINY, folder=str(tmp_path), threads=1))
    except RefusedError as reason:
        pytest.skip(str(reason))
    with started as peer:
        assert peer.parameters == sum(parameter.numel() for parameter in network.parameters())
        np.testing.assert_allclose(peer.answer(), answer().detach().flatten(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.part == "cross-attend"])
def test_the_naive_cross_attend_computes_what_ours_does(name: str) -> None:
    sizes = tuple(min(4, size) for size in CASES[name].sizes)
    case = dataclasses.replace(CASES[name], sizes=sizes, bands=3, latents=5, width=16, heads=2)

    (_, naive), (_, auto) = ours.built(case, "naive"), ours.built(case, "auto")

    torch.testing.assert_close(naive(), auto(), rtol=1e-4, atol=1e-5)


def test_two_measured_cases_become_a_table_valid_json_exponents_and_a_picture(tmp_path: Path) -> None:
    out, alone = tmp_path / "results" / "model.json", dataclasses.replace(TINY, contestants=("ours",))
    wider = dataclasses.replace(alone, sizes=(12, 12))

    for name, case in (("image-56", alone), ("image-80", wider)):
        result = model.measured(case, threads=1)
        model.record(out, name, result)

    written = json.loads(out.read_text())
    assert list(written["cases"]) == ["image-56", "image-80"]
    one = written["cases"]["image-56"]["contestants"]["ours"]
    assert len(one["step"]["cpu"]) == len(one["forward"]["wall"]) == TINY.rounds
    assert min(one["peak_mib"], one["kept_mib"]) > 0
    assert written["growth"]["positions"]["ours"]["sizes"] == [36, 144]
    assert str(Path.cwd()) not in out.read_text()
    assert str(Path.home()) not in out.read_text()
    assert "ours" in model.table("image-56", written["cases"]["image-56"])
    pictures.drawn(written["growth"]["positions"], "1").savefig(tmp_path / "cost.png")


def test_who_cannot_take_part_is_left_out_with_the_reason() -> None:
    points = dataclasses.replace(TINY, kind="points", sizes=(40,))
    jobs = {who: Job(who=who, case=points, folder="", threads=1) for who in ("ours", "ours-separable")}

    times, left_out = model.timed(jobs, rounds=1)

    assert list(times) == ["ours"]
    assert "needs a grid" in left_out["ours-separable"]


def test_a_contestant_that_computes_something_else_ends_the_benchmark() -> None:
    assert model.difference("a peer", [1.0, -2.0], [1.0, -2.0000002]) == 1e-7

    with pytest.raises(SystemExit, match="a peer computes something else"):
        model.difference("a peer", [1.0, float("nan")], [1.0, 2.0])
    with pytest.raises(SystemExit, match="a peer computes something else"):
        model.difference("a peer", [1.0, 2.1], [1.0, 2.0])


def test_an_exponent_is_the_power_of_the_growth() -> None:
    assert model.exponent([10, 20, 40], [3, 12, 48]) == 2


def test_every_case_of_the_growth_differs_in_nothing_else() -> None:
    for axis, names in GROWTH.items():
        grows = {"positions": {"sizes"}}.get(axis, {axis})
        alike = [dataclasses.asdict(CASES[name]) for name in names]
        for case in alike:
            for fact in ("about", "contestants", "rounds", *grows):
                del case[fact]
        assert all(case == alike[0] for case in alike)


def test_a_case_that_is_not_there_is_answered_with_the_list() -> None:
    with pytest.raises(SystemExit, match=r"no case 'nothing': there are image-56"):
        model.chosen(["nothing"])


def test_the_list_names_every_case(capsys: pytest.CaptureFixture[str]) -> None:
    model.main(["--list"])

    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(CASES)
