"""How many raw files a second a trained model answers: `perceiver predict` against what a user would write.

    python -m benchmarks.predicting [--kinds small photos] [--files 2000 10000] [--rounds 3]

* ours: plan, isolated decoding, model and Parquet file, as `perceiver predict` does it, on Ray Data
* loop: Pillow and torch in one process, 64 pictures at a time, with torch's threads
* ray data: `map_batches` over paths with an actor a core, as Ray's own guide to batch inference writes it

All three decode the same JPEGs to the same 64 x 64 pixels, use the same weights and write every class and its
probability to Parquet; their classes are compared. Each plays in a process of its own, in interleaved rounds:
`start` is imports and Ray, `first` a pass in which workers start and load the model, `again` one more.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import raw

SIDE, BATCH, CPUS = 64, 64, 2
WHO = ("ours", "loop", "ray data")
Predict = Callable[[], dict[str, str]]
"""One pass; the class of each file by its name."""


def main() -> None:
    """Play all rounds, print a table, write JSON; or play once for the process that asks."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kinds", nargs="+", choices=raw.KINDS, default=list(raw.KINDS))
    parser.add_argument("--files", nargs="+", type=int, default=[2000, 10000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", type=Path, default=Path("build/predicting"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/predicting.json"))
    parser.add_argument("--play", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.play:
        who, files, model = options.play
        print(json.dumps(played(who, Path(files), Path(model))))
        return
    results = {
        kind: {str(count): compared(kind, count, options) for count in options.files}
        for kind in options.kinds
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps({"cpus": CPUS, "kinds": results}, indent=1) + "\n")


def compared(kind: str, count: int, options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """All contestants on so many files of a kind, in interleaved rounds; the table is printed."""
    files = raw.made(kind, options.work, count).absolute()
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder)
        make_model(model)
        runs: dict[str, list[dict[str, Any]]] = {who: [] for who in WHO}
        for _ in range(options.rounds):
            for who in WHO:
                runs[who].append(play(who, files, model))
    result = {who: summary(found, count) for who, found in runs.items()}
    ours = runs["ours"][0]["classes"]
    for who, found in runs.items():
        same = sum(ours[name] == one for name, one in found[0]["classes"].items())
        result[who]["same_class_as_ours"] = round(same / len(ours), 4)
    print(f"{count:,} {raw.KINDS[kind].about}")
    print(table(result))
    return result


def play(who: str, files: Path, model: Path) -> dict[str, Any]:
    """One contestant in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.predicting", "--play", who, str(files), str(model)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{who} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def played(who: str, files: Path, model: Path) -> dict[str, Any]:
    """Seconds of a contestant, and what it said."""
    contestants = {"ours": ours, "loop": loop, "ray data": ray_data}
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        with contestants[who](files, model, Path(folder, "out.parquet")) as predict:
            seconds = [time.perf_counter()]
            for _ in range(2):
                classes = predict()
                seconds.append(time.perf_counter())
    first, again = np.diff(seconds).tolist()
    return {"start": seconds[0] - began, "first": first, "again": again, "classes": classes}


def make_model(folder: Path) -> None:
    """Weights that nobody trained, of a small model that sees 256 patches; answers differ all the same."""
    import torch
    from safetensors.torch import save_file

    from perceiver.image import ImageSpec
    from perceiver.model import Perceiver
    from perceiver.settings import ImageTokens, ModelSettings
    from pipelines.models.classifier import description

    torch.manual_seed(0)
    settings = ModelSettings(latents=32, width=64, heads=4, blocks=2, layers=2, image=ImageTokens(patch=4))
    spec = ImageSpec.of(settings, height=SIDE, width=SIDE, mean=(128.0,) * 3, std=(64.0,) * 3)
    network = Perceiver(settings, {"image": spec}, 10)
    torch.nn.init.normal_(network.head.weight, std=0.5)
    save_file(network.state_dict(), folder / "weights")
    made = description(network, [f"class{number}" for number in range(10)], "float32")
    (folder / "description").write_text(json.dumps(made))


@contextmanager
def on_ray() -> Iterator[None]:
    """Ray on two cores, quiet."""
    import ray

    ray.init(num_cpus=CPUS, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


@contextmanager
def ours(files: Path, model: Path, out: Path) -> Iterator[Predict]:
    """What `perceiver predict` does between fetching the model and telling the person."""
    import pyarrow.parquet as pq

    from pipelines.models.answer_table import answer_file
    from pipelines.models.inputs import RawFiles
    from pipelines.models.predicting import Share, answers
    from preprocessing.settings import DataSettings, ImageSettings

    inputs = RawFiles(settings=replace(DataSettings(raw=str(files)), image=ImageSettings(size=SIDE)))

    def predict() -> dict[str, str]:
        _, texts = inputs.plan(BATCH)
        made = (model / "description", model / "weights")
        with answer_file(str(out)) as (written, file):
            for found in answers(inputs, texts, made, Share(0, 1), every=False):
                written.add(found, file)
        found = pq.read_table(out)
        return dict(zip(found["source"].to_pylist(), found["class"].to_pylist(), strict=True))

    with on_ray():
        yield predict


@contextmanager
def loop(files: Path, model: Path, out: Path) -> Iterator[Predict]:
    """Pillow and torch, by hand."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    answer = by_hand(model)

    def predict() -> dict[str, str]:
        paths = sorted(files.rglob("*.jpg"))
        rows: dict[str, list[Any]] = {"path": [], "class": [], "probability": []}
        for begin in range(0, len(paths), BATCH):
            batch = [str(path) for path in paths[begin : begin + BATCH]]
            for name, values in answer({"item": batch}).items():
                rows[name] += list(values)
        pq.write_table(pa.table(rows), out)
        return by_name(rows["path"], rows["class"], files)

    yield predict


@contextmanager
def ray_data(files: Path, model: Path, out: Path) -> Iterator[Predict]:
    """Ray Data, by hand: paths, an actor a core, a folder of Parquet files."""
    import pyarrow.parquet as pq
    import ray

    class Predictor:
        def __init__(self) -> None:
            import torch

            torch.set_num_threads(1)
            self.answer = by_hand(model)

        def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
            return self.answer(batch)

    def predict() -> dict[str, str]:
        ray.data.DataContext.get_current().enable_progress_bars = False
        paths = [str(path) for path in sorted(files.rglob("*.jpg"))]
        rows: Any = ray.data.from_items(paths, override_num_blocks=-(-len(paths) // BATCH))
        rows.map_batches(Predictor, batch_size=BATCH, concurrency=CPUS).write_parquet(
            str(out), mode="overwrite"
        )
        found = pq.read_table(out)
        return by_name(found["path"].to_pylist(), found["class"].to_pylist(), files)

    with on_ray():
        yield predict


def by_hand(model: Path) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Decodes and classifies a batch of paths."""
    import torch
    from PIL import Image, ImageOps
    from safetensors.torch import load_file

    from perceiver.description import build
    from perceiver.segment import Raw

    made = json.loads((model / "description").read_text())
    network = build(made["model"])
    network.load_state_dict(load_file(model / "weights"))
    network.eval()

    @torch.no_grad()
    def answer(batch: dict[str, Any]) -> dict[str, Any]:
        pictures = []
        for path in batch["item"]:
            with Image.open(path) as picture:
                square = ImageOps.fit(picture.convert("RGB"), (SIDE, SIDE), Image.Resampling.BICUBIC)
            pictures.append(np.asarray(square))
        chances = network({"image": Raw(torch.from_numpy(np.stack(pictures)))}).softmax(1).numpy()
        best = chances.argmax(1)
        return {
            "path": list(batch["item"]),
            "class": [made["classes"][place] for place in best],
            "probability": chances[np.arange(len(best)), best],
        }

    return answer


def by_name(paths: list[str], classes: list[str], files: Path) -> dict[str, str]:
    """Classes by the name below the folder."""
    return {str(Path(path).relative_to(files)): one for path, one in zip(paths, classes, strict=True)}


def summary(runs: list[dict[str, Any]], count: int) -> dict[str, Any]:
    """Medians, with least and most of the pass in a warm session."""
    seconds = {name: statistics.median(run[name] for run in runs) for name in ("start", "first", "again")}
    again = [run["again"] for run in runs]
    return {
        **{name: round(value, 2) for name, value in seconds.items()},
        "again_spread": [round(min(again), 2), round(max(again), 2)],
        "files_per_second_first": round(count / seconds["first"], 1),
        "files_per_second": round(count / seconds["again"], 1),
    }


def table(result: dict[str, Any]) -> str:
    """A row a contestant."""
    heads = ("start s", "first s", "again s", "(least..most)", "files/s", "same")
    lines = ["{:10} {:>8} {:>8} {:>8} {:>15} {:>8} {:>7}".format("", *heads)]
    for who, one in result.items():
        spread = "{:.2f}..{:.2f}".format(*one["again_spread"])
        lines.append(
            f"{who:10} {one['start']:>8.2f} {one['first']:>8.2f} {one['again']:>8.2f} {spread:>15} "
            f"{one['files_per_second']:>8,.0f} {one['same_class_as_ours']:>7.2%}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
