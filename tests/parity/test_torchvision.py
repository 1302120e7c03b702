"""detzoo against torchvision: the same random weights through our importer, the same inputs, the same outputs.

The networks are made lively first (scaled weights, batch statistics of real activations), because a network as
initialised answers almost the same everywhere, and then ties decide which boxes survive suppression.
"""

import pytest
import torch
import torchvision.models.detection as theirs
from torch import nn

import detzoo
from detzoo.exchange import inspect
from detzoo.importers.torchvision import convert_detector
from detzoo.models.weights import load_weights

PAIRS = [
    pytest.param(("ssd300_vgg16", 91), marks=pytest.mark.slow),  # the largest, 35.6 M parameters on either side
    ("ssd300_vgg16", 4),
    ("ssdlite320_mobilenet_v3_large", 91),
    ("ssdlite320_mobilenet_v3_large", 4),
]


def pictures(*sizes: tuple[int, int], seed: int = 0) -> list[torch.Tensor]:
    """Random images with structure at several scales, [3, H, W] in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)

    def layer(size: tuple[int, int], cells: int) -> torch.Tensor:
        noise = torch.rand(1, 3, cells, cells, generator=generator)
        return nn.functional.interpolate(noise, size, mode="bilinear")[0]

    return [sum(layer(size, cells) for cells in (3, 9, 27, 81)) / 4 for size in sizes]


@torch.no_grad()
def lively(model: nn.Module) -> nn.Module:
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None  # the plain average of what is seen
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, std=0.3)
    batch = model.transform(pictures((320, 320), (300, 400), (500, 400)))[0].tensors
    model.train().backbone(batch)
    model.eval()
    maps = list(model.backbone(batch).values())
    for head, spread in ((model.head.classification_head, 2.0), (model.head.regression_head, 1.0)):
        for predictor, features in zip(head.module_list, maps, strict=True):
            last = [layer for layer in predictor.modules() if isinstance(layer, nn.Conv2d)][-1]
            last.weight *= spread / predictor(features).std()
    return model


@pytest.fixture(scope="module", params=PAIRS, ids=str)
def pair(request):
    name, num_classes = request.param
    torch.manual_seed(1)
    reference = lively(getattr(theirs, name)(weights=None, weights_backbone=None, num_classes=num_classes))
    model = detzoo.get_model(name, num_classes=num_classes).eval()
    assert load_weights(model, convert_detector(reference.state_dict())) == []
    return reference, model


def test_parameter_count(pair):
    reference, model = pair
    assert sum(p.numel() for p in model.parameters()) == sum(p.numel() for p in reference.parameters())


@torch.no_grad()
def test_raw_outputs(pair):
    reference, model = pair
    batch = torch.stack(pictures(model.preprocess.size, model.preprocess.size))
    expected = reference.head(list(reference.backbone(batch).values()))
    logits, deltas, *_ = model.predict(batch)
    assert logits.std() > 1 and deltas.std() > 0.5  # lively enough to tell right from wrong
    torch.testing.assert_close(logits, expected["cls_logits"], rtol=0, atol=1e-5)
    torch.testing.assert_close(deltas, expected["bbox_regression"], rtol=0, atol=1e-5)


def targets_for(images: list[torch.Tensor], num_classes: int) -> list[dict[str, torch.Tensor]]:
    """Three objects in the first image, none in the second, six in the third."""
    generator = torch.Generator().manual_seed(2)
    targets = []
    for image, count in zip(images, (3, 0, 6), strict=True):
        side = torch.tensor([image.shape[2], image.shape[1]])
        corner = torch.rand(count, 2, generator=generator) * side * 0.6
        size = torch.rand(count, 2, generator=generator) * side * 0.35 + 5
        labels = torch.randint(1, num_classes, (count,), generator=generator)
        targets.append({"boxes": torch.cat((corner, corner + size), dim=1), "labels": labels})
    return targets


@torch.no_grad()
def test_losses_with_an_image_without_objects(pair):
    reference, model = pair
    images = pictures((240, 320), (375, 500), (400, 260))
    targets = targets_for(images, model.head.num_classes)
    reference.training = True  # the flag alone: losses from the same batch statistics
    expected = reference(images, targets)
    reference.eval()
    losses = model.losses(images, targets)
    assert losses.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value, rtol=1e-5, atol=0)


@torch.no_grad()
def test_detections(pair):
    """Of images at the network's size, so that nothing is resized."""
    reference, model = pair
    images = pictures(model.preprocess.size, model.preprocess.size, seed=3)
    assert_same_detections(model.detect(images), reference(images), tolerance=1e-5)


@torch.no_grad()
def test_detections_of_images_of_different_sizes(pair):
    """Resizing and normalising come in another order here, and these networks turn its rounding into up to 2e-4 of a
    score, depending on the number of threads.
    """
    reference, model = pair
    images = pictures((240, 320), (375, 500), (400, 260), (32, 32))
    assert_same_detections(model.detect(images), reference(images), tolerance=3e-4)


def assert_same_detections(found: list[dict], expected: list[dict], *, tolerance: float) -> None:
    """As many, with the same scores, and the same boxes as sets."""
    for ours, other in zip(found, expected, strict=True):
        assert len(other["scores"]) > 50
        assert len(ours["scores"]) == len(other["scores"])
        torch.testing.assert_close(ours["scores"], other["scores"], rtol=0, atol=tolerance)
        assert_same_boxes(ours, other, tolerance)


def assert_same_boxes(found: dict, expected: dict, tolerance: float) -> None:
    """Every expected box has a partner of the same class and score within a twentieth of a pixel."""
    distance = (found["boxes"][:, None] - expected["boxes"][None]).abs().amax(dim=-1)
    distance += 1e3 * (found["labels"][:, None] != expected["labels"][None])
    distance += 1e3 * ((found["scores"][:, None] - expected["scores"][None]).abs() > tolerance)
    partner = distance.argmin(dim=0)
    assert distance.amin(dim=0).max() < 0.05
    assert len(partner.unique()) == len(partner)


def test_a_file_is_taken_for_one_of_its_function_and_says_so(tmp_path):
    """Default boxes and all other numbers are in no file; whoever built a detector otherwise has the object."""
    path = tmp_path / "mine.pth"
    torch.save(
        theirs.ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=3).state_dict(), path
    )
    assumed = inspect(path).assumed
    assert any("ssdlite320_mobilenet_v3_large()" in line and "from_torchvision(detector)" in line for line in assumed)
