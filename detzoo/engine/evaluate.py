"""From a model and a data set to numbers."""

import logging
from collections.abc import Mapping

import torch
from torch import Tensor

from .. import distributed
from ..categories import Categories
from ..data import EvaluationLoader
from ..metrics.base import Metric
from ..models import SSD
from ..structures import Detection
from .log import progress

logger = logging.getLogger("detzoo")


@torch.no_grad()
def evaluate(model: SSD, loader: EvaluationLoader, metric: Metric) -> dict[str, float]:
    """Detect in every image of the loader and measure, over all processes; the model is left in the mode it was in.

    Detections of classes that the data set lacks are dropped; the others are matched by name where the model knows
    names. Where both have the same classes and the model gives losses, the mean ones of the images come along as
    `val_loss`, `val_<name>`; they are divided by the matches of each batch of evaluation in each process.

    Raises:
        ValueError: if no name is known to both, or the model has no names and another number of classes.
    """
    _check_number(model, loader.source.categories)
    training = model.training
    model.eval()
    distributed.share_buffers(model)
    metric.reset()
    dataset = loader.source
    labels = label_map(model.categories, dataset.categories)
    losses = MeanLosses()
    for images, targets, indices in progress(loader, "evaluate", len(loader)):
        if model.gives_losses and model.categories is not None and labels is None:
            values, detections = model.evaluate(images, targets)
            losses.update(values, len(images))
        else:
            detections = model.detect(images)
        image_ids = dataset.annotations.image_ids[indices].tolist()
        metric.update(image_ids, [_relabel(found, labels) for found in detections])
    model.train(training)
    for results in distributed.gather_to_main(metric.results):
        metric.merge(results)
    numbers = distributed.from_main(metric.compute() if distributed.is_main() else None)
    return {**losses.over_processes(), **numbers}


class MeanLosses:
    """Mean losses of images, from those of batches."""

    def __init__(self) -> None:
        self.images = 0
        self.sums: dict[str, float] = {}

    def update(self, losses: Mapping[str, Tensor], images: int) -> None:
        """Take the losses of a batch of so many images."""
        self.images += images
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + float(value) * images

    def over_processes(self) -> dict[str, float]:
        """`val_loss`, their sum, and `val_<name>` of each; nothing where there was nothing to average."""
        shares = [share for share in distributed.gather((self.images, self.sums)) if share[0]]
        if not shares:
            return {}
        total = sum(images for images, _ in shares)
        means = {f"val_{name}": sum(sums[name] for _, sums in shares) / total for name in shares[0][1]}
        return {"val_loss": sum(means.values()), **means}


def check_same_classes(train: Categories, val: Categories) -> None:
    """Raise a ValueError if the two halves of a data set name other classes, or number them otherwise."""
    if train.names != val.names:
        raise ValueError(
            f"dataset.train has the classes {', '.join(train.names)}, dataset.val {', '.join(val.names)}: expected "
            "the same in the same order; a data set of VOC's form takes them as classes=[...]"
        )


def _check_number(model: SSD, dataset: Categories) -> None:
    if model.categories is None and model.head.num_classes != dataset.num_classes:
        raise ValueError(
            f"nobody says what the model's labels mean, and it tells {model.head.num_classes} classes with background "
            f"apart where the data set has {dataset.num_classes}: expected as many, in the data set's order"
        )


def label_map(model: Categories | None, dataset: Categories) -> torch.Tensor | None:
    """For each label of the model the data set's label of the same name, 0 where there is none; None to keep labels.

    Raises:
        ValueError: if no name is known to both.
    """
    if model is None or model.names == dataset.names:
        return None
    labels = torch.tensor(model.labels_in(dataset))
    unknown = [name for label, name in enumerate(dataset.names, start=1) if label not in labels]
    if unknown and len(unknown) < len(dataset):
        logger.warning("classes of the data set that the model does not know count as missed: %s", ", ".join(unknown))
    if not labels.any():
        raise ValueError(
            f"model and data set share no class name: {', '.join(model.names[:5])}... "
            f"against {', '.join(dataset.names[:5])}..."
        )
    return labels


def _relabel(found: Detection, labels: torch.Tensor | None) -> Detection:
    return found if labels is None else {**found, "labels": labels[found["labels"].cpu()]}
