"""From a model and a data set to numbers."""

import logging

import torch
from torch.utils.data import DataLoader

from .. import distributed
from ..categories import Categories
from ..data import DetectionDataset
from ..metrics.base import Metric
from ..models import SSD
from ..structures import Detection
from .log import progress

logger = logging.getLogger("detzoo")


@torch.no_grad()
def evaluate(model: SSD, loader: DataLoader, metric: Metric) -> dict[str, float]:
    """Detect in every image of the loader and measure, over all processes; the model is left in the mode it was in.

    Detections of classes that the data set lacks are dropped; the others are matched by name where the model knows
    names.
    """
    training = model.training
    model.eval()
    distributed.share_buffers(model)
    metric.reset()
    dataset: DetectionDataset = loader.dataset.dataset
    labels = label_map(model.categories, dataset.categories)
    for images, indices in progress(loader, "evaluate", len(loader)):
        detections = model.detect(images)
        image_ids = dataset.annotations.image_ids[indices].tolist()
        metric.update(image_ids, [_relabel(found, labels) for found in detections])
    model.train(training)
    for results in distributed.gather_to_main(metric.results):
        metric.merge(results)
    return distributed.from_main(metric.compute() if distributed.is_main() else None)


def check_same_classes(train: Categories, val: Categories) -> None:
    """Raise a ValueError if the two halves of a data set name other classes, or number them otherwise."""
    if train.names != val.names:
        raise ValueError(
            f"dataset.train has the classes {', '.join(train.names)}, dataset.val {', '.join(val.names)}: expected "
            "the same in the same order; a data set of VOC's form takes them as classes=[...]"
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
