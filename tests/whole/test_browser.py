"""A real browser on a real tracking server: what people look at all day shows runs, figures and no error."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow_server import MlflowServer
from playwright.sync_api import Page, sync_playwright
from tracked import of_pictures, of_sounds, tracked

from pipelines.tracking import reach

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
SECTIONS = ["test", "train", "train_by_samples", "val", "val_by_samples", "work", "workers"]
PATIENCE_MS = 120_000
"""A busy machine draws a page in half a minute."""
OFFLINE = ("--no-sandbox", "--disable-background-networking", "--disable-component-update", "--no-first-run")
ERRORS = re.compile(
    r"Something went wrong|Page Not Found|Internal error|RESOURCE_DOES_NOT_EXIST|failed to load",
    re.IGNORECASE,
)

pytestmark = [
    pytest.mark.whole,
    pytest.mark.skipif(not Path(CHROMIUM).exists(), reason=f"there is no browser: {CHROMIUM} is missing"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
]


@dataclass(frozen=True)
class Tracked:
    """A server with two runs of one experiment: one on pictures, a wider one on sounds."""

    uri: str
    experiment: str
    runs: tuple[str, str]


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tracked]:
    folder = tmp_path_factory.mktemp("browser")
    server = MlflowServer(folder / "server")
    server.start()
    heard = of_sounds(folder, server.uri)
    wider = replace(heard, model=replace(heard.model, width=32))
    runs = (tracked(of_pictures(folder, server.uri)), tracked(wider))
    experiment = mlflow.MlflowClient(server.uri).get_run(runs[0]).info.experiment_id
    yield Tracked(server.uri, experiment, runs)
    server.kill()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(OFFLINE))
        yield browser
        browser.close()


Look = Callable[..., Page]


@pytest.fixture
def look(browser: Any) -> Iterator[Look]:
    """Opens a page and waits until it shows all of these words; what it raises or shows as an error fails."""
    page = browser.new_page(viewport={"width": 1400, "height": 1400})
    page.set_default_timeout(PATIENCE_MS)
    raised: list[str] = []
    page.on("pageerror", lambda error: raised.append(str(error)))

    def open_page(link: str, *words: str) -> Page:
        page.goto(link)
        for word in words:
            page.get_by_text(word).first.wait_for(state="attached")
        assert not raised
        assert not ERRORS.search(page.inner_text("body"))
        return page

    yield open_page
    page.close()


def drawn(page: Page, charts: int) -> None:
    """Wait until so many charts are drawn."""
    page.wait_for_function(f"document.querySelectorAll('.js-plotly-plot .main-svg').length >= {charts}")


def test_the_experiments_charts_lay_curves_of_both_modalities_over_each_other(
    there: Tracked, look: Look
) -> None:
    link = f"{there.uri}/#/experiments/{there.experiment}/runs?{reach.TRAINING}&compareRunsMode=CHART"

    page = look(link, "seen-", "heard-", "test/accuracy", "train/loss")

    drawn(page, 2)
    heads = [line for line in page.inner_text("body").splitlines() if line in SECTIONS]
    assert heads == SECTIONS, "what is learnt comes before what it cost"


def test_the_link_of_compare_shows_the_settings_that_differ_and_all_figures(
    there: Tracked, look: Look
) -> None:
    link = reach.compare_link(there.uri, 0, [(there.experiment, run) for run in there.runs])

    page = look(link, "Comparing 2 Runs from 1 Experiment", "data.modalities", "model.width", "test/accuracy")

    said = "".join(page.inner_text("body").split())  # a list is shown as several lines
    assert '["image"]' in said
    assert '["audio"]' in said


def test_a_run_has_its_description_its_figures_and_its_system_metrics(there: Tracked, look: Look) -> None:
    link = reach.link(there.uri, 0, (there.experiment, there.runs[1]))
    place, _, view = link.partition("?")

    look(link, "A Perceiver that learns from", "perceiver run", "test/accuracy", "train.batch")
    drawn(look(f"{place}/system-metrics?{view}", "cpu_utilization_percentage", "disk_usage_percentage"), 1)


def test_a_model_versions_page_names_its_run_its_shards_and_its_figures(there: Tracked, look: Look) -> None:
    version = mlflow.MlflowClient(there.uri).get_model_version("columns", "2")
    name = mlflow.MlflowClient(there.uri).get_run(version.run_id).info.run_name

    look(f"{there.uri}/#/models/columns/versions/2", "Version 2", name, "candidate", "test_accuracy")

    assert version.run_id == there.runs[1]


def test_every_value_of_a_curve_has_its_samples_seen_at_its_step_in_both_modalities(there: Tracked) -> None:
    client = mlflow.MlflowClient(there.uri)
    for run in there.runs:
        samples = client.get_metric_history(run, "train/samples_seen")
        seen = {one.step for one in samples}
        for name in ("train/loss", "val/loss", "val/accuracy"):
            curve = client.get_metric_history(run, name)
            over = client.get_metric_history(run, name.replace("/", "_by_samples/"))
            assert {one.step for one in curve} <= seen
            assert sorted(one.value for one in over) == sorted(one.value for one in curve)
            assert {one.step for one in over} <= {one.value for one in samples}
    names = [set(client.get_run(run).data.metrics) for run in there.runs]
    assert names[0] == names[1], json.dumps(sorted(names[0] ^ names[1]))
