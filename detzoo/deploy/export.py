"""A detector as a file that runs without this package, and mostly without PyTorch."""

import copy
import json
import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.export import Dim

from ..components.preprocess import Preprocess, check_images
from ..components.resizes import to_bytes
from ..files import replacing
from ..lookup import suggest
from ..models import SSD
from ..version import __version__
from .check import compare
from .inputs import INPUTS
from .levels import LEVELS, Raw, Suppressed, check_detects_by_parts
from .look_trained import drawn_pictures
from .program import Precision, Program, Target, check_packages
from .to_executorch import EXECUTORCH
from .to_onnx import ONNX
from .to_openvino import OPENVINO
from .to_torch import TORCH_EXPORT

TARGETS: dict[str, Target] = {
    "onnx": ONNX,
    "openvino": OPENVINO,
    "torch-export": TORCH_EXPORT,
    "executorch": EXECUTORCH,
}
PICTURES = 3  # drawn for the check where none are given
PICTURE_SIZES = ((375, 500), (480, 360))  # of images of any size, to check with


class Exported(NamedTuple):
    """A file that was written, and by how much each of its outputs differs at most from the detector in PyTorch."""

    path: Path
    differences: dict[str, float]


def export(
    model: SSD,
    path: str | Path,
    *,
    to: str = "onnx",
    level: str = "nms",
    inputs: str = "pixels",
    precision: str = "float32",
    dynamic_batch: bool = True,
    batch: int = 1,
    images: Sequence[Tensor] | None = None,
    candidates: int | None = None,
    name: str = "",
) -> Exported:
    """Write a detector for another engine, and compare what that says with what the detector says.

    Args:
        model: is left as it is; what is written is in eval mode.
        path: of the file; OpenVINO's .xml has a .bin beside it.
        to: a name in `TARGETS`.
        level: a name in `LEVELS`: how much of the detector goes into the file.
        inputs: a name in `INPUTS`: what the file takes.
        precision: one that the target has.
        dynamic_batch: it takes any number of images; else `batch` of them.
        batch: how many images, where the number is fixed.
        images: [3, H, W] RGB bytes to compare with, as the detector will see them; drawn by default. For int8 some
            hundred like those to come: it chooses its steps by what the network makes of these.
        candidates: of each image, that enter suppression in the graph; see `Suppressed`.
        name: of the model, to be written down in the file.

    Raises:
        ExportError: a ValueError, if what the file says differs; it is not written then.
        ValueError: for what the target or the level cannot do, and for a missing package.
    """
    path = Path(path)
    target, kind = _chosen(to, level, inputs, precision)
    _check_request(path, to, target, dynamic_batch, batch, level, candidates)
    if kind.calibrates and images is None:
        raise ValueError(
            f"{precision} is calibrated on images like those to come: pass some hundred (images=, --images)"
        )
    if level != "raw":
        check_detects_by_parts(model)
    target.check_installed()
    check_packages(kind.needs, kind.extra)
    pictures = drawn_pictures(PICTURES, PICTURE_SIZES[0]) if images is None else images
    check_images(pictures)
    reference = copy.deepcopy(model).eval().to("cpu", torch.float32).requires_grad_(False)
    module = _module(copy.deepcopy(reference), target, kind, level, inputs, candidates)
    counts = [1, 2, 3] if dynamic_batch else [batch]
    while sum(counts) < len(pictures):
        counts.append(counts[-1])
    batches = batches_of(reference.preprocess, pictures, inputs, counts)
    sizes = {2: Dim("height", min=2), 3: Dim("width", min=2)} if inputs == "images" else {}
    dynamic = ({0: Dim("batch", min=1)} if dynamic_batch else {}) | sizes
    example = torch.zeros_like(batches[1 if dynamic_batch else 0])  # two images: one would be taken for a constant
    each = (batches_of(reference.preprocess, [picture], inputs, [1])[0] for picture in pictures)
    calibration = each if kind.calibrates else ()
    program = Program(module.eval(), example, dynamic, facts_of(model, level, inputs, name), calibration)

    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=path.parent, prefix=".export-") as folder:
        unfinished = Path(folder) / path.name
        kind.write(program, unfinished)
        entering = module.candidates if isinstance(module, Suppressed) else None
        run = target.open(unfinished)
        differences = compare(reference, run, module.outputs, inputs, batches, kind.tolerance, entering)
        _move(Path(folder), path)
    return Exported(path, differences)


