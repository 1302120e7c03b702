"""One detector twice, as torchvision's and as ours: the same random weights, whose scores look like a trained model's.

A network as initialised calls everything an object or nothing at all, and what suppression then costs is absurd either
way. So activations are given a sensible size, and the bias of background is chosen for a number of candidates.
"""

import torch
import torchvision.models.detection as theirs
from torch import Tensor, nn

from detzoo.components.preprocess import ToRGB
from detzoo.data import SyntheticDataset
from detzoo.importers.torchvision import convert_detector
from detzoo.models import MODELS, SSD, get_model
from detzoo.models.weights import load_weights

MODELS_OF_BOTH = {name: getattr(theirs, name) for name in MODELS if hasattr(theirs, name)}
PHOTOGRAPH = (480, 640)  # height, width
CLASSES = 91  # of COCO
CANDIDATES = 500  # pairs of box and class of an image above the threshold
SPREAD = 3.0  # standard deviation of logits


def photographs(count: int, seed: int = 0) -> list[Tensor]:
    """Pictures of shapes, [3, 480, 640] bytes each."""
    shapes = SyntheticDataset(count, seed, size=PHOTOGRAPH)
    return [ToRGB()(shapes.open_image(index)).contiguous() for index in range(count)]


def both(name: str, candidates: int = CANDIDATES, seed: int = 0) -> tuple[nn.Module, SSD]:
    """torchvision's detector and ours, in eval mode."""
    torch.manual_seed(seed)
    reference = MODELS_OF_BOTH[name](weights=None, weights_backbone=None, num_classes=CLASSES)
    model = get_model(name, num_classes=CLASSES).eval()
    images = photographs(4, seed=1)
    _enliven(reference, images)
    _choose_background(reference, images, candidates)
    if missing := load_weights(model, convert_detector(reference.state_dict())):
        raise AssertionError(f"tensors that torchvision's {name} does not have: {missing}")
    return reference.eval(), model


@torch.no_grad()
def candidates_per_image(model: SSD, images: list[Tensor]) -> float:
    scores = model.loss.scores(model.predict(model.preprocess(images)).logits)
    return float((scores > model.postprocess.score_threshold).sum()) / len(images)


@torch.no_grad()
def _enliven(model: nn.Module, images: list[Tensor]) -> None:
    """Weights and batch statistics with which signals neither die nor explode, and logits of a sensible spread."""
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None  # the plain average of what is seen
    batch = model.transform([image / 255 for image in images])[0].tensors
    model.train().backbone(batch)
    maps = list(model.eval().backbone(batch).values())
    for head, spread in ((model.head.classification_head, SPREAD), (model.head.regression_head, 1.0)):
        for predictor, features in zip(head.module_list, maps, strict=True):
            last = [layer for layer in predictor.modules() if isinstance(layer, nn.Conv2d)][-1]
            last.weight *= spread / predictor(features).std()


@torch.no_grad()
def _choose_background(model: nn.Module, images: list[Tensor], candidates: int) -> None:
    """Add to the bias of background so that about so many scores of an image are above the threshold."""
    batch = model.transform([image / 255 for image in images])[0].tensors
    logits = model.head(list(model.backbone(batch).values()))["cls_logits"]  # [B, A, C]
    low, high = 0.0, 100.0
    for _ in range(30):
        middle = (low + high) / 2
        shifted = logits.clone()
        shifted[..., 0] += middle
        count = (shifted.softmax(dim=-1)[..., 1:] > model.score_thresh).sum() / len(images)
        low, high = (middle, high) if count > candidates else (low, middle)
    for predictor in model.head.classification_head.module_list:
        last = [layer for layer in predictor.modules() if isinstance(layer, nn.Conv2d)][-1]
        last.bias.view(-1, CLASSES)[:, 0] += high
