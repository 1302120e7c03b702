"""The numbers of the models whose origin is not torchvision: default boxes, constants, weights of their trunks."""

import math

import pytest
import torch
import torchvision
from torch import nn

import detzoo
from detzoo.backbones import BACKBONES
from detzoo.importers.torchvision import convert_trunk
from detzoo.models import MODELS, build_ssd
from detzoo.models.config import read_config

RESNETS = ["ssd300_resnet18", "ssd300_resnet34", "ssd300_resnet50", "ssd300_resnet101"]
MOBILENETS = ["ssd300_mobilenet_v1", "ssdlite300_mobilenet_v1", "ssdlite300_mobilenet_v2"]
RATIOS = {4: (2,), 6: (2, 3)}  # beside the two squares, by the boxes of a cell


def boxes_of(name: str) -> torch.Tensor:
    """Default boxes for the model's own maps."""
    with torch.device("meta"):
        model = detzoo.get_model(name).eval()
        maps = model.backbone(torch.empty(1, 3, *model.preprocess.size))
    return model.default_boxes([tuple(x.shape[-2:]) for x in maps], model.preprocess.size)


def by_the_book(sides, steps, squares, counts, size: int) -> torch.Tensor:
    """Centre by centre as the origins write it, clipped to the image as centre and size, then as corners in pixels."""
    rows = []
    for side, step, (low, high), count in zip(sides, steps, squares, counts, strict=True):
        shapes = [(low, low), (math.sqrt(low * high),) * 2]
        for root in map(math.sqrt, RATIOS[count]):
            shapes += [(low * root, low / root), (low / root, low * root)]
        for y in range(side):
            for x in range(side):
                rows += [((x + 0.5) * step, (y + 0.5) * step, w, h) for w, h in shapes]
    cx, cy, w, h = torch.tensor(rows).clamp(0, size).unbind(dim=1)
    return torch.stack((cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2), dim=1)


