"""Samples a second on one core: torchvision's SSD preset and ours, in turn in one run.

JPEG bytes in memory go in. What comes out is what a training step needs of an image: 300x300 pixels and the boxes in
them, bytes here (normalised on the device), floats there. Seconds are those that the one thread spends on the CPU.
"""

import argparse
import io
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from omegaconf import OmegaConf
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from detzoo.annotations import Annotations, ImageAnnotations
from detzoo.categories import Categories
from detzoo.data import TRANSFORMS, DetectionDataset, SyntheticDataset
from detzoo.data.loaders import Key, TrainingSamples
from detzoo.engine.card_kinds import CostRow, Costs
from detzoo.engine.cards import write_card
from detzoo.engine.made import made_here
from detzoo.lookup import build_part

PRESETS = Path(__file__).parents[1] / "configs" / "transforms"
BOXES = 7  # of an image, where nothing is annotated; COCO's mean
MEAN = (123, 117, 104)
CLOCK = "JPEG bytes in memory to pixels of the network's size and their boxes; time of one thread on the processor"

Form = Callable[[int, int], object]  # round and number of an image to its sample


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", nargs="?", type=Path, help="of JPEG files; by default 640x480 ones are generated")
    parser.add_argument("--images", type=int, default=64, help="at most")
    parser.add_argument("--rounds", type=int, default=5, help="over all images")
    parser.add_argument("--transforms", default="ssd", help="a preset, by the name of its file in configs/transforms")
    parser.add_argument("--size", type=int, default=300, help="height and width of the network's input")


def measure(options: argparse.Namespace) -> None:
    """Print milliseconds and ratios."""
    torch.set_num_threads(1)
    images = read_folder(options.folder, options.images) if options.folder else generate(options.images)
    forms = {
        "torchvision, pil": torchvision_form("pil", images, options.size),
        "torchvision, tensor": torchvision_form("tensor", images, options.size),
        f"detzoo, {options.transforms}": our_form(read_preset(options.transforms), images, options.size),
        "decoding alone": lambda _, index: images.open_image(index).convert("RGB"),
    }
    print(describe(images, options))
    seconds = time_in_turn(forms, options.rounds, len(images))
    print(table(seconds, list(forms)))
    if options.card:
        made = made_here(torch.device("cpu"), config=vars(options))
        write_card(options.card, Costs(subject="data", clock=CLOCK, rows=card_rows(seconds, list(forms)), made=made))


class Files(DetectionDataset):
    """JPEG files in memory."""

    def __init__(self, files: list[bytes], annotations: Annotations) -> None:
        self.files = files
        self.annotations = annotations

    def open_image(self, index: int) -> Image.Image:
        return Image.open(io.BytesIO(self.files[index]))

    def name(self, index: int) -> str:
        return f"image {index}"


def read_folder(folder: Path, count: int) -> Files:
    """The first files of a folder, each with some boxes: what is in them does not matter here."""
    paths = sorted(folder.glob("*.jpg"))[:count]
    if not paths:
        raise ValueError(f"{folder}: no file here ends in .jpg; expected a folder of photographs")
    files, rng = [path.read_bytes() for path in paths], np.random.default_rng(0)
    sizes = [Image.open(io.BytesIO(file)).size[::-1] for file in files]
    annotations = [
        ImageAnnotations(number, size, draw_boxes(rng, size), np.arange(BOXES) + 1) for number, size in enumerate(sizes)
    ]
    names = Categories(tuple(f"class {k}" for k in range(BOXES)))
    return Files(files, Annotations.pack(names, annotations))


def draw_boxes(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """Boxes [N, 4] that begin in the first six tenths of the image and take up to a third of it."""
    sides = np.array(size[::-1])
    corners = rng.random((BOXES, 2)) * 0.6 * sides
    return np.concatenate((corners, corners + rng.random((BOXES, 2)) * 0.35 * sides + 5), axis=1).clip(0, [*sides] * 2)


def generate(count: int) -> Files:
    """Synthetic pictures of COCO's size as JPEG files."""
    pictures, files = SyntheticDataset(count, size=(480, 640)), []
    for index in range(count):
        file = io.BytesIO()
        pictures.open_image(index).save(file, "JPEG", quality=90)
        files.append(file.getvalue())
    return Files(files, pictures.annotations)


def read_preset(name: str) -> object:
    path = PRESETS / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(path.stem for path in PRESETS.glob("*.yaml")))
        raise ValueError(f"--transforms {name}: expected one of {known}")
    return build_part(TRANSFORMS, OmegaConf.to_container(OmegaConf.load(path)), "transforms")


