"""The planning page holds what its script prints, and the script counts as the paper does."""

from pathlib import Path

import pytest

from benchmarks.large_sets import CASES, Assumed, Plan, Prices, costs, plan
from benchmarks.plan_costs import main

PAGE = Path(__file__).parents[2] / "docs" / "planning.md"


@pytest.fixture(scope="module")
def plans() -> dict[str, Plan]:
    return {case.name: plan(case, Assumed()) for case in CASES}


def test_the_page_holds_the_tables_that_the_script_prints(capsys: pytest.CaptureFixture[str]) -> None:
    main([])

    needs, money = capsys.readouterr().out.strip().split("\n\n")
    page = PAGE.read_text()
    assert needs in page
    assert money in page


def test_imagenets_operations_are_the_papers(plans: dict[str, Plan]) -> None:
    assert plans["ImageNet"].forward / 1e9 == pytest.approx(707.2, abs=0.05)


def test_training_counts_each_visit_forward_and_backward(plans: dict[str, Plan]) -> None:
    assumed = Assumed()

    operations = 3 * plans["ImageNet"].forward * 1_281_167 * 120

    seconds = operations / (assumed.peak * assumed.utilisation)
    assert plans["ImageNet"].train_gpu_hours == pytest.approx(seconds / 3600)


def test_a_large_shard_is_put_in_parts_and_a_small_one_at_once(plans: dict[str, Plan]) -> None:
    assert plans["ImageNet"].puts == plans["ImageNet"].shards
    clips = plans["AudioSet"]
    assert clips.puts == clips.shards * (2 + -(-clips.sample_bytes * 200 // 2**26))


def test_prices_are_parameters(plans: dict[str, Plan]) -> None:
    usual = costs(plans["AudioSet"], Prices())

    dearer = costs(plans["AudioSet"], Prices(gpu_hour=6.0))

    assert dearer["shard"] == usual["shard"]
    assert dearer["evaluate, 1 % of the samples"] == pytest.approx(2 * usual["evaluate, 1 % of the samples"])


def test_an_option_changes_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--gpus", "8", "--utilisation", "0.6"])

    assert "training on 8 GPUs" in capsys.readouterr().out
