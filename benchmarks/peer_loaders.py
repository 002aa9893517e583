"""Loaders of their own formats, written from the same samples: MosaicML Streaming and litdata.

They and what they need lie in folders of their own, so that they neither change nor bind what we install; a
process that runs one finds its folder on PYTHONPATH, and takes NumPy and torch from our environment.
"""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.loaders import BATCH, SIDE, Batches, Contestant, Loader

HOME = Path("build") / "peers"
CLOUD = ("boto3==1.44.5", "botocore==1.44.5", "s3transfer", "jmespath")


class Needs(NamedTuple):
    """What is installed into a peer's folder, and nothing that these would bring along."""

    package: str
    version: str
    others: tuple[str, ...]


NEEDS = {
    "mosaicml": Needs(
        "mosaicml-streaming",
        "0.13.0",
        ("brotli==1.2.1", "python-snappy==0.7.3", "cramjam==2.14.0", "xxhash==4.1.0", "zstd==1.5.7.2",
         "catalogue==2.0.10", *CLOUD),
    ),
    "litdata": Needs(
        "litdata", "0.2.76", ("lightning-utilities==0.15.3", "tifffile==2026.3.3", "obstore==0.12.1", *CLOUD)
    ),
}  # fmt: skip


def installed(who: str) -> Path:
    """The folder of a peer, made with pip where it is missing."""
    needs = NEEDS[who]
    folder = HOME / f"{needs.package}-{needs.version}"
    if not (folder / "whole").exists():
        shutil.rmtree(folder, ignore_errors=True)
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        wanted = [f"{needs.package}=={needs.version}", *needs.others]
        subprocess.run([*pip, "--target", f"{folder}/part", *wanted], check=True)
        (folder / "part").rename(folder / "whole")
    return (folder / "whole").absolute()


def without_torchvision() -> None:
    """MosaicML Streaming imports it for data sets that are not used here; transformers must not see that."""
    import transformers.feature_extraction_utils
    import transformers.tokenization_utils_base  # noqa: F401

    for name, words in {
        "torchvision": (),
        "torchvision.datasets": ("VisionDataset",),
        "torchvision.transforms": (),
        "torchvision.transforms.functional": ("to_tensor",),
    }.items():
        module: Any = ModuleType(name)
        for word in words:
            setattr(module, word, type(word, (), {}))
        sys.modules[name] = module


def stored(folder: Path) -> Iterator[NDArray[np.uint8]]:
    """The samples, in the order of our index."""
    from preprocessing.reading import Reader
    from preprocessing.shards import Shards

    reader = Reader(Shards.open(str(folder / "shards")), "train")
    for row in range(len(reader)):
        yield reader.read([row])[0]["image"]


def mosaicml(folder: Path) -> Loader:
    """MDS files, without compression or checksums, and torch's DataLoader in this process."""
    without_torchvision()
    import streaming
    from torch.utils.data import DataLoader

    home = folder / "mosaicml"
    if not (home / "index.json").exists():
        shutil.rmtree(home, ignore_errors=True)
        columns = {"image": f"ndarray:uint8:{SIDE},{SIDE},3", "label": "int"}
        with streaming.MDSWriter(out=str(home), columns=columns) as writer:
            for image in stored(folder):
                writer.write({"image": image, "label": 0})

    def opened() -> Callable[[int], Batches]:
        streaming.base.util.clean_stale_shared_memory()
        batches = DataLoader(
            streaming.StreamingDataset(local=str(home), shuffle=True, batch_size=BATCH), BATCH
        )
        return lambda _: (batch["image"] for batch in batches)

    return opened


def litdata(folder: Path) -> Loader:
    """litdata's chunks of 64 MB, and its DataLoader in this process."""
    import litdata as lit
    import torch
    from litdata.streaming import Cache

    home = folder / "litdata"
    if not (home / "index.json").exists():
        shutil.rmtree(home, ignore_errors=True)
        cache = Cache(str(home), chunk_bytes=2**26)
        for at, image in enumerate(stored(folder)):
            cache[at] = {"image": torch.from_numpy(image), "label": 0}
        cache.done()
        cache.merge()

    def opened() -> Callable[[int], Batches]:
        batches = lit.StreamingDataLoader(lit.StreamingDataset(str(home), shuffle=True), batch_size=BATCH)
        return lambda _: (batch["image"] for batch in batches)

    return opened


PEERS: dict[str, Contestant] = {
    "mosaicml": Contestant(mosaicml, "all samples, in blocks"),
    "litdata": Contestant(litdata, "chunks, and the samples of a chunk"),
}
