"""From a data set to batches: bytes at the network's size for training, whole images for evaluation.

Everything random follows from (seed, epoch, image), so a sample is the same whatever the number of workers or
processes, and an epoch can be begun again, at any batch.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from .. import distributed
from ..images import UNREADABLE_IMAGE, to_rgb, unreadable
from ..structures import PaddedTargets, Target, pad_targets
from .base import DetectionDataset
from .check import size_problem
from .geometry import Size
from .shots import Record
from .transforms import Augmentation, augment


class Batch(NamedTuple):
    """What training sees: `images` [B, 3, S, S] bytes, `targets` in their pixels, and `indices` [B] into the data
    set.
    """

    images: Tensor
    targets: PaddedTargets
    indices: Tensor


class Key(NamedTuple):
    """What a training sample follows from, beside the seed: its epoch, its image, and the size of its batch."""

    epoch: int
    index: int
    size: Size


class Records(Sequence[Record]):
    """The images of a data set by number, opened when needed. Crowd regions are left out."""

    def __init__(self, dataset: DetectionDataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Record:
        annotations, rows = self.dataset.annotations, self.dataset.annotations.rows(index)
        single = ~annotations.crowd[rows]
        size = tuple(annotations.image_sizes[index].tolist())
        boxes, labels = annotations.boxes[rows][single], annotations.labels[rows][single]
        return Record(size, boxes, labels, partial(readable, self.dataset, index))


class TrainingSamples(Dataset):
    """Augmented samples by `Key`: [height, width, 3] bytes, target, index."""

    def __init__(self, dataset: DetectionDataset, augmentation: Augmentation, seed: int) -> None:
        self.dataset = dataset
        self.records = Records(dataset)
        self.augmentation = augmentation
        self.seed = seed

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: Key) -> tuple[np.ndarray, Target, int]:
        epoch, index, size = key
        pixels, target = augment(self.records, index, size, self.augmentation, seed=self.seed, epoch=epoch)
        return pixels, target, index


class WholeImages(Dataset):
    """Images as they are, [3, H, W] bytes, what is to be found in them, and indices."""

    def __init__(self, dataset: DetectionDataset) -> None:
        self.dataset = dataset
        self.records = Records(dataset)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Tensor, Target, int]:
        record = self.records[index]
        with record.open() as image:
            image = to_rgb(image)
        pixels = np.array(image)
        target = Target(boxes=torch.from_numpy(record.boxes).float(), labels=torch.from_numpy(record.labels))
        return torch.from_numpy(pixels).movedim(-1, 0), target, index


@contextmanager
def readable(dataset: DetectionDataset, index: int) -> Iterator[Image.Image]:
    """Image number `index`, opened, to be decoded inside the block (and nothing else: what fails there is put down to
    the file); its size was held against the annotations, since boxes of another image would train on nonsense.

    Raises:
        ValueError: naming the image, if it cannot be read or has another size.
    """
    name = dataset.name(index)
    with _put_down_to(name):
        image = dataset.open_image(index)
    if problem := size_problem(image, dataset, index):
        raise ValueError(f"{problem}: annotations and image do not belong together")
    with _put_down_to(name):
        yield image


@contextmanager
def _put_down_to(name: str) -> Iterator[None]:
    """Errors of reading are those of the image called so."""
    try:
        yield
    except UNREADABLE_IMAGE as error:
        raise ValueError(
            f"{unreadable(name, error)}; check_images=decode finds such files before the first step, and with "
            "broken_images=drop leaves them out"
        ) from error


class EpochBatches(Sampler[list[Key]]):
    """Shuffled batches of keys, the same global batches for any number of processes.

    Each process takes its share of every global batch, and an incomplete last batch is left out. All images of a batch
    have the same size, in all processes.

    Attributes:
        epoch: which order and which sizes; set before an epoch is iterated.
        first: the batch to begin with, where the ones before it are done already; the length is that of a whole epoch.

    Args:
        num_images: in the data set.
        batch_size: images of a step, over all processes.
        sizes: heights and widths of which each batch has one.
        seed: of the shuffling.
        limit: batches of an epoch at most.

    Raises:
        ValueError: if there are fewer images than a batch holds, or the processes cannot share it evenly.
    """

    def __init__(
        self, num_images: int, batch_size: int, sizes: Sequence[Size], seed: int, limit: int | None = None
    ) -> None:
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
        self.sizes = [tuple(size) for size in sizes]
        self.seed = seed
        self.limit = limit
        self.epoch = 0
        self.first = 0

    def __len__(self) -> int:
        batches = self.num_images // self.batch_size
        return batches if self.limit is None else min(batches, self.limit)

    def __iter__(self) -> Iterator[list[Key]]:
        rng = np.random.default_rng((self.seed, self.epoch))
        order = rng.permutation(self.num_images)
        sizes = rng.integers(len(self.sizes), size=self.num_images // self.batch_size)
        for number in range(self.first, len(self)):
            batch = order[number * self.batch_size :][: self.batch_size]
            share = batch[distributed.rank() :: distributed.world_size()].tolist()
            yield [Key(self.epoch, index, self.sizes[sizes[number]]) for index in share]


def stack_samples(samples: Sequence[tuple[np.ndarray, Target, int]]) -> Batch:
    """Batch of training samples; the order of bytes stays, so the batch is channels-last."""
    pixels, targets, indices = zip(*samples, strict=True)
    return Batch(torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2), pad_targets(targets), torch.tensor(indices))


def list_images(samples: Sequence[tuple[Tensor, Target, int]]) -> tuple[list[Tensor], list[Target], list[int]]:
    """Images of different sizes, what is to be found in them, and their indices."""
    images, targets, indices = zip(*samples, strict=True)
    return list(images), list(targets), list(indices)


class TrainingLoader(DataLoader):
    """Iterates over `Batch`es; made by `training_loader`."""

    dataset: TrainingSamples
    batch_sampler: EpochBatches

    @property
    def source(self) -> DetectionDataset:
        """The data set that the indices of a batch refer to."""
        return self.dataset.dataset

    def begin(self, epoch: int, first: int = 0) -> None:
        """Iterate next over this epoch, from its batch number `first` on."""
        self.batch_sampler.epoch, self.batch_sampler.first = epoch, first


class EvaluationLoader(DataLoader):
    """Iterates over lists of images, targets and indices; made by `evaluation_loader`."""

    dataset: WholeImages

    @property
    def source(self) -> DetectionDataset:
        """The data set that the indices refer to."""
        return self.dataset.dataset


def training_loader(
    dataset: DetectionDataset,
    size: Size,
    augmentation: Augmentation,
    *,
    batch_size: int,
    seed: int = 0,
    workers: int = 0,
    limit: int | None = None,
) -> TrainingLoader:
    """Batches for training; call `loader.begin(epoch)` before each epoch.

    Args:
        dataset: images and annotations.
        size: height and width of the network's input.
        augmentation: what may happen to an image, and to the size of a batch.
        batch_size: images of a step, over all processes.
        seed: of shuffling and augmentation.
        workers: loading processes beside this one, of one thread each.
        limit: batches of an epoch at most.
    """
    return TrainingLoader(
        TrainingSamples(dataset, augmentation, seed),
        batch_sampler=EpochBatches(len(dataset), batch_size, augmentation.sizes(size), seed, limit),
        collate_fn=stack_samples,
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
        persistent_workers=workers > 0,
        generator=torch.Generator(),  # else each iteration, also a resumed one, takes a number from the global one
    )


def evaluation_loader(
    dataset: DetectionDataset, *, batch_size: int = 8, workers: int = 0, limit: int | None = None
) -> EvaluationLoader:
    """Lists of whole images, their targets in pixels of the image, without crowd regions, and their indices.

    Each process gets its share, no image twice.

    Args:
        dataset: images and annotations.
        batch_size: images in a list.
        workers: loading processes beside this one, of one thread each.
        limit: stop after so many images of the data set.
    """
    total = len(dataset) if limit is None else min(limit, len(dataset))
    if total == 0:
        raise ValueError("the evaluation set has no images: name another split or file, or raise limit_images")
    return EvaluationLoader(
        WholeImages(dataset),
        batch_size=batch_size,
        sampler=range(distributed.rank(), total, distributed.world_size()),
        collate_fn=list_images,
        num_workers=workers,
        generator=torch.Generator(),
    )
