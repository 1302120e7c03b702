"""A detector as people use it: from anything that is an image to what is in it."""

import copy
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import overload

import numpy as np
import torch
from torch import Tensor, nn

from ..components.postprocess import check_fractions
from ..deploy.backends import accelerate
from ..devices import choose_device
from ..lookup import suggest
from ..models import SSD, SSDConfig
from ..models.opening import Opened
from ..structures import Detection
from .overlap import WORKERS, batched, in_threads
from .pretrained import open_pretrained, push, save_folder
from .reading import ImageLike, as_image, is_one_image
from .result import Result, class_ids, class_names

SCORE_THRESHOLD = 0.4


class Detector:
    """A model with all that is needed to use it: reading, batching, thresholds, names, and an engine to compute it.

    Args:
        model: what detects. It is left as it is: thresholds and device are those of a copy.
        backend: a name in `detzoo.deploy.backends.BACKENDS`; "eager" is PyTorch.
        precision: of the numbers that the backend computes in.
        device: such as "cpu" or "cuda:1"; "auto" is a GPU if there is one.
        batch_size: images that go through the network at once.
        score_threshold: least score that is kept.
        iou_threshold: a box goes if a better one of its class overlaps it by more; None for that of the model.
        classes: names of the classes that are kept, of what the model keeps of an image; None for all.
        calibration: some hundred images like those to come, which precision "int8" asks for.
        config: that builds the model, which `save_pretrained` needs; `from_pretrained` knows it.

    Raises:
        ValueError: for thresholds outside of [0, 1], unknown classes, and what the backend has not.
    """

    def __init__(
        self,
        model: SSD,
        *,
        backend: str = "eager",
        precision: str = "float32",
        device: str = "auto",
        batch_size: int = 8,
        score_threshold: float = SCORE_THRESHOLD,
        iou_threshold: float | None = None,
        classes: Sequence[str] | None = None,
        calibration: Iterable[ImageLike] | None = None,
        config: SSDConfig | None = None,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}: expected at least 1")
        self.model, self.config, self.batch_size = model, config, batch_size
        self.names, self.ids = tuple(class_names(model)), tuple(class_ids(model))
        self.labels = None if classes is None else _labels_of(classes, self.names)
        self.score_threshold = score_threshold
        own = _copy(model)
        own.postprocess = _with_limits(own.postprocess, score_threshold, iou_threshold)
        images = None if calibration is None else map(as_image, calibration)
        self.engine = accelerate(own, backend, precision, device=choose_device(device), calibration=images)

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        *,
        backend: str = "eager",
        precision: str = "float32",
        device: str = "auto",
        batch_size: int = 8,
        score_threshold: float = SCORE_THRESHOLD,
        iou_threshold: float | None = None,
        classes: Sequence[str] | None = None,
        calibration: Iterable[ImageLike] | None = None,
        origin: str | None = None,
        trust_parts: bool = False,
        revision: str | None = None,
    ) -> "Detector":
        """A detector by name or path; options are those of the class, and these.

        Args:
            source: what `detzoo.load` takes (a name of the zoo, a run folder, a checkpoint, another project's file);
                a folder that `save_pretrained` wrote; or "owner/name" on the Hugging Face hub, if no such path exists.
            origin: see `detzoo.load`.
            trust_parts: see `detzoo.load`.
            revision: branch, tag or commit on the hub.

        Raises:
            ValueError: if there is no such thing, or it cannot be read.
        """
        opened = open_pretrained(source, origin=origin, trust_parts=trust_parts, revision=revision)
        return cls(
            opened.model,
            backend=backend,
            precision=precision,
            device=device,
            batch_size=batch_size,
            score_threshold=score_threshold,
            iou_threshold=iou_threshold,
            classes=classes,
            calibration=calibration,
            config=opened.config,
        )

    @overload
    def __call__(self, images: ImageLike) -> Result: ...
    @overload
    def __call__(self, images: Iterable[ImageLike]) -> list[Result]: ...
    def __call__(self, images: ImageLike | Iterable[ImageLike]) -> Result | list[Result]:
        """What is in an image: a path, a Pillow image, an array [H, W, 3] or a tensor [3, H, W] (RGB, bytes or floats
        in [0, 1]); for several of them, also as one array or tensor with a further dimension, a list of results.

        Raises:
            ValueError: naming the file, if one cannot be read.
        """
        if is_one_image(images):
            return next(self.stream([images]))
        return list(self.stream(images))

    def stream(self, images: Iterable[ImageLike], *, workers: int = WORKERS) -> Iterator[Result]:
        """The same for any number of images, one result after the other; files are read by `workers` threads while the
        network computes, and only a few batches are in memory.
        """
        loaded = in_threads(_read, images, workers, ahead=2 * self.batch_size)
        for batch in batched(loaded, self.batch_size):
            found = self.detect([image for _, image in batch])
            for (thing, image), detection in zip(batch, found):
                path = str(thing) if isinstance(thing, str | Path) else None
                yield self.result(detection, image, path=path)

    def detect(self, images: Sequence[Tensor]) -> list[Detection]:
        """What is in each image [3, H, W], best first, on the CPU; all of them go through the network at once."""
        return [self._kept(found) for found in self.engine.detect(images)]

    def result(self, found: Detection, image: Tensor, *, path: str | None = None) -> Result:
        """Detections of an image with what belongs to them; pixels are kept only where there is no file."""
        size = (image.shape[-2], image.shape[-1])
        kept = image if path is None else None
        return Result(path, size, found["boxes"], found["labels"], found["scores"], self.names, self.ids, kept)

    def save_pretrained(self, folder: str | Path, *, licence: str | None = None, overwrite: bool = False) -> Path:
        """Write weights (safetensors), config.json and a model card into a folder that `from_pretrained` reads.

        Args:
            folder: is made if it is missing.
            licence: for the card, as the hub abbreviates it ("bsd-3-clause"); by default that of a card which is there
                already, and "" for none.
            overwrite: replace files of these names that detzoo did not write; those that it wrote are replaced anyway.

        Raises:
            ValueError: if this detector was made from a model and no config was given, or for files of others.
        """
        return save_folder(folder, Opened(self.model, self._config()), licence=licence, overwrite=overwrite)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool = False,
        token: str | None = None,
        message: str = "Add a detector of detzoo",
        licence: str | None = None,
    ) -> str:
        """Write the same to "owner/name" on the Hugging Face hub, which is made if it is missing. A card that is there
        is replaced, so say its licence again.

        Returns:
            Its address.
        """
        opened = Opened(self.model, self._config())
        return push(repo_id, opened, private=private, token=token, message=message, licence=licence)

    def _config(self) -> SSDConfig:
        if self.config is None:
            raise ValueError("the config that builds this model is not known: Detector(model, config=...)")
        return self.config

    def _kept(self, found: Detection) -> Detection:
        boxes, labels, scores = found["boxes"].float().cpu(), found["labels"].cpu(), found["scores"].float().cpu()
        kept = scores >= self.score_threshold  # suppression may have lowered them
        if self.labels is not None:
            kept &= torch.isin(labels, self.labels)
        return Detection(boxes=boxes[kept], labels=labels[kept], scores=scores[kept])


