"""How long a person waits for an answer that needs no cluster: the help, the outlook, a refusal.

    python -m benchmarks.answers [--rounds 7]

Each command runs in a process of its own, in interleaved rounds; the first one warms up and is not counted.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pipelines.runs import digits

RUN = Path(__file__).parent.parent / "pipelines" / "runs" / "digits.toml"
CLOSED = "127.0.0.1:9"  # the discard port: nothing listens there

# what is asked: (arguments, exit status)
QUESTIONS = {
    "--help": (["run", "--help"], 0),
    "show": (["show", "RUN", "--data.raw", "RAW"], 0),
    "wrong key": (["run", "RUN", "--model.latens", "4"], 2),
    "wrong type": (["run", "RUN", "--data.image.size", "large"], 2),
    "missing folder": (["run", "RUN", "--data.raw", "nowhere"], 2),
    "empty folder": (["run", "RUN", "--data.raw", "EMPTY"], 2),
    "one class only": (["run", "RUN", "--data.raw", "ONE"], 2),
    "unwritable workspace": (["run", "RUN", "--data.raw", "RAW", "--workspace", "/dev/null/work"], 2),
    "batch larger than data": (["run", "RUN", "--data.raw", "RAW", "--train.batch", "5000"], 2),
    "heads not dividing width": (["run", "RUN", "--model.heads", "3"], 2),
    "patch not dividing image": (["run", "RUN", "--data.raw", "RAW", "--model.image.patch", "3"], 2),
    "unknown modality": (["run", "RUN", "--data.modalities", "smell"], 2),
    "no Ray at the address": (["run", "RUN", "--cluster.address", CLOSED], 2),
    "tracking server down": (["run", "RUN", "--tracking.uri", f"http://{CLOSED}"], 1),
}


def main() -> None:
    """Ask every question, print a table, write JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/answers.json"))
    options = parser.parse_args()
    seconds: dict[str, list[float]] = {name: [] for name in QUESTIONS}
    with tempfile.TemporaryDirectory() as folder:
        places = prepared(Path(folder))
        for round_number in range(options.rounds + 1):
            for name, (words, status) in QUESTIONS.items():
                took = asked([places.get(word, word) for word in words], status, folder)
                if round_number:
                    seconds[name].append(took)
    results = {name: {"median": statistics.median(all_), "most": max(all_)} for name, all_ in seconds.items()}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(results, indent=1) + "\n")
    print("| asked | median s | most s |\n|---|---|---|")
    for name, one in results.items():
        print(f"| {name} | {one['median']:.2f} | {one['most']:.2f} |")


def prepared(folder: Path) -> dict[str, str]:
    """What the words in capitals stand for: the demo's raw files, an empty folder, one class alone."""
    digits.write(folder / "raw")
    (folder / "empty").mkdir()
    shutil.copytree(folder / "raw" / "0", folder / "one" / "0")
    return {"RUN": str(RUN), **{name.upper(): str(folder / name) for name in ("raw", "empty", "one")}}


def asked(words: list[str], status: int, folder: str) -> float:
    """Seconds until the answer."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "pipelines", *words], cwd=folder, capture_output=True, text=True, check=False
    )
    took = time.perf_counter() - began
    if done.returncode != status:
        sys.exit(f"{words} ended with {done.returncode}, not {status}:\n{done.stderr}")
    return took


if __name__ == "__main__":
    main()
