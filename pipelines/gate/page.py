"""The gate's report: one HTML page that needs no other file, with the pictures in it."""

import base64
import html
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from cluster.storage import write_whole
from pipelines.gate.decision import ClassChange, Decision

CANDIDATE, CHAMPION = "#1f5fa8", "#9a9a9a"
ROWS, BARS = 1000, 40
"""Classes in the table and in the picture, those that fell most first."""
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em; color: #222 }
table { border-collapse: collapse; margin: 1em 0 } td, th { padding: .2em .8em; text-align: left }
th { border-bottom: 2px solid #999 } td { border-bottom: 1px solid #ddd } td.n { text-align: right }
.yes { color: #1b6e3c } .no { color: #b3261e } img { max-width: 100% } code { background: #f2f2f2 }
"""


@dataclass(frozen=True)
class Discordant:
    """A sample on which the two models do not agree."""

    source: str
    """The raw file, below the raw folder."""
    true: str
    candidate: str
    """What the candidate took it for."""
    champion: str
    won: bool
    """Whether the candidate is the one that is right."""


@dataclass(frozen=True)
class Page:
    """What the page says."""

    title: str
    against: str
    """`columns version 3`, or what stands for a champion where there is none."""
    decision: Decision
    discordant: Sequence[Discordant]
    """Some of them."""
    rival: str = "champion"
    """What the other model is called."""

    def write(self, path: Path) -> Path:
        """The page at `path`, whole or not at all."""
        write_whole(path, self.text().encode())
        return path

    def text(self) -> str:
        """The page."""
        decision = self.decision
        verdict = ("yes", "passes the gate") if decision.promoted else ("no", "is refused")
        classes = sorted(decision.classes, key=lambda one: one.candidate - one.champion)
        figure = "recall" if decision.metric == "accuracy" else "average precision"
        interval = f"{decision.low:+.4f} to {decision.high:+.4f}.{_mcnemar(decision)}"
        against = f"{_safe(self.against)}, on the same {decision.samples:,} test samples"
        body = [
            f"<h1>{_safe(self.title)} <span class={verdict[0]}>{verdict[1]}</span></h1>",
            f"<p>{_safe(decision.reason)}.</p><p>Compared with {against}.</p>",
            _table(("", "candidate", self.rival, "difference"), [self._figures()]),
            f"<p>{100 * decision.confidence:g} % interval (paired bootstrap): {interval}</p>",
            _image(_interval(decision, self.rival), "difference with its interval"),
            f"<h2>Classes: {figure}</h2>",
            _image(_bars(classes[:BARS], figure, self.rival), f"{figure} of both models"),
            _classes(classes, figure, self.rival),
            *self._disagreements(),
        ]
        head = f"<meta charset=utf-8><title>{_safe(self.title)}</title><style>{STYLE}</style>"
        return f"<!doctype html><html lang=en><head>{head}</head><body>{''.join(body)}</body></html>"

    def _figures(self) -> tuple[str, ...]:
        one = self.decision
        return one.metric, f"{one.candidate:.4f}", f"{one.champion:.4f}", f"{one.difference:+.4f}"

    def _disagreements(self) -> Iterable[str]:
        one = self.decision
        yield f"<h2>Where they disagree</h2><p>{one.won:,} samples only the candidate has right, "
        yield f"{one.lost:,} only the {self.rival}. {len(self.discordant):,} of them:</p>"
        heads = ("sample", "is", "candidate says", "champion says", "right is")
        yield _table(
            heads,
            [
                (it.source, it.true, it.candidate, it.champion, "candidate" if it.won else "champion")
                for it in self.discordant
            ],
        )


def _mcnemar(decision: Decision) -> str:
    if decision.p is None:
        return ""
    return f" McNemar's exact test: p = {decision.p:.3g} ({decision.won:,} won, {decision.lost:,} lost)."


def _classes(classes: Sequence[ClassChange], figure: str, rival: str) -> str:
    rows = [
        (
            one.name, f"{one.samples:,}", f"{one.candidate:.3f}", f"{one.champion:.3f}",
            f"{one.candidate - one.champion:+.3f}", "fell too far" if one.fell else "",
        )
        for one in classes[:ROWS]
    ]  # fmt: skip
    return _table(("class", "samples", f"candidate's {figure}", f"{rival}'s {figure}", "change", ""), rows)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    top = "".join(f"<th>{_safe(head)}</th>" for head in heads)
    lines = ["".join(_cell(cell) for cell in row) for row in rows]
    return f"<table><tr>{top}</tr>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def _cell(text: str) -> str:
    kind = " class=n" if text[:1] in tuple("+-0123456789") else ""
    return f"<td{kind}>{_safe(text)}</td>"


def _interval(decision: Decision, rival: str) -> Figure:
    figure = Figure(figsize=(7, 1.6), layout="constrained")
    axes = figure.subplots()
    axes.axvline(0, color="0.4", linewidth=1)
    axes.plot([decision.low, decision.high], [0, 0], color=CANDIDATE, linewidth=4, solid_capstyle="butt")
    axes.plot(decision.difference, 0, "o", color=CANDIDATE, markersize=9)
    axes.set(yticks=[], xlabel=f"{decision.metric}, candidate minus {rival}")
    axes.margins(x=0.15, y=1)
    return figure


def _bars(classes: Sequence[ClassChange], what: str, rival: str) -> Figure:
    figure = Figure(figsize=(8, max(2.0, 1.0 + 0.4 * len(classes))), layout="constrained")
    axes, places = figure.subplots(), np.arange(len(classes))
    axes.barh(places - 0.2, [one.candidate for one in classes], 0.4, color=CANDIDATE, label="candidate")
    axes.barh(places + 0.2, [one.champion for one in classes], 0.4, color=CHAMPION, label=rival)
    names = [f"{one.name} ({one.samples:,})" for one in classes]
    axes.set_yticks(places, names, parse_math=False)  # A class named $x$ is no formula.
    axes.set(xlabel=what, xlim=(0, 1))
    axes.invert_yaxis()
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def _image(figure: Figure, words: str) -> str:
    data = io.BytesIO()
    FigureCanvasAgg(figure).print_png(data)
    text = base64.b64encode(data.getvalue()).decode()
    return f'<p><img alt="{_safe(words)}" src="data:image/png;base64,{text}"></p>'


def _safe(text: Any) -> str:
    return html.escape(str(text))
