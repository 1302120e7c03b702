"""From a data set to batches: bytes at the network's size for training, whole images for evaluation.

Everything random follows from (seed, epoch, image), so a sample is the same whatever the number of workers or
processes, and an epoch can be begun again.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from .. import distributed
from ..images import UNREADABLE_IMAGE, to_rgb
from ..structures import PaddedTargets, Target, pad_targets
from .base import DetectionDataset
from .transforms import Augmentation, Size, augment


class Batch(NamedTuple):
    """What training sees: `images` [B, 3, S, S] bytes, `targets` in their pixels, and `indices` [B] into the data
    set.
    """

    images: Tensor
    targets: PaddedTargets
    indices: Tensor


class TrainingSamples(Dataset):
    """Augmented samples by (epoch, index): [S, S, 3] bytes, target, index. Crowd regions are no targets."""

    def __init__(self, dataset: DetectionDataset, size: Size, augmentation: Augmentation, seed: int) -> None:
        self.dataset = dataset
        self.size = size
        self.augmentation = augmentation
        self.seed = seed

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Target, int]:
        epoch, index = key
        annotations, rows = self.dataset.annotations, self.dataset.annotations.rows(index)
        single = ~annotations.crowd[rows]
        with readable(self.dataset, index) as image:
            pixels, target = augment(
                image,
                tuple(annotations.image_sizes[index].tolist()),
                annotations.boxes[rows][single],
                annotations.labels[rows][single],
                self.size,
                self.augmentation,
                seed=(self.seed, epoch, index),
            )
        return pixels, target, index


class WholeImages(Dataset):
    """Images as they are: [3, H, W] bytes and index."""

    def __init__(self, dataset: DetectionDataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        with readable(self.dataset, index) as image:
            pixels = np.array(to_rgb(image))
        return torch.from_numpy(pixels).movedim(-1, 0), index


@contextmanager
def readable(dataset: DetectionDataset, index: int) -> Iterator[Image.Image]:
    """Image number `index`, opened, to be decoded inside the block; its size was held against the annotations, since
    boxes of another image would train on nonsense.

    Raises:
        ValueError: naming the image, if it cannot be read or has another size.
    """
    try:
        image = dataset.open_image(index)
    except UNREADABLE_IMAGE as error:
        raise ValueError(f"{dataset.name(index)} cannot be read as an image: {error}") from error
    _check_size(image, dataset, index)
    try:
        yield image
    except UNREADABLE_IMAGE as error:
        raise ValueError(f"{dataset.name(index)} cannot be read as an image: {error}") from error


def _check_size(image: Image.Image, dataset: DetectionDataset, index: int) -> None:
    height, width = dataset.annotations.image_sizes[index].tolist()
    if image.size != (width, height):
        raise ValueError(
            f"{dataset.name(index)} is {image.height}x{image.width} pixels (height x width) but was annotated as "
            f"{height}x{width}: annotations and image do not belong together"
        )


class EpochBatches(Sampler[list[tuple[int, int]]]):
    """Shuffled batches of (epoch, index), the same global batches for any number of processes.

    `epoch` is set before an epoch is iterated; each process takes its share of every global batch, and an incomplete
    last batch is left out.

    Args:
        num_images: in the data set.
        batch_size: images of a step, over all processes.
        seed: of the shuffling.
        limit: batches of an epoch at most.

    Raises:
        ValueError: if there are fewer images than a batch holds, or the processes cannot share it evenly.
    """

    def __init__(self, num_images: int, batch_size: int, seed: int, limit: int | None = None) -> None:
        if batch_size < 1 or batch_size % distributed.world_size():
            raise ValueError(
                f"loader.batch_size = {batch_size} images a step "
                f"cannot be shared evenly by {distributed.world_size()} processes"
            )
        if num_images < batch_size:
            raise ValueError(
                f"the training set has {num_images} images, fewer than "
                f"loader.batch_size = {batch_size}: lower the batch size"
            )
        self.num_images = num_images
        self.batch_size = batch_size
        self.seed = seed
        self.limit = limit
        self.epoch = 0

    def __len__(self) -> int:
        batches = self.num_images // self.batch_size
        return batches if self.limit is None else min(batches, self.limit)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.num_images)
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            batch = order[start : start + self.batch_size]
            yield [(self.epoch, int(index)) for index in batch[distributed.rank() :: distributed.world_size()]]


def stack_samples(samples: Sequence[tuple[Tensor, Target, int]]) -> Batch:
    """Batch of training samples; pixels stay where they are, so the batch is channels-last."""
    pixels, targets, indices = zip(*samples, strict=True)
    return Batch(torch.stack(pixels).permute(0, 3, 1, 2), pad_targets(targets), torch.tensor(indices))


def list_images(samples: Sequence[tuple[Tensor, int]]) -> tuple[list[Tensor], list[int]]:
    """Images of different sizes and their indices."""
    images, indices = zip(*samples, strict=True)
    return list(images), list(indices)


def training_loader(
    dataset: DetectionDataset,
    size: Size,
    augmentation: Augmentation,
    *,
    batch_size: int,
    seed: int = 0,
    workers: int = 0,
    limit: int | None = None,
) -> DataLoader:
    """Batches for training; set `loader.batch_sampler.epoch` before each epoch.

    Args:
        dataset: images and annotations.
        size: height and width of the network's input.
        augmentation: what may happen to an image.
        batch_size: images of a step, over all processes.
        seed: of shuffling and augmentation.
        workers: loading processes beside this one.
        limit: batches of an epoch at most.
    """
    return DataLoader(
        TrainingSamples(dataset, size, augmentation, seed),
        batch_sampler=EpochBatches(len(dataset), batch_size, seed, limit),
        collate_fn=stack_samples,
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
        persistent_workers=workers > 0,
    )


def evaluation_loader(
    dataset: DetectionDataset, *, batch_size: int = 8, workers: int = 0, limit: int | None = None
) -> DataLoader:
    """Lists of whole images and their indices; each process gets its share, no image twice.

    Args:
        dataset: images and annotations.
        batch_size: images in a list.
        workers: loading processes beside this one.
        limit: stop after so many images of the data set.
    """
    total = len(dataset) if limit is None else min(limit, len(dataset))
    if total == 0:
        raise ValueError("the evaluation set has no images: name another split or file, or raise limit_images")
    return DataLoader(
        WholeImages(dataset),
        batch_size=batch_size,
        sampler=range(distributed.rank(), total, distributed.world_size()),
        collate_fn=list_images,
        num_workers=workers,
    )
