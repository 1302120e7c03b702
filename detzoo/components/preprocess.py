"""From images of any size to the network's input, and boxes there and back."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor, nn

from ..images import to_rgb
from ..lookup import suggest
from ..ops import scale_boxes
from ..structures import Detection, PaddedTargets, Target, pad_targets
from .resizes import RESIZES, Size, to_floats

Images = Sequence[Tensor] | Tensor


class Preprocess(nn.Module):
    """Warp to a fixed size and normalise; boxes follow their image, and detections go back to its own pixels.

    Args:
        size: height and width of the network's input.
        mean: per channel, for RGB in [0, 1].
        std: per channel, for RGB in [0, 1].
        resize: a name in `RESIZES`; an image that has this size already is not touched. `"opencv"` and `"pillow"` work
            on bytes as those libraries do, and round floats to bytes.

    Raises:
        ValueError: for an unknown `resize`.
    """

    def __init__(
        self,
        size: tuple[int, int],
        mean: tuple[float, float, float] = (0.485, 0.456, 0.406),
        std: tuple[float, float, float] = (0.229, 0.224, 0.225),
        resize: str = "bilinear",
    ) -> None:
        super().__init__()
        if resize not in RESIZES:
            raise ValueError(f"preprocess.resize: unknown way to resize {resize!r}: {suggest(resize, RESIZES)}")
        if not min(std) > 0:
            raise ValueError(f"preprocess.std must be positive, got {tuple(std)}")
        self.size = tuple(size)
        self.resize = resize
        # not in the state dict: these numbers are configuration, not weights
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32)[:, None, None], persistent=False)

    def forward(self, images: Images) -> Tensor:
        """Images, [3, H, W] each or [B, 3, H, W], to the network's input [B, 3, S, S].

        Raises:
            ValueError: for no image at all, or one that is not RGB.
        """
        check_images(images)
        if isinstance(images, Tensor):
            batch = self._fit(images)
        else:
            batch = torch.cat([self._fit(image[None]) for image in images])
        return self._normalised(batch)

    def normalise(self, batch: Tensor) -> Tensor:
        """A batch [B, 3, H, W] of the loader, which chose its size, to the network's input [B, 3, H, W].

        Raises:
            ValueError: for a list of images, or for one that is not RGB.
        """
        if not isinstance(batch, Tensor):
            raise ValueError("padded targets go with one batch [B, 3, H, W] in whose pixels they are, got a list")
        check_images(batch)
        return self._normalised(self._floats(batch))

    def fit_targets(self, targets: Sequence[Target] | PaddedTargets, images: Images) -> PaddedTargets:
        """Ground truth in pixels of `images` to padded ground truth in pixels of the network's input.

        Padded targets are those of a batch that is only normalised, and stay as they are.
        """
        if isinstance(targets, PaddedTargets):
            return targets.to(self.mean.device, non_blocking=True)
        sizes = image_sizes(images)
        fitted = [
            Target(boxes=scale_boxes(target["boxes"].reshape(-1, 4).float(), size, self.size), labels=target["labels"])
            for target, size in zip(targets, sizes, strict=True)
        ]
        return pad_targets(fitted).to(self.mean.device)

    def undo(self, detections: Sequence[Detection], images: Images) -> list[Detection]:
        """Detections in pixels of the network's input to pixels of each image."""
        return [
            {**detection, "boxes": scale_boxes(detection["boxes"], self.size, size)}
            for detection, size in zip(detections, image_sizes(images), strict=True)
        ]

    def _fit(self, batch: Tensor) -> Tensor:
        """[B, 3, H, W] of bytes or floats to floats in [0, 1] at the network's size."""
        if batch.shape[-2:] == self.size:
            return self._floats(batch)
        batch, resize = batch.to(self.mean.device), RESIZES[self.resize]
        if batch.device.type != "cpu":
            return resize(batch, self.size, self.mean.dtype)
        # one colour at a time: the floats of a whole photograph do not fit a processor's cache
        fitted = self.mean.new_empty(*batch.shape[:2], *self.size)
        for number, plane in enumerate(batch.split(1, dim=1)):
            fitted[:, number : number + 1] = resize(plane, self.size, self.mean.dtype)
        return fitted

    def _normalised(self, batch: Tensor) -> Tensor:
        return (batch - self.mean).div_(self.std)

    def _floats(self, batch: Tensor) -> Tensor:
        """Bytes or floats to floats in [0, 1], of the model's precision and on its device."""
        return to_floats(batch.to(self.mean.device), self.mean.dtype)

    def extra_repr(self) -> str:
        mean, std = ([round(value, 5) for value in buffer.flatten().tolist()] for buffer in (self.mean, self.std))
        return f"size={self.size}, mean={mean}, std={std}, resize={self.resize!r}"


def image_sizes(images: Images) -> list[Size]:
    """Height and width of each image."""
    return [tuple(image.shape[-2:]) for image in images]


_WANTED = "expected a list of [3, H, W] tensors or a [B, 3, H, W] batch"