def _copy(model: SSD) -> SSD:
    """A copy with parts of its own, whose tensors are those of the model."""
    return copy.deepcopy(model, {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())})


def _with_limits(postprocess: nn.Module, score_threshold: float, iou_threshold: float | None) -> nn.Module:
    """Suppression with other thresholds. What has a lower score than is kept pushes nothing out that has a higher one,
    so it need not take part.
    """
    check_fractions(score_threshold=score_threshold)
    wanted = {"score_threshold": _just_below(score_threshold)}  # there, scores must be above it
    if iou_threshold is not None:
        check_fractions(iou_threshold=iou_threshold)
        wanted["iou_threshold"] = iou_threshold
    for name, value in wanted.items():
        if not hasattr(postprocess, name):
            raise ValueError(f"{type(postprocess).__name__} has no {name}, and cannot be told to keep to {value}")
        setattr(postprocess, name, value)
    return postprocess


def _just_below(threshold: float) -> float:
    """The next lower number of float32, in which scores are; 0 stays 0, since no score is."""
    return max(0.0, float(np.nextafter(np.float32(threshold), np.float32(-1))))


def _labels_of(classes: Sequence[str], names: Sequence[str]) -> Tensor:
    """The labels of classes, [K].

    Raises:
        ValueError: for those that the model does not know.
    """
    if isinstance(classes, str):
        raise ValueError(f"classes is {classes!r}: expected a list of names")
    if unknown := [name for name in classes if name not in names]:
        raise ValueError("the model has " + "; ".join(f"no class {name!r}: {suggest(name, names)}" for name in unknown))
    return torch.tensor([names.index(name) + 1 for name in classes])


def _read(thing: ImageLike) -> tuple[ImageLike, Tensor]:
    return thing, as_image(thing)
