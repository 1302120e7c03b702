"""Whatever somebody built of torchvision's SSD classes says the same under detzoo."""

from collections import OrderedDict

import pytest
import torch
from torch import nn
from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_320_fpn
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.ssd import SSD

from detzoo.categories import Categories
from detzoo.models import from_torchvision


class Trunk(nn.Module):
    """Two maps of a network that nobody has published."""

    out_channels = [12, 20]

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 12, 5, stride=8, padding=2), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(12, 20, 3, stride=2, padding=1), nn.BatchNorm2d(20), nn.ReLU())

    def forward(self, x: torch.Tensor) -> OrderedDict[str, torch.Tensor]:
        first = self.first(x)
        return OrderedDict(fine=first, coarse=self.second(first))


@pytest.fixture
def theirs() -> SSD:
    torch.manual_seed(0)
    boxes = DefaultBoxGenerator([[2], [2, 3]], scales=[0.1, 0.4, 0.9], steps=[8, 16], clip=False)
    model = SSD(
        Trunk(), boxes, (160, 96), 4, image_mean=[0.4, 0.5, 0.6], image_std=[0.2, 0.3, 0.4], score_thresh=0.2,
        nms_thresh=0.35, detections_per_img=30, topk_candidates=50, iou_thresh=0.4, positive_fraction=0.2,
    )  # fmt: skip
    for predictor in (*model.head.classification_head.module_list, *model.head.regression_head.module_list):
        nn.init.normal_(predictor.weight, std=0.15)
    return model.eval()


def test_detections(theirs):
    ours = from_torchvision(theirs, categories=Categories(("a", "b", "c")))
    images = [torch.rand(3, 70, 130), torch.rand(3, 200, 90)]
    with torch.no_grad():
        expected, found = theirs(images), ours.detect(images)
    assert all(len(image["labels"]) > 10 for image in expected)
    for image, reference in zip(found, expected, strict=True):
        assert torch.equal(image["labels"], reference["labels"])
        torch.testing.assert_close(image["scores"], reference["scores"], rtol=0, atol=1e-6)
        torch.testing.assert_close(image["boxes"], reference["boxes"], rtol=0, atol=1e-3)
    assert ours.categories.names == ("a", "b", "c") and ours.preprocess.size == (96, 160)


def test_losses(theirs):
    ours = from_torchvision(theirs)
    images = [torch.rand(3, 96, 160), torch.rand(3, 96, 160)]
    targets = [
        {"boxes": torch.tensor([[10.0, 10, 60, 50], [80, 20, 150, 90]]), "labels": torch.tensor([1, 3])},
        {"boxes": torch.tensor([[30.0, 30, 70, 80]]), "labels": torch.tensor([2])},
    ]
    expected, losses = theirs.train()(images, targets), ours.train().losses(images, targets)
    assert losses.keys() == expected.keys()
    for name, loss in expected.items():
        torch.testing.assert_close(losses[name], loss, rtol=1e-5, atol=0)


def test_another_model_is_refused():
    with pytest.raises(ValueError, match="expected torchvision.models.detection.ssd.SSD, got FasterRCNN"):
        from_torchvision(fasterrcnn_mobilenet_v3_large_320_fpn(weights=None, weights_backbone=None))