def check_images(images: Images) -> None:
    """Raise a ValueError that names the first image which is not RGB, uint8 or float, or has no pixels."""
    if isinstance(images, Tensor):
        return _check_batch(images)
    if not isinstance(images, Sequence) or isinstance(images, (str, bytes)):
        raise ValueError(f"images are a {type(images).__name__}: {_WANTED}")
    if not images:
        raise ValueError(f"got no images: {_WANTED}")
    for index, image in enumerate(images):
        if not isinstance(image, Tensor):
            raise ValueError(
                f"image {index} is a {type(image).__name__}: ToRGB (weights.transforms()) makes a tensor of it"
            )
        if image.ndim != 3 or image.shape[0] != 3 or image.numel() == 0:
            raise ValueError(f"image {index} has shape {tuple(image.shape)}: expected RGB, [3, height, width]")
        _check_dtype(image, f"image {index} is")


def _check_batch(batch: Tensor) -> None:
    """All images of one tensor are alike, and nothing is asked of each."""
    if batch.ndim == 4 and len(batch) == 0:
        raise ValueError(f"got no images: {_WANTED}")
    if batch.ndim != 4 or batch.shape[1] != 3 or batch.numel() == 0:
        raise ValueError(f"images are one tensor of shape {tuple(batch.shape)}: {_WANTED}")
    _check_dtype(batch, "images are")


def _check_dtype(pixels: Tensor, what: str) -> None:
    if pixels.dtype != torch.uint8 and not pixels.is_floating_point():
        raise ValueError(f"{what} {pixels.dtype}: expected uint8, or floats in [0, 1]")


def check_targets(targets: Sequence[Target], images: Images, num_classes: int) -> None:
    """Raise a ValueError that names every box without area and every label out of range, by image and box number."""
    if len(targets) != len(images):
        raise ValueError(f"got {len(images)} images and {len(targets)} targets: expected one target for each image")
    problems = []
    for index, target in enumerate(targets):
        if problem := _shape_problem(target):
            problems.append(f"image {index}: {problem}")
            continue
        boxes, labels = target["boxes"].reshape(-1, 4), target["labels"]
        flat = ~((boxes[:, 2:] > boxes[:, :2]).all(dim=1) & boxes.isfinite().all(dim=1))
        foreign = (labels < 1) | (labels >= num_classes)
        problems += [f"image {index}, box {k}: {boxes[k].tolist()} is no xyxy box with an area" for k in _where(flat)]
        problems += [
            f"image {index}, box {k}: label {int(labels[k])} is not in 1..{num_classes - 1}" for k in _where(foreign)
        ]
    if problems:
        raise ValueError("\n  - ".join(["bad targets; drop or mend them before training:", *problems]))


def _shape_problem(target: Target) -> str | None:
    """Why this is no target at all, or None."""
    if not isinstance(target, Mapping) or not {"boxes", "labels"} <= target.keys():
        given = sorted(target) if isinstance(target, Mapping) else type(target).__name__
        return f"expected a dict of boxes and labels, got {given}"
    boxes, labels = target["boxes"], target["labels"]
    if not isinstance(boxes, Tensor) or not isinstance(labels, Tensor):
        return f"expected tensors, got boxes as {type(boxes).__name__} and labels as {type(labels).__name__}"
    if labels.ndim != 1 or labels.dtype == torch.bool or labels.is_floating_point() and len(labels):
        return f"expected labels [N] of integers, got {tuple(labels.shape)} of {labels.dtype}"
    if boxes.numel() != 4 * len(labels) or (len(labels) and boxes.shape != (len(labels), 4)):
        return f"expected one box [4] for each of {len(labels)} labels, got boxes of shape {tuple(boxes.shape)}"
    return None


def _where(mask: Tensor) -> list[int]:
    return mask.nonzero().flatten().tolist()


class ToRGB:
    """Any image as a [3, H, W] RGB tensor: a Pillow image (turned as its EXIF says), an array [H, W] or [H, W, 3], a
    tensor.

    Pillow images and byte arrays stay bytes; floats stay floats and are taken to lie in [0, 1].

    Raises:
        ValueError: for other shapes and types.
    """

    def __call__(self, image: Image.Image | np.ndarray | Tensor) -> Tensor:
        if isinstance(image, Image.Image):
            image = np.array(to_rgb(ImageOps.exif_transpose(image)))
        if isinstance(image, np.ndarray):
            if image.ndim == 3 and image.shape[-1] not in (1, 3):
                raise ValueError(
                    f"an array has shape {image.shape}: expected [height, width, 3], RGB, or [height, width]"
                )
            image = torch.from_numpy(np.ascontiguousarray(image))
            image = image.movedim(-1, 0) if image.ndim == 3 else image
        if image.ndim == 2 or (image.ndim == 3 and image.shape[0] == 1):
            image = image.expand(3, *image.shape[-2:])
        check_images([image])
        return image

    def __repr__(self) -> str:
        return "ToRGB()"
