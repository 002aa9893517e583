"""Write the handwritten digits that scikit-learn carries as PNG files in class folders.

python -m pipelines.runs.digits FOLDER
"""

import sys
from pathlib import Path
from typing import Any

from PIL import Image
from sklearn.datasets import load_digits


def write(folder: Path) -> int:
    """1,797 pictures of 8 x 8 pixels as `folder/<digit>/<number>.png`; how many there are now."""
    digits: Any = load_digits()
    for number, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        path = folder / str(label) / f"{number:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            Image.fromarray((pixels * 255 / 16).round().astype("uint8")).save(path)
    return len(digits.target)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