def facts_of(model: SSD, level: str, inputs: str, name: str = "") -> dict[str, str]:
    """What a file says of itself: texts by name, those that are no plain words as JSON."""
    facts: dict[str, Any] = {
        "model": name,
        "detzoo_version": __version__,
        "level": level,
        "inputs": inputs,
        "size": list(model.preprocess.size),
        "num_classes": model.head.num_classes,
        "classes": None if model.categories is None else list(model.categories.names),
    }
    if isinstance(model.preprocess, Preprocess):
        mean, std = (x.flatten().tolist() for x in (model.preprocess.mean, model.preprocess.std))
        facts |= {"mean": mean, "std": std, "resize": model.preprocess.resize}
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in facts.items()}


def _chosen(to: str, level: str, inputs: str, precision: str) -> tuple[Target, Precision]:
    """The target and its way to write this precision."""
    for what, word, known in (("target", to, TARGETS), ("level", level, LEVELS), ("inputs", inputs, INPUTS)):
        if word not in known:
            raise ValueError(f"unknown {what} {word!r}: {suggest(word, known)} (there are {', '.join(known)})")
    target = TARGETS[to]
    offers = (
        ("level", level, target.levels),
        ("inputs", inputs, target.inputs),
        ("precision", precision, target.precisions),
    )
    for what, word, offered in offers:
        if word not in offered:
            raise ValueError(f"{to} has no {what} {word!r}: it has {', '.join(offered)}")
    return target, target.precisions[precision]


def _check_request(
    path: Path, to: str, target: Target, dynamic_batch: bool, batch: int, level: str, candidates: int | None
) -> None:
    if path.suffix != target.suffix:
        raise ValueError(f"{path}: a file of {to} ends in {target.suffix}")
    if dynamic_batch and not target.dynamic:
        raise ValueError(f"{to} lays out its memory beforehand: choose a number of images (batch=1, --batch 1)")
    if batch < 1 or (dynamic_batch and batch != 1):
        raise ValueError(f"batch = {batch}: expected at least 1, and that it is given where dynamic_batch is not")
    if candidates is not None and level != "nms":
        raise ValueError(f"candidates = {candidates} are those that enter suppression, which level {level!r} has not")


def _module(model: SSD, target: Target, kind: Precision, level: str, inputs: str, candidates: int | None) -> Raw:
    if level == "nms":
        return LEVELS["nms"](model, inputs, kind.dtype, candidates=candidates, keep=target.keep)
    return LEVELS[level](model, inputs, kind.dtype)


def batches_of(preprocess: Preprocess, pictures: Sequence[Tensor], inputs: str, counts: Sequence[int]) -> list[Tensor]:
    """Batches of as many images, each other ones, as the exported detector takes them."""
    batches, start = [], 0
    for turn, count in enumerate(counts):
        chosen = [pictures[(start + k) % len(pictures)] for k in range(count)]
        start += count
        size = PICTURE_SIZES[turn % len(PICTURE_SIZES)] if inputs == "images" else preprocess.size
        pixels = torch.cat([_resized(picture, size) for picture in chosen])
        batches.append(preprocess(pixels) if inputs == "tensor" else pixels)
    return batches


def _resized(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """[3, H, W] to [1, 3, *size] of bytes; how is of no account, both sides get the same."""
    floats = to_bytes(picture[None]).float()
    resized = F.interpolate(floats, tuple(size), mode="bilinear", antialias=True)
    return resized.round().clamp(0, 255).to(torch.uint8)


def _move(folder: Path, path: Path) -> None:
    """Everything written beside `path`, and `path` itself last: who waits for it finds the others there."""
    others = sorted(file for file in folder.iterdir() if file.name != path.name)
    for file in (*others, folder / path.name):
        with replacing(path.parent / file.name) as unfinished:
            os.replace(file, unfinished)
