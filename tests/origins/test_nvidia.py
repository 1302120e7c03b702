"""NVIDIA's SSD300: where a naive import gives other boxes and no error, and what its files are."""

from dataclasses import replace

import pytest
import torch
from goldens import Golden
from steps import Steps, foreign_of, hollow
from torch import nn
from torchvision import models

from detzoo.categories import COCO, UNUSED
from detzoo.components import DefaultBoxGenerator, Postprocess, Preprocess
from detzoo.importers import Foreign, Imported, choose, convert, nvidia, readings_of
from detzoo.importers.names import rename
from detzoo.importers.numbers import RATIOS_300, SIZES_300_COCO, STEPS_300
from detzoo.models import MODELS, build_ssd

PARAMETERS = {  # of the original's networks
    "resnet18": 14_048_310,
    "resnet34": 19_975_222,
    "resnet50": 22_894_902,
    "resnet101": 41_887_030,
    "resnet152": 57_530_678,
}
BOXES = (4, 6, 6, 6, 4, 4)


@pytest.fixture(scope="module")
def steps() -> Steps:
    return Steps("nvidia-resnet18")


def shapes(trunk: str, num_classes: int = 81) -> dict[str, tuple[int, ...]]:
    """Of the tensors of its `SSD300`, as its model.py says."""
    with torch.device("meta"):
        network = getattr(models, trunk)(weights=None)
        channels = [network.layer3[-1].conv1.in_channels, 512, 512, 256, 256, 128 if trunk == "resnet18" else 256]
        blocks = [block(*sides) for sides in zip(channels, (256, 256, 128, 128, 128), channels[1:])]
        parts = {
            "feature_extractor": nn.ModuleDict({"feature_extractor": nn.Sequential(*list(network.children())[:7])}),
            "additional_blocks": nn.ModuleList(blocks),
            "loc": nn.ModuleList(nn.Conv2d(c, k * 4, 3) for c, k in zip(channels, BOXES, strict=True)),
            "conf": nn.ModuleList(nn.Conv2d(c, k * num_classes, 3) for c, k in zip(channels, BOXES, strict=True)),
        }
        return {name: tuple(tensor.shape) for name, tensor in nn.ModuleDict(parts).state_dict().items()}


def block(inputs: int, middle: int, outputs: int) -> nn.Sequential:
    norms = nn.BatchNorm2d(middle), nn.BatchNorm2d(outputs)
    first, second = nn.Conv2d(inputs, middle, 1, bias=False), nn.Conv2d(middle, outputs, 3, bias=False)
    return nn.Sequential(first, norms[0], nn.ReLU(), second, norms[1], nn.ReLU())


def read(foreign: Foreign) -> Imported:
    return convert(foreign, choose(foreign))


def test_channels_of_the_heads_are_transposed(steps):
    naive = steps.head_with(rename(steps.foreign.state, nvidia.RULES))
    assert steps.raw_apart(steps.model.head) < 1e-5
    assert steps.raw_apart(naive) > 0.1


def test_centres_are_clipped(steps):
    sizes = SIZES_300_COCO[:-1], SIZES_300_COCO[1:]
    naive = DefaultBoxGenerator.from_sizes(*sizes, RATIOS_300, image_size=(300, 300), steps=STEPS_300, clip="sizes")
    apart = steps.default_boxes_apart(naive)
    assert (apart > 1e-6).sum() == 114 and apart.max() == pytest.approx(9.5 * 32 / 300 - 1, abs=1e-6)
    assert steps.default_boxes_apart(steps.model.default_boxes).max() < 1e-6


def test_pictures_are_shrunk_as_pillow_does(steps):
    assert steps.as_the_original(steps.predictions, steps.model.postprocess)
    numbers = {name: steps.config.preprocess[name] for name in ("mean", "std")}
    naive = steps.predictions_after(Preprocess((300, 300), **numbers, resize="bilinear"))
    assert not steps.as_the_original(naive, steps.model.postprocess)


