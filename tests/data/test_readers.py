"""One set of pictures in every format: all readers find the same boxes."""

import csv
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import yaml

from detzoo.annotations import Annotations
from detzoo.data import CocoDataset, CsvDataset, DetectionDataset, SyntheticDataset, VocDataset, YoloDataset
from detzoo.data.coco import write_coco

SHARED = Path(__file__).parents[3] / "shared" / "data"


def objects(annotations: Annotations, index: int) -> list[tuple[str, list[float]]]:
    rows = annotations.rows(index)
    names = [annotations.categories.name(label) for label in annotations.labels[rows]]
    return list(zip(names, annotations.boxes[rows].tolist()))


def write_yolo(folder: Path, annotations: Annotations, files: Sequence[str]) -> Path:
    (folder / "labels").mkdir()
    for index, file in enumerate(files):
        height, width = annotations.image_sizes[index].tolist()
        lines = [
            f"{annotations.categories.names.index(name)} {(x1 + x2) / 2 / width} {(y1 + y2) / 2 / height} "
            f"{(x2 - x1) / width} {(y2 - y1) / height}"
            for name, (x1, y1, x2, y2) in objects(annotations, index)
        ]
        (folder / "labels" / Path(file).with_suffix(".txt").name).write_text("\n".join(lines))
    content = {"train": "images", "names": list(annotations.categories.names)}
    (folder / "data.yaml").write_text(yaml.safe_dump(content))
    return folder / "data.yaml"


def write_csv(path: Path, annotations: Annotations, files: Sequence[str]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "label", "xmin", "ymin", "xmax", "ymax"])
        for index, name in enumerate(files):
            found = objects(annotations, index)
            writer.writerows([name, label, *map(repr, box)] for label, box in found)
            writer.writerows([[name, "", "", "", "", ""]] * (not found))
    return path


def write_voc(folder: Path, annotations: Annotations, files: Sequence[str]) -> Path:
    (folder / "Annotations").mkdir()
    for index, file in enumerate(files):
        boxes = "".join(
            f"<object><name>{name}</name><bndbox>"
            + "".join(f"<{side}>{value!r}</{side}>" for side, value in zip(("xmin", "ymin", "xmax", "ymax"), box))
            + "</bndbox></object>"
            for name, box in objects(annotations, index)
        )
        (folder / "Annotations" / Path(file).with_suffix(".xml").name).write_text(f"<annotation>{boxes}</annotation>")
    return folder


def read_all(folder: Path, annotations: Annotations, files: Sequence[str]) -> dict[str, DetectionDataset]:
    """The set, whose pictures lie in `images`, written and read in every format."""
    names, images = annotations.categories.names, folder / "images"
    write_coco(folder / "annotations.json", annotations, files)
    table = write_csv(folder / "boxes.csv", annotations, files)
    return {
        "coco": CocoDataset(images, folder / "annotations.json", invalid="error"),
        "csv": CsvDataset(images, table, classes=names, invalid="error"),
        "voc": VocDataset(write_voc(folder, annotations, files), None, images="images", classes=names, invalid="error"),
        "yolo": YoloDataset(write_yolo(folder, annotations, files), "train", invalid="error"),
    }


def check_same(dataset: DetectionDataset, annotations: Annotations, files: Sequence[str], name: str) -> None:
    found = dataset.annotations
    assert found.categories.names == annotations.categories.names, name
    assert [os.path.basename(dataset.name(index)) for index in range(len(dataset))] == list(files), name
    for column in ("image_sizes", "offsets", "labels"):
        np.testing.assert_array_equal(getattr(found, column), getattr(annotations, column), err_msg=f"{name} {column}")
    np.testing.assert_allclose(found.boxes, annotations.boxes, rtol=0, atol=1e-9, err_msg=name)
    np.testing.assert_allclose(found.areas, annotations.areas, rtol=1e-9, err_msg=name)


@pytest.mark.parametrize("seed", [0, 1])
def test_synthetic_pictures(tmp_path, seed):
    source = SyntheticDataset(12, seed, size=(48, 64), max_objects=3)
    source.write(tmp_path)
    files = [f"{index:06d}.png" for index in range(12)]
    for name, dataset in read_all(tmp_path, source.annotations, files).items():
        check_same(dataset, source.annotations, files, name)
        assert dataset.open_image(3).tobytes() == source.open_image(3).tobytes(), name


@pytest.mark.parametrize(
    ("folder", "options"),
    [("bccd", {"split": "test"}), ("raccoon", {"split": None, "annotations": "annotations", "images": "images"})],
)
def test_photographs(tmp_path, folder, options):
    if not (SHARED / folder).is_dir():
        pytest.skip(f"needs ../shared/data/{folder}")
    source = VocDataset(SHARED / folder, **options)
    names = [os.path.basename(source.name(index)) for index in range(len(source))]
    (tmp_path / "images").mkdir()
    for index, name in enumerate(names):
        os.symlink(source.name(index), tmp_path / "images" / name)
    order = sorted(range(len(names)), key=names.__getitem__)
    assert names == [names[index] for index in order], "YOLO and VOC without lists go by name"
    for name, dataset in read_all(tmp_path, source.annotations, names).items():
        check_same(dataset, source.annotations, names, name)