@pytest.mark.parametrize("name", RESNETS)
def test_default_boxes_of_nvidia(name):
    sizes = (21, 45, 99, 153, 207, 261, 315)
    expected = by_the_book(
        (38, 19, 10, 5, 3, 1), (8, 16, 32, 64, 100, 300), zip(sizes, sizes[1:]), (4, 6, 6, 6, 4, 4), 300
    )
    assert len(expected) == 8732
    torch.testing.assert_close(boxes_of(name), expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", MOBILENETS)
def test_default_boxes_of_pytorch_ssd(name):
    sizes = (60, 105, 150, 195, 240, 285, 330)
    expected = by_the_book((19, 10, 5, 3, 2, 1), (16, 32, 64, 100, 150, 300), zip(sizes, sizes[1:]), (6,) * 6, 300)
    assert len(expected) == 3000
    torch.testing.assert_close(boxes_of(name), expected, rtol=0, atol=1e-3)


def test_default_boxes_of_tiny_ssd():
    boxes = boxes_of("tiny_ssd")
    assert len(boxes) == 5444 == 4 * (32**2 + 16**2 + 8**2 + 4**2 + 1)
    sizes = (boxes[:, 2:] - boxes[:, :2]) / 256
    long, short = 0.2 * math.sqrt(2), 0.2 / math.sqrt(2)
    expected = torch.tensor([[0.2, 0.2], [0.272, 0.272], [long, short], [short, long]])
    torch.testing.assert_close(sizes[:4], expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(sizes[-3], torch.tensor([0.961, 0.961]), rtol=0, atol=1e-5)
    centres = (boxes[:, 2:] + boxes[:, :2]) / 2
    torch.testing.assert_close(centres[[0, -1]], torch.tensor([[4.0, 4.0], [128.0, 128.0]]))
    assert sizes.max() > 1, "not clipped"


@pytest.mark.parametrize("name", [*RESNETS, *MOBILENETS, "tiny_ssd"])
def test_deltas_have_caffes_variances_and_no_limit(name):
    coder = build_ssd_on_meta(name).coder
    assert coder.weights == (10, 10, 5, 5) and coder.max_log_size is None


def build_ssd_on_meta(name: str) -> nn.Module:
    with torch.device("meta"):
        return build_ssd(MODELS[name].config)


@pytest.mark.parametrize(
    ("name", "byte", "expected"),
    [
        ("ssd300_resnet50", 255, [(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225]),
        ("ssd300_mobilenet_v1", 255, [1.0] * 3),
        ("ssdlite300_mobilenet_v2", 127, [0.0] * 3),
        ("tiny_ssd", 200, [200.0] * 3),
    ],
)
def test_input_scaling(name, byte, expected):
    preprocess = detzoo.get_model(name).preprocess
    image = torch.full((1, 3, *preprocess.size), byte, dtype=torch.uint8)
    torch.testing.assert_close(preprocess(image)[0, :, 0, 0], torch.tensor(expected), rtol=1e-5, atol=1e-5)


def test_vgg_of_pytorch_ssd_has_its_parameter_count():
    config = MODELS["ssd300_vgg16"].config.as_dict()
    config["backbone"] = {"name": "vgg16", "extras": "ssd300", "conv4_3_norm": "batch"}
    with torch.device("meta"):
        model = build_ssd(read_config(config | {"num_classes": 21}))
    assert sum(parameter.numel() for parameter in model.parameters()) == 26_285_998


# ---- ImageNet weights for the trunk ----


def classifier(name: str) -> nn.Module:
    """torchvision's, with random weights and batch statistics."""
    torch.manual_seed(0)
    model = getattr(torchvision.models, name)(weights=None)
    for key, buffer in model.named_buffers():
        if key.endswith(("running_mean", "running_var")):
            buffer.uniform_(0.5, 1.5)
    return model.eval()


@torch.no_grad()
@pytest.mark.parametrize("counters", [True, False])
def test_mobilenet_v2_takes_torchvisions_weights(tmp_path, counters):
    network = classifier("mobilenet_v2")
    state = network.state_dict()
    kept = {key: tensor for key, tensor in state.items() if counters or not key.endswith("num_batches_tracked")}
    torch.save(kept, tmp_path / "trunk.pth")
    model = detzoo.models.ssdlite300_mobilenet_v2(weights_backbone=tmp_path / "trunk.pth")
    batch = torch.rand(1, 3, 96, 96)
    torch.testing.assert_close(model.backbone.eval()(batch)[1], network.features(batch))


@torch.no_grad()
def test_resnet_takes_torchvisions_weights(tmp_path):
    network = classifier("resnet18")
    torch.save(network.state_dict(), tmp_path / "trunk.pth")
    backbone = detzoo.models.ssd300_resnet18(weights_backbone=tmp_path / "trunk.pth").backbone.eval()
    batch = torch.rand(1, 3, 272, 272)
    network.layer3[0].conv1.stride = network.layer3[0].downsample[0].stride = (1, 1)
    x = network.maxpool(network.relu(network.bn1(network.conv1(batch))))
    expected = network.layer3(network.layer2(network.layer1(x)))
    torch.testing.assert_close(backbone(batch)[0], expected)


@pytest.mark.parametrize("name", ["resnet34", "resnet50", "resnet101", "resnet152"])
def test_every_tensor_of_a_resnet_has_a_place(name):
    with torch.device("meta"):
        state = getattr(torchvision.models, name)(weights=None).state_dict()
        own = BACKBONES[name]().state_dict()
    found = {key: tensor.shape for key, tensor in convert_trunk(state, name).items()}
    assert found == {key: tensor.shape for key, tensor in own.items() if key.startswith("trunk.")}


def test_weights_of_another_depth_are_refused(tmp_path):
    torch.save(classifier("resnet18").state_dict(), tmp_path / "trunk.pth")
    with pytest.raises(ValueError, match=r"trunk.pth.*do not fit the trunk of 'resnet34': \d+ tensors"):
        detzoo.models.ssd300_resnet34(weights_backbone=tmp_path / "trunk.pth")


@pytest.mark.parametrize("name", ["ssd300_mobilenet_v1", "tiny_ssd"])
def test_trunks_without_torchvision_weights_say_so(name):
    with pytest.raises(ValueError, match="weights_backbone: torchvision has none for the backbone .*leave it out"):
        detzoo.get_model(name, weights_backbone="IMAGENET1K_V1")