def our_form(augmentation: object, images: Files, size: int) -> Form:
    samples = TrainingSamples(images, augmentation, seed=0)
    return lambda epoch, index: samples[Key(epoch, index, (size, size))]


def torchvision_form(kind: str, images: Files, size: int) -> Form:
    """The reference preset for SSD, on Pillow's images or on tensors, and the resizing that its model does."""
    transforms, annotations = torchvision_preset(kind), images.annotations

    def sample(_: int, index: int) -> tuple[Tensor, dict]:
        image, rows = images.open_image(index).convert("RGB"), annotations.rows(index)
        boxes = torch.from_numpy(annotations.boxes[rows]).float()
        boxes = tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=image.size[::-1])
        image, target = transforms(image, {"boxes": boxes, "labels": torch.from_numpy(annotations.labels[rows])})
        return torch.nn.functional.interpolate(image[None], size=(size, size), mode="bilinear"), target

    return sample


def torchvision_preset(kind: str) -> v2.Compose:
    """`references/detection` of torchvision, `--data-augmentation ssd`, with its default means as the fill."""
    on_tensors = kind == "tensor"
    return v2.Compose(
        [
            *[v2.ToImage()] * on_tensors,
            v2.RandomPhotometricDistort(),
            v2.RandomZoomOut(fill={tv_tensors.Image: MEAN, "others": 0} if on_tensors else MEAN),
            v2.RandomIoUCrop(),
            v2.RandomHorizontalFlip(),
            *[v2.PILToTensor()] * (not on_tensors),
            v2.ToDtype(torch.float, scale=True),
            v2.ConvertBoundingBoxFormat("XYXY"),
            v2.SanitizeBoundingBoxes(),
            v2.ToPureTensor(),
        ]
    )


def time_in_turn(forms: dict[str, Form], rounds: int, images: int) -> np.ndarray:
    """Mean seconds of an image, [rounds, forms]; in each round all images go through one form after the other."""
    torch.manual_seed(0)
    seconds = np.zeros((rounds + 1, len(forms)))
    for number in range(rounds + 1):  # the first one warms up
        for column, form in enumerate(forms.values()):
            start = time.process_time()
            for index in range(images):
                form(number, index)
            seconds[number, column] = (time.process_time() - start) / images
    return seconds[1:]


def card_rows(seconds: np.ndarray, names: list[str]) -> tuple[CostRow, ...]:
    """Means over the rounds, as in the table."""
    ratios = (seconds / seconds[:, 2:3]).mean(axis=0)
    numbers = zip(names, (1e3 * seconds.mean(axis=0)).tolist(), ratios.tolist(), strict=True)
    return tuple(
        CostRow(name=name, numbers={"ms an image": round(mean, 3), "time against ours": round(ratio, 3)})
        for name, mean, ratio in numbers
    )


def describe(images: Files, options: argparse.Namespace) -> str:
    height, width = images.annotations.image_sizes.mean(axis=0)
    kilobytes = np.mean([len(file) for file in images.files]) / 1000
    boxes = len(images.annotations.boxes) / len(images)
    return (
        f"{len(images)} JPEG files of {width:.0f}x{height:.0f} pixels, {kilobytes:.0f} kB and {boxes:.1f} boxes in the "
        f"mean, to {options.size}x{options.size}; one thread, {options.rounds} rounds"
    )


def table(seconds: np.ndarray, names: list[str]) -> str:
    """Means over the rounds, and how many times the third form is as fast, with the least and the most of a round."""
    ratios = seconds / seconds[:, 2:3]
    lines = [f"{'':24}{'ms an image':>12}{'images/s':>10}   time against ours"]
    for name, mean, ratio in zip(names, seconds.mean(axis=0), ratios.T, strict=True):
        spread = f"{ratio.mean():.2f} ({ratio.min():.2f} to {ratio.max():.2f})"
        lines.append(f"{name:24}{1e3 * mean:12.2f}{1 / mean:10.0f}   {spread}")
    return "\n".join(lines)
