"""The gate's report page: whole in one file, and safe whatever classes and files are called."""

import re
from pathlib import Path

import numpy as np

from pipelines.gate.decision import decide
from pipelines.gate.page import Discordant, Page
from pipelines.gate.settings import GateSettings

NASTY = "<script>alert(1)</script> $x$"


def page(tmp_path: Path) -> str:
    labels = np.random.default_rng(0).integers(0, 3, 300)
    wrong = np.random.default_rng(1).random((2, 300)) < [[0.1], [0.4]]
    ours, theirs = (np.eye(3)[(labels + one) % 3] for one in wrong)
    decision = decide(labels, ours, theirs, ("cat", NASTY, "dog"), GateSettings())
    rows = [Discordant(f"{NASTY}.png", "cat", "cat", "dog", won=True)]
    return Page("digits version 2", "version 1", decision, rows).write(tmp_path / "report.html").read_text()


def test_the_page_holds_the_decision_its_interval_and_both_models_per_class(tmp_path: Path) -> None:
    text = page(tmp_path)

    assert "passes the gate" in text
    assert "95 % interval" in text
    assert "McNemar's exact test: p = " in text
    assert len(re.findall(r"<td>(?:cat|dog|&lt;script[^<]*)</td><td class=n>\d", text)) == 3
    assert "Compared with version 1, on the same 300 test samples" in text


def test_the_page_needs_no_other_file(tmp_path: Path) -> None:
    text = page(tmp_path)

    assert text.count('src="data:image/png;base64,') == 2
    rest = re.sub(r'src="data:image/png;base64,[^"]*"', "", text)
    assert not re.findall(r"src=|href=|url\(|http|@import", rest)


def test_names_of_classes_and_files_are_text_and_nothing_else(tmp_path: Path) -> None:
    text = page(tmp_path)

    assert "<script" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt; $x$.png" in text
