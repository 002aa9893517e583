"""Train on the real sets and compare with the trivial baselines that came with them.

    PERCEIVER_TEST_DATA=FOLDER python -m benchmarks.real_data [SET ...] [--seeds 3] [--out FILE]

FOLDER holds the sets as .tar.xz. Each run is the product's own command on the run file that is shipped:
raw files to a registered model, on an otherwise idle machine if the seconds are to mean anything.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipelines.runs import digits

RUNS = Path(__file__).parent.parent / "pipelines" / "runs"

# set: (archive, folder in it, run file, what the issue asks for, the best trivial baseline)
SETS = {
    "fsdd-mel": ("dev-audio-fsdd", "audio/fsdd", "spoken_digits_mel.toml", 0.98, 0.98),
    "fsdd-raw": ("dev-audio-fsdd", "audio/fsdd", "spoken_digits_raw.toml", 0.60, 0.40),
    "psb12": ("dev-meshes-psb12", "meshes/psb12", "meshes.toml", 0.80, 0.77),
    "cifar10": ("dev-images-cifar10", "images/cifar10", "cifar10.toml", 0.58, 0.54),
    "digit-pairs": ("dev-audio-fsdd", "pairs", "image_audio.toml", None, None),
    "surveillance2": ("dev-video-surveillance2", "video/surveillance2", "video_audio.toml", None, 0.79),
}


def main() -> None:
    """Run what is asked for, print a line a run and the table at the end."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sets", nargs="*", choices=[*SETS, []], default=list(SETS))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="cores of each training process")
    parser.add_argument("--work", type=Path, default=Path("work/real"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/real_data.json"))
    options = parser.parse_args()
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    for name in options.sets:
        for seed in seeds:
            record(options.out, measure(name, seed, options.work, options.threads))
    print(table(json.loads(options.out.read_text())))


def measure(name: str, seed: int, work: Path, threads: int) -> dict[str, Any]:
    """One whole run; what `perceiver run --json` and the artifacts say."""
    archive, folder, run_file, target, baseline = SETS[name]
    raw = unpacked(archive, work / "raw") / folder
    if name == "digit-pairs":
        pair_digits(raw.parent)
    workspace = work / f"{name}-{seed}"
    command = [sys.executable, "-m", "pipelines", "run", str(RUNS / run_file), "--json", "--seed", str(seed)]
    command += [
        "--workspace",
        str(workspace),
        "--data.raw",
        str(raw),
        "--tracking.uri",
        f"sqlite:///{work}/mlflow.db",
    ]
    command += ["--cluster.cpus-per-worker", str(threads)]
    command += ["--data.shards", str(work / f"shards-{archive}-{run_file}")]
    began = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    seconds = time.perf_counter() - began
    metrics = json.loads(done.stdout)["metrics"]
    manifest = json.loads((work / f"shards-{archive}-{run_file}" / "manifest.json").read_text())
    return {
        "set": name, "seed": seed, "accuracy": metrics["test/accuracy"], "seconds": round(seconds),
        "asked": target, "baseline": baseline, "run_file": run_file, "threads": threads,
        "found": manifest["found"], "accepted_files": manifest["accepted_files"],
        "quarantined": manifest["quarantined"], "samples": manifest["counts"],
    }  # fmt: skip


def unpacked(archive: str, folder: Path) -> Path:
    """The archive's content, unpacked once."""
    mark = folder / f".{archive}"
    if not mark.exists():
        source = os.environ.get("PERCEIVER_TEST_DATA")
        if not source:
            sys.exit("PERCEIVER_TEST_DATA is not set: it names the folder of the sets' .tar.xz")
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["tar", "xJf", f"{source}/{archive}.tar.xz", "-C", str(folder)], check=True)
        mark.touch()
    return folder.absolute()


def pair_digits(folder: Path) -> None:
    """Written and spoken digits of the same class under one name: scikit-learn's pictures, fsdd's sounds."""
    digits.write(folder / "written")
    for digit in map(str, range(10)):
        place = folder / "pairs" / digit
        place.mkdir(parents=True, exist_ok=True)
        sounds = sorted((folder / "audio" / "fsdd").glob(f"*/digit_{digit}/*.wav"))
        for picture, sound in zip(sorted((folder / "written" / digit).iterdir()), sounds, strict=False):
            shutil.copy(picture, place / f"{sound.stem}.png")
            shutil.copy(sound, place / sound.name)


def record(out: Path, result: dict[str, Any]) -> None:
    """Keep the result; an older one of the same set and seed gives way."""
    print(json.dumps(result), flush=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    old = json.loads(out.read_text()) if out.exists() else []
    key = (result["set"], result["seed"])
    kept = [one for one in old if (one["set"], one["seed"]) != key]
    out.write_text(
        json.dumps(sorted([*kept, result], key=lambda one: (one["set"], one["seed"])), indent=1) + "\n"
    )


def table(results: list[dict[str, Any]]) -> str:
    """One row a set."""
    return "\n".join(
        [
            "| set | accuracy, by seed | asked | trivial baseline | seconds |",
            "|---|---|---|---|---|",
            *rows(results),
        ]
    )


def rows(results: list[dict[str, Any]]) -> Iterator[str]:
    """The rows of the table."""
    for name in SETS:
        mine = [one for one in results if one["set"] == name]
        if mine:
            figures = ", ".join(f"{one['accuracy']:.4f}" for one in mine)
            mean = f" (mean {statistics.mean(one['accuracy'] for one in mine):.4f})" if len(mine) > 1 else ""
            seconds = ", ".join(str(one["seconds"]) for one in mine)
            asked = mine[0]["asked"] or "-"
            baseline = mine[0]["baseline"] or "-"
            yield f"| {name} | {figures}{mean} | {asked} | {baseline} | {seconds} |"


if __name__ == "__main__":
    main()
