"""Draw what the model and its peers cost as the input grows, from the benchmark's JSON.

python -m benchmarks.pictures [--results FILE] [--out FILE]
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

from benchmarks.model import OUT

# who: (label, colour)
LINES = {
    "lucidrains": ("lucidrains", "#b08900"),
    "transformers": ("transformers", "#7a5195"),
    "krasserm": ("krasserm", "#2f7f6f"),
    "ours": ("this model", "#c8102e"),
}


def main() -> None:
    """Read the results, write the picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, default=OUT)
    parser.add_argument("--out", type=Path, default=Path("docs/model-cost.png"))
    options = parser.parse_args()
    results = json.loads(options.results.read_text())
    along = results["growth"].get("positions")
    if not along:
        sys.exit(f"{options.results} has fewer than two of the cases image-*: measure them first")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    threads = {
        one["machine"]["threads"] for name, one in results["cases"].items() if name.startswith("image-")
    }
    drawn(along, "/".join(map(str, sorted(threads)))).savefig(options.out, dpi=150)


def drawn(along: dict[str, Any], threads: str) -> Figure:
    """Time beside memory, both against M on log-log axes."""
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    time, memory = figure.subplots(1, 2)
    figure.suptitle(
        "Forward + backward of one image, same network and same weights in all "
        "(exponents: between the two largest)",
        fontsize=11,
    )
    for axes, what, kind in (
        (time, f"seconds ({threads} CPU thread)", "step"),
        (memory, "peak memory above the model, MiB", "peak_mib"),
    ):
        panel(axes, what, {who: (one["sizes"], one[kind]) for who, one in along.items()})
    return figure


def panel(axes: Axes, what: str, costs: dict[str, tuple[list[int], dict[str, Any]]]) -> None:
    """One line a contestant, with its exponent between the two largest inputs."""
    merged = {who: cost for who, cost in costs.items() if who != "lucidrains-ready"}
    if "lucidrains-ready" in costs and "lucidrains" in merged:
        merged["lucidrains"] = cheaper(merged["lucidrains"], costs["lucidrains-ready"])
    for who, (label, colour) in LINES.items():
        if who in merged:
            sizes, cost = merged[who]
            text = f"{label}  (M$^{{{cost['end']:.2f}}}$)"
            heavy = 2.6 if who == "ours" else 1.5
            axes.plot(sizes, cost["at"], "o-", color=colour, label=text, linewidth=heavy, markersize=4)
    axes.set_xscale("log")
    axes.set_yscale("log")
    sizes = next(iter(merged.values()))[0]
    axes.set_xticks(sizes, [f"{round(size**0.5)}²\n{size:,}" for size in sizes], fontsize=7)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("positions M (pixels)")
    axes.set_ylabel(what)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)


def cheaper(
    one: tuple[list[int], dict[str, Any]], other: tuple[list[int], dict[str, Any]]
) -> tuple[list[int], dict[str, Any]]:
    """The way that costs less at the largest size."""
    return min(one, other, key=lambda way: way[1]["at"][-1])


if __name__ == "__main__":
    main()
