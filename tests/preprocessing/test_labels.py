"""Labels from a table: what it names is in, with the label, the split and the extras that it gives."""

import json
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from making import picture, published, settings, sharded, sound

from cluster.mistake import UserError
from preprocessing.reading import Reader
from preprocessing.shards import Shards


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Twelve pictures in folders that are no classes."""
    for number in range(12):
        picture(tmp_path / "raw" / f"day{number % 2}" / f"{number:02d}.png", seed=number)
    return tmp_path / "raw"


def table(path: Path, *lines: str) -> str:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def every(number: int) -> str:
    return f"day{number % 2}/{number:02d}.png"


def labelled(raw: Path, labels: str, **more: Any) -> Shards:
    place = raw.parent / "shards"
    return sharded(settings(raw, labels=labels, val=0.0, test=0.0, max_refused=1.0, **more), place)[0]


def labels_of(shards: Shards) -> dict[str, tuple[str, str]]:
    rows = shards.index(["source", "label", "split"]).to_pylist()
    return {row["source"]: (row["label"], row["split"]) for row in rows}


def tars(shards: Shards) -> dict[str, str]:
    return {name: content for name, content in published(Path(shards.place)).items() if name.endswith(".tar")}


def refused(shards: Shards) -> dict[str, str]:
    return {row["source"]: row["reason"] for row in shards.refused().to_pylist()}


def facts(shards: Shards) -> dict[str, Any]:
    """The JSON of every sample, by its source."""
    found: dict[str, Any] = {}
    for tar in shards.tars:
        with tarfile.open(Path(shards.place) / tar.name) as file:
            for member in file.getmembers():
                if member.name.endswith(".json"):
                    fact = json.load(file.extractfile(member))  # pyright: ignore[reportArgumentType]
                    found[fact["source"]] = fact
    return found


def test_a_table_gives_label_split_and_extras_and_folders_mean_nothing(raw: Path) -> None:
    rows = [f"{every(n)},{'odd' if n % 2 else 'even'},{'test' if n > 8 else 'train'},w{n}" for n in range(12)]
    shards = labelled(raw, table(raw.parent / "t.csv", "path,label,split,who", *rows))

    assert shards.classes == ("even", "odd")
    assert labels_of(shards)["day1/11.png"] == ("odd", "test")
    assert shards.counts == {"train": 9, "val": 0, "test": 3}
    assert facts(shards)["day0/02.png"]["extras"] == {"who": "w2"}
    assert not Reader(shards, "train").labels.min()


def test_a_parquet_table_keeps_its_types_and_paths_need_no_extension(raw: Path) -> None:
    columns = {
        "path": [every(n).removesuffix(".png") for n in range(12)],
        "label": [n % 3 for n in range(12)],
        "weight": [n / 2 for n in range(12)],
    }
    pq.write_table(pa.table(columns), raw.parent / "t.parquet")

    shards = labelled(raw, str(raw.parent / "t.parquet"))

    assert shards.classes == ("0", "1", "2")
    assert facts(shards)["day1/05.png"]["extras"] == {"weight": 2.5}


def test_files_and_rows_without_each_other_are_accounted_for(raw: Path) -> None:
    rows = [f"{every(n)},{n % 2}" for n in range(10)]
    shards = labelled(raw, table(raw.parent / "t.csv", "path,label", *rows, "day9/gone.png,1"))

    assert refused(shards) == {
        "day0/10.png": "unlabelled", "day1/11.png": "unlabelled", "day9/gone": "missing",
    }  # fmt: skip
    assert (shards.found, shards.accepted_files, shards.quarantined) == (13, 10, 3)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_sample_may_have_several_labels(raw: Path, kind: str) -> None:
    given = {n: [["music"], ["speech", "music"], ["dog, barking"]][n % 3] for n in range(12)}
    if kind == "csv":
        rows = [f'{every(n)},"{"; ".join(labels)}"' for n, labels in given.items()]
        place = table(raw.parent / "t.csv", "path,labels", *rows)
    else:
        place = str(raw.parent / "t.parquet")
        columns = {"path": [every(n) for n in given], "labels": list(given.values())}
        pq.write_table(pa.table(columns), place)

    shards = labelled(raw, place)
    reader = Reader(shards, "train")

    assert shards.several
    assert shards.classes == ("dog, barking", "music", "speech")
    assert labels_of(shards)["day1/01.png"][0] == "music;speech"
    assert reader.labels.shape == (12, 3)
    of = dict(zip(reader.sources, reader.labels.tolist(), strict=True))
    assert (of["day1/01.png"], of["day0/02.png"]) == ([0, 1, 1], [1, 0, 0])


def test_a_label_that_changes_makes_a_new_sample(raw: Path) -> None:
    rows = [f"{every(n)},{n % 2}" for n in range(12)]
    first = labelled(raw, table(raw.parent / "t.csv", "path,label", *rows))
    before = tars(first)
    rows[3] = f"{every(3)},0"

    second = labelled(raw, table(raw.parent / "t.csv", "path,label", *rows))

    assert labels_of(second)[every(3)][0] == "0"
    assert (second.number, sum(tar.samples for tar in second.generations[1].tars)) == (1, 1)
    assert before.items() <= tars(second).items()


def test_the_files_of_one_sample_may_be_named_by_one_row_or_by_each(raw: Path) -> None:
    for number in range(12):
        sound((raw / every(number)).with_suffix(".wav"), seed=number)
    rows = [f"{every(n)},{n % 2}" for n in range(12)]
    each = [row.replace(".png", ".wav") for row in rows[:6]]

    place = table(raw.parent / "t.csv", "path,label", *rows, *each)
    shards = labelled(raw, place, modalities=("image", "audio"))

    assert (shards.counts["train"], shards.quarantined) == (12, 0)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["file,label", "a.png,x"], "has no column path; it has file, label"),
        (["path,lable", "a.png,x"], "Perhaps lable is it: rename it"),
        (["path,label", "a.png,x", "b.png,"], "Row 2 .* has no label"),
        (["path,label,split", "a.png,x,train", "b.png,y,valid"], "Row 2 .* another split than train, val or"),
        (["path,label", "a.png,x", "a.png,y"], "names a twice and differently, in rows 1 and 2"),
        (["path,label", "a.png,x,z"], "cannot be read: .*Expected 2 columns, got 3"),
        ([""], "cannot be read|has no column"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_by_row_and_column(
    raw: Path, lines: list[str], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        labelled(raw, table(raw.parent / "t.csv", *lines))


def test_a_table_that_is_not_there_is_refused_with_the_way_out(raw: Path) -> None:
    with pytest.raises(UserError, match=r"there is no such file\. Name a CSV or Parquet table"):
        labelled(raw, str(raw.parent / "none.csv"))


def test_a_table_that_names_no_file_is_no_data(raw: Path) -> None:
    with pytest.raises(
        UserError, match=r"no sample of image(.|\n)*missing +1 +elsewhere/x(.|\n)*label table"
    ):
        labelled(raw, table(raw.parent / "t.csv", "path,label", "elsewhere/x.png,cat"))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"label": [["a"], ["b"]]}, "lists of labels belong into a column `labels`"),
        ({"path": [b"day0/\xff.png", b"day1/01.png"]}, "Give UTF-8 text"),
    ],
)
def test_a_column_that_is_no_text_is_refused(raw: Path, columns: dict[str, Any], message: str) -> None:
    path = raw.parent / "labels.parquet"
    pq.write_table(pa.table({"path": [every(0), every(1)], "label": ["a", "b"], **columns}), path)

    with pytest.raises(UserError, match=message):
        labelled(raw, str(path))


def test_a_column_that_is_there_twice_is_refused(raw: Path) -> None:
    labels = table(raw.parent / "labels.csv", "path,label,label", f"{every(0)},a,b")

    with pytest.raises(UserError, match=r"several columns label\. Keep one"):
        labelled(raw, labels)
