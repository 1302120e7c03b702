"""Evaluation: labels matched by name, the model's mode kept, both metrics."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from detzoo.categories import COCO, COCO_91, VOC, Categories
from detzoo.data import SyntheticDataset, evaluation_loader
from detzoo.engine.evaluate import evaluate, label_map
from detzoo.metrics import METRICS
from detzoo.models import build_ssd

DATA = ("circle", "square", "triangle", "star", "cross", "ring")


class Oracle(nn.Module):
    """Finds every object of a data set, and calls them by the labels of its own `categories`."""

    def __init__(self, dataset, categories):
        super().__init__()
        self.dataset = dataset
        self.categories, self.gives_losses = categories, True
        self.head = SimpleNamespace(num_classes=len(DATA) + 1)
        self.seen = 0

    def detect(self, images):
        assert not self.training
        return [self._found() for _ in images]

    def evaluate(self, images, targets):
        assert [len(target["labels"]) for target in targets] == np.diff(self.dataset.annotations.offsets)[
            self.seen : self.seen + len(images)
        ].tolist()
        return {"box": torch.tensor(float(self.seen)), "class": torch.tensor(1.0)}, self.detect(images)

    def _found(self):
        rows = self.dataset.annotations.rows(self.seen)
        self.seen += 1
        names = self.categories.names if self.categories else DATA
        labels = [names.index(DATA[label - 1]) + 1 for label in self.dataset.annotations.labels[rows]]
        boxes = torch.from_numpy(self.dataset.annotations.boxes[rows]).float()
        return {"boxes": boxes, "labels": torch.tensor(labels), "scores": torch.ones(len(labels))}


@pytest.fixture(scope="module")
def shapes():
    return SyntheticDataset(6, size=(64, 64))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    "names",
    [None, DATA, DATA[::-1], ("boat", *DATA[3:], "N/A", *DATA[:3])],
    ids=["unnamed", "same", "mirrored", "more"],
)
def test_detections_are_matched_by_name(shapes, names, metric, training):
    model = Oracle(shapes, Categories(names) if names else None).train(training)
    measure = METRICS[metric](shapes.annotations)
    numbers = evaluate(model, evaluation_loader(shapes, batch_size=4), measure)
    assert numbers[measure.primary] == pytest.approx(1)
    assert len(measure.results) == 6
    assert model.training is training
    assert ("val_loss" in numbers) is (names == DATA), "labels mean the same, or a loss would mean nothing"


def test_validation_loss_is_a_mean_over_images(shapes):
    """Batches of four images and of two, whose box losses are 0 and 4."""
    model = Oracle(shapes, Categories(DATA))
    numbers = evaluate(model, evaluation_loader(shapes, batch_size=4), METRICS["coco"](shapes.annotations))
    assert numbers["val_box"] == pytest.approx(2 / 6 * 4) and numbers["val_class"] == 1
    assert numbers["val_loss"] == pytest.approx(numbers["val_box"] + 1)


def test_classes_that_the_data_lack_do_no_harm(shapes):
    class Dreamer(Oracle):
        def _found(self):
            found = super()._found()
            return {name: torch.cat((column, column)) for name, column in found.items()} | {
                "labels": torch.cat((found["labels"], torch.full_like(found["labels"], 1)))
            }

    metric = METRICS["coco"](shapes.annotations)
    model = Dreamer(shapes, Categories(("boat", *DATA)))
    assert evaluate(model, evaluation_loader(shapes), metric)["AP"] == pytest.approx(1)


def test_limited_evaluation_measures_the_images_it_saw(shapes):
    metric = METRICS["coco"](shapes.annotations)
    metric.update([5], [{"boxes": torch.zeros(1, 4), "labels": torch.tensor([1]), "scores": torch.ones(1)}])
    numbers = evaluate(Oracle(shapes, None), evaluation_loader(shapes, limit=2), metric)
    assert sorted(metric.results) == [1, 2], "and what was measured before is forgotten"
    assert numbers["AP"] == pytest.approx(1)


def test_label_map():
    assert label_map(None, VOC) is None and label_map(VOC, VOC) is None
    mapped = label_map(COCO_91, VOC)
    assert len(mapped) == 91 and mapped[0] == 0
    assert mapped[COCO_91.names.index("person") + 1] == VOC.names.index("person") + 1
    assert mapped[COCO_91.names.index("zebra") + 1] == 0 and mapped[12] == 0  # 12 is a slot without a name
    assert label_map(COCO_91, COCO)[90] == 80


def test_no_common_name():
    with pytest.raises(ValueError, match=r"no class name: aeroplane, .* against circle"):
        label_map(VOC, Categories(DATA))


def test_labels_without_names_must_be_as_many_as_the_data_sets(shapes, small_config):
    model = build_ssd(replace(small_config, num_classes=len(DATA) + 2))
    metric = METRICS["voc"](shapes.annotations)
    with pytest.raises(ValueError, match="tells 8 classes with background apart where the data set has 7"):
        evaluate(model, evaluation_loader(shapes, batch_size=1), metric)
