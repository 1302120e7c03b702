"""COCO's twelve numbers, computed by the libraries everybody compares with."""

import contextlib
import io
import logging
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np

from ..annotations import Annotations
from ..categories import UNUSED
from .base import ImageDetections, Metric

Backend = Literal["auto", "faster", "pycocotools"]

KEYS = (
    "AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large",
    "AR1", "AR10", "AR100", "AR_small", "AR_medium", "AR_large",
)  # fmt: skip

logger = logging.getLogger(__name__)


class CocoMetric(Metric):
    """Average precision and recall as COCO defines them (cocodataset.org, "Detection Evaluation"), fractions in [0, 1].

    Detections on a crowd region are neither right nor wrong. Objects marked difficult count like all others: COCO does
    not know the word. Sizes are those of `annotations.areas`: small below 32², large above 96² square pixels.

    Args:
        backend: `faster` (faster-coco-eval), `pycocotools`, or `auto`: the first of the two that is installed. Both
            give the same numbers; the log says which one is used.

    Raises:
        ImportError: if the backend asked for is not installed.
        ValueError: for an unknown backend.
    """

    primary = "AP"

    def __init__(self, annotations: Annotations, backend: Backend = "auto") -> None:
        super().__init__(annotations)
        self.backend = _choose(backend)
        logger.info("COCO metric computed by %s", self.backend)

    def compute(self) -> dict[str, float]:
        stats = self._evaluated().stats
        return {key: _or_nan(value) for key, value in zip(KEYS, stats, strict=True)}

    def per_class(self) -> dict[str, float]:
        """AP over all thresholds and sizes, by class name; nan for a class without ground truth."""
        precision = self._evaluated().eval["precision"][:, :, :, 0, -1]  # [thresholds, recalls, classes]
        categories = self.annotations.categories
        columns = np.argsort(np.argsort(categories.ids))  # the libraries sort classes by their id
        return {
            name: _or_nan(precision[:, :, column].mean())
            for name, column in zip(categories.names, columns)
            if name != UNUSED
        }

    def rows(self) -> list[dict[str, Any]]:
        """The detections as rows of a COCO results file: category ids of the data set, boxes as x, y, width, height."""
        ids = self.annotations.image_ids
        return [row for index in self._measured() for row in self._result_rows(int(ids[index]))]

    def _evaluate(self) -> Any:
        """The evaluation object of either library: both have `stats` and `eval["precision"]`."""
        run = _run_faster if self.backend == "faster" else _run_pycocotools
        with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
            return run(self._dataset(self._truth_rows()), self._dataset(self.rows()))

    def _dataset(self, rows: list[dict[str, Any]]) -> dict[str, list]:
        """A COCO file in memory. Rows are numbered from 1: in both libraries an id of 0 means "not matched"."""
        categories, images = self.annotations.categories, self.annotations.image_ids
        numbered = [
            {"area": row["bbox"][2] * row["bbox"][3], "iscrowd": 0, **row, "id": n} for n, row in enumerate(rows, 1)
        ]
        return {
            "images": [{"id": int(images[index])} for index in self._measured()],
            "categories": [{"id": number, "name": name} for number, name in zip(categories.ids, categories.names)],
            "annotations": numbered,
        }

    def _truth_rows(self) -> list[dict[str, Any]]:
        truth, rows = self.annotations, []
        for index in self._measured():
            where = truth.rows(index)
            columns = (_xywh(truth.boxes[where]), truth.labels[where], truth.areas[where], truth.crowd[where])
            for box, label, area, crowd in zip(*(column.tolist() for column in columns)):
                row = self._row(int(truth.image_ids[index]), label, box)
                rows.append({**row, "area": area, "iscrowd": int(crowd)})
        return rows

    def _result_rows(self, image_id: int) -> list[dict[str, Any]]:
        found: ImageDetections = self.results[image_id]
        columns = zip(_xywh(found.boxes).tolist(), found.labels.tolist(), found.scores.tolist())
        return [{**self._row(image_id, label, box), "score": score} for box, label, score in columns]

    def _row(self, image_id: int, label: int, box: list[float]) -> dict[str, Any]:
        return {"image_id": image_id, "category_id": self.annotations.categories.ids[label - 1], "bbox": box}


def _choose(backend: Backend) -> Literal["faster", "pycocotools"]:
    if backend not in ("auto", "faster", "pycocotools"):
        raise ValueError(f"unknown backend {backend!r} for the COCO metric: expected auto, faster or pycocotools")
    has_faster = find_spec("faster_coco_eval") is not None
    if backend == "faster" and not has_faster:
        raise ImportError("faster-coco-eval is not installed: pip install faster-coco-eval, or ask for backend='auto'")
    if backend == "auto":
        return "faster" if has_faster else "pycocotools"
    return backend


def _run_faster(truth: dict[str, list], found: dict[str, list]) -> Any:
    from faster_coco_eval import COCO, COCOeval_faster

    evaluation = COCOeval_faster(COCO(truth), COCO(found), "bbox", print_function=logger.debug)
    evaluation.run()
    return evaluation


def _run_pycocotools(truth: dict[str, list], found: dict[str, list]) -> Any:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth_api, found_api = COCO(), COCO()  # not loadRes: it fails on an empty list and needs no file
    truth_api.dataset, found_api.dataset = truth, found
    truth_api.createIndex()
    found_api.createIndex()
    evaluation = COCOeval(truth_api, found_api, "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation


def _xywh(boxes: np.ndarray) -> np.ndarray:
    return np.concatenate((boxes[:, :2], boxes[:, 2:] - boxes[:, :2]), axis=1)


def _or_nan(value: float) -> float:
    """Both libraries write -1 where there was no ground truth."""
    return float(value) if value > -1 else float("nan")