@pytest.mark.parametrize("naive", [{"top_k": 400}, {"iou_threshold": 0.45}, {"clip": True}], ids=str)
def test_suppression(steps, naive):
    options = {name: value for name, value in steps.config.postprocess.items() if name != "name"}
    assert not steps.as_the_original(steps.predictions, Postprocess(**{**options, **naive}))


def test_what_overlaps_by_exactly_half_goes(steps):
    boxes = torch.tensor([[[0.0, 0.0, 20.0, 10.0], [0.0, 0.0, 10.0, 10.0]]])
    scores = torch.tensor([[[0.9], [0.8]]])
    assert len(steps.model.postprocess(scores, boxes, (300, 300))[0]["scores"]) == 1
    assert len(Postprocess(iou_threshold=0.5)(scores, boxes, (300, 300))[0]["scores"]) == 2


@pytest.mark.parametrize("trunk", PARAMETERS)
def test_the_depth_of_the_trunk_is_read_off_its_blocks(trunk):
    foreign = foreign_of(hollow(shapes(trunk)))
    imported = read(foreign)
    with torch.device("meta"):
        model = build_ssd(replace(MODELS[imported.model].config, **imported.config))
    assert imported.config["backbone"] == {"name": trunk}
    assert {key: tensor.shape for key, tensor in imported.state.items()} == {
        key: tensor.shape for key, tensor in model.state_dict().items()
    }
    assert sum(parameter.numel() for parameter in model.parameters()) == PARAMETERS[trunk]


@pytest.mark.parametrize("trunk", ["resnet18", "resnet50"])
def test_shapes_here_are_those_of_the_original(trunk):
    layout = Golden.read(f"nvidia-{trunk}").layout
    assert shapes(trunk) == {name: tuple(shape) for name, (shape, _) in layout.items()}


@pytest.mark.parametrize("prefix", ["", "module.", "module.1."])
def test_recognised_with_what_training_puts_around_its_names(prefix):
    state = {f"model/{prefix}{name}": tensor for name, tensor in hollow(shapes("resnet18")).items()}
    foreign = foreign_of(state, {"epoch": 65, "model": {}, "label_map": {0: "background", 1: "person"}})
    assert [reading.name for reading in readings_of(foreign)] == ["nvidia"]
    assert read(foreign).config["num_classes"] == 81


def test_the_checkpoint_names_its_classes():
    names = dict(enumerate(("background", *COCO.names)))
    state = hollow(shapes("resnet18"))
    imported = read(foreign_of(state, {"label_map": names}))
    assert imported.categories is COCO and not imported.assumed
    few = read(foreign_of(state, {"label_map": {0: "background", 1: "cat", 3: "dog"}}))
    assert few.categories.names == ("cat", UNUSED, "dog", *[UNUSED] * 77) and not few.assumed
    nameless = read(foreign_of(state))
    assert nameless.categories is COCO and nameless.assumed


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("loc.3.bias", None, "there is no tensor 'loc.3.bias'"),
        ("conf.5.weight", None, "there is no tensor 'conf.5.weight'"),
        ("conf.1.bias", (324,), r"conf.1.bias has the shape \(324,\): expected 486 channels, of 6 boxes"),
        ("loc.4.weight", (24, 256, 3, 3), "loc.4.weight has the shape"),
        ("feature_extractor.feature_extractor.6.2.conv1.weight", (256, 256, 3, 3), r"\(2, 2, 3\) basic blocks"),
        ("compute_loss.dboxes", (1, 4, 8732), "unexpected tensor 'compute_loss.dboxes'"),
    ],
)
def test_other_architectures_are_refused(name, shape, message):
    changed = {key: value for key, value in {**shapes("resnet18"), name: shape}.items() if value is not None}
    foreign = foreign_of(hollow(changed))
    with pytest.raises(ValueError, match=message) as caught:
        read(foreign)
    assert str(foreign.container.path) in str(caught.value)


def test_names_of_more_classes_than_there_are():
    foreign = foreign_of(hollow(shapes("resnet18", 3)), {"label_map": {0: "background", 1: "a", 2: "b", 3: "c"}})
    with pytest.raises(ValueError, match="label_map has a label 3, but conf.0.bias is for 3 classes"):
        read(foreign)
