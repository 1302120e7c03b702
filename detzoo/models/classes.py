"""The same detector for other classes."""

import logging
from dataclasses import replace

import torch
from torch import Tensor

from ..categories import Categories
from .build import build_ssd
from .config import SSDConfig
from .ssd import SSD
from .weights import CLASS_HEAD, load_weights

logger = logging.getLogger("detzoo")


def for_classes(model: SSD, config: SSDConfig, categories: Categories) -> SSD:
    """A detector of these classes that keeps everything but the class head, and of that the background and the classes
    that both know; the rest starts from scratch, and is logged.

    Args:
        model: of whose classes only the background is kept where nobody says what its labels mean.
        config: that builds it.
        categories: of the new one.
    """
    new = build_ssd(replace(config, num_classes=None), categories=categories)
    labels = [0] * (len(categories) + 1) if model.categories is None else categories.labels_in(model.categories)
    _fill(new, model, config, labels)
    fresh = [name for name, label in zip(categories.names, labels[1:], strict=True) if label == 0]
    if fresh:
        known = "" if model.categories is not None else " (nobody says what the labels of the source mean)"
        spelt = {} if model.categories is None else {name.lower(): name for name in model.categories.names}
        hints = [f"{name!r} is {spelt[name.lower()]!r} there" for name in fresh if name.lower() in spelt]
        logger.warning(
            "classes kept: %d of %d; from scratch%s: %s%s",
            len(categories) - len(fresh), len(categories), known, fresh, "".join(f"; {hint}" for hint in hints),
        )  # fmt: skip
    return new.eval()


def for_number(model: SSD, config: SSDConfig, num_classes: int) -> SSD:
    """A detector of so many classes, whoever they are, that keeps everything but the class head, and of that the
    background.

    Args:
        model: which gives what is kept.
        config: that builds it.
        num_classes: with background.
    """
    new = build_ssd(replace(config, num_classes=num_classes))
    _fill(new, model, config, [0] * num_classes)
    logger.warning("class head: the background is kept, %d classes start from scratch", num_classes - 1)
    return new.eval()


def _fill(new: SSD, model: SSD, config: SSDConfig, labels: list[int]) -> None:
    """Give `new` the weights of `model`, and in the class head the rows of the old labels in `labels`."""
    old, own = model.state_dict(), new.state_dict()
    boxes = model.default_boxes.boxes_per_cell
    heads = {key: _kept_rows(old[key], own[key], labels, boxes[_level(key)]) for key in class_tensors(config)}
    load_weights(new, {**old, **heads})


def class_tensors(config: SSDConfig) -> list[str]:
    """Names of the tensors in the class head whose size goes by the number of classes."""
    with torch.device("meta"):
        few, more = (build_ssd(replace(config, num_classes=count)).state_dict() for count in (2, 3))
    return [key for key in few if key.startswith(CLASS_HEAD) and few[key].shape != more[key].shape]


def _level(key: str) -> int:
    return int(key.removeprefix(CLASS_HEAD).partition(".")[0])


def _kept_rows(old: Tensor, fresh: Tensor, labels: list[int], boxes: int) -> Tensor:
    """Weights or bias of new classes, [boxes * C, ...], with the rows of the old labels in `labels` (0: none)."""
    old, rows = old.unflatten(0, (boxes, -1)), fresh.clone().unflatten(0, (boxes, -1))
    for new_label, old_label in enumerate(labels):
        if old_label or new_label == 0:  # background is the same for all
            rows[:, new_label] = old[:, old_label]
    return rows.flatten(0, 1)
