"""From image files to boxes, for people."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

from .categories import UNUSED
from .components.preprocess import ToRGB
from .files import replacing
from .images import UNREADABLE_IMAGE, unreadable
from .models import SSD
from .structures import Detection
from .viz import draw_boxes


class FileDetection(NamedTuple):
    """What was found in a file: its path, its pixels [3, H, W] and the boxes in them, best first."""

    path: Path
    image: Tensor
    found: Detection


def read_image(path: str | Path) -> Tensor:
    """An image file as [3, H, W] RGB bytes, turned as its EXIF says.

    Raises:
        ValueError: naming the file, if it is not there or no image.
    """
    try:
        with Image.open(path) as image:
            return ToRGB()(image)
    except UNREADABLE_IMAGE as error:
        raise ValueError(unreadable(path, error)) from error


def detect_file(model: SSD, path: str | Path, *, score_threshold: float) -> FileDetection:
    """Detections of an image file with at least this score.

    Args:
        model: in eval mode.
        path: of the file.
        score_threshold: least score that is kept.

    Raises:
        ValueError: naming the file, if it is no image.
    """
    image = read_image(path)
    found = {name: column.cpu() for name, column in model.detect([image])[0].items()}
    kept = found["scores"] >= score_threshold
    return FileDetection(Path(path), image, {name: column[kept] for name, column in found.items()})


def class_names(model: SSD) -> list[str]:
    """The names behind a model's labels from 1 on, made up where nobody gave any."""
    if model.categories is None:
        return [f"class {label}" for label in range(1, model.head.num_classes)]
    return [f"class {k} ({name})" if name == UNUSED else name for k, name in enumerate(model.categories.names, 1)]


def describe(found: Detection, names: Sequence[str]) -> list[str]:
    """One line for each box: name, score, corners in pixels."""
    rows = zip(found["labels"].tolist(), found["scores"].tolist(), found["boxes"].tolist(), strict=True)
    return [
        f"{names[label - 1]:<16s} {score:.3f}  " + " ".join(f"{side:7.1f}" for side in box)
        for label, score, box in rows
    ]


def picture_path(path: Path, folder: Path) -> Path:
    """Where in `folder` the picture of an image file goes: `<name>_detections.jpg`."""
    return folder / f"{path.stem}_detections.jpg"


def write_picture(detection: FileDetection, names: Sequence[str], folder: Path) -> Path:
    """Write the image with its boxes into `folder`."""
    path = picture_path(detection.path, folder)
    with replacing(path) as unfinished:
        draw_boxes(detection.image, detection.found, names).save(unfinished, quality=92)
    return path


def default_device() -> torch.device:
    """A GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
