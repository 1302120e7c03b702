"""Files that lack a tensor, or have one of another shape: that is said before anything is built, and by the name that
the tensor has in the file.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from goldens import Golden, names
from steps import hollow

from detzoo.importers import Foreign, choose, convert
from detzoo.importers.readers import Container
from detzoo.models.misfits import misfits
from detzoo.models.opening import Identified, build_imported, problems_of


def shapes_of(name: str) -> dict[str, tuple[int, ...]]:
    return {key: tuple(shape) for key, (shape, _) in Golden.read(name).layout.items()}


def identified(name: str, shapes: Mapping[str, tuple[int, ...]]) -> Identified:
    """A golden's file with tensors of these shapes."""
    golden = Golden.read(name)
    container = Container(golden.kind, hollow(shapes), golden.metadata or {"content": {}}, Path(golden.file))
    foreign = Foreign.of(container)
    reading = choose(foreign, golden.origin)
    return Identified(container, None, foreign, reading, convert(foreign, reading))


@pytest.mark.parametrize("name", names())
def test_nothing_is_said_of_a_whole_file(name):
    assert problems_of(identified(name, shapes_of(name))) == []


# Of each layout a tensor of the trunk or its extras, by its name in the file and in detzoo.
TRUNKS = {
    "caffe_ssd-voc": ("conv4_2.0", "backbone.trunk.19.weight"),
    "d2l-four": ("blk_0.1.1.running_mean", "backbone.trunk.1.0.1.running_mean"),
    "lufficc-mobilenet_v3": ("backbone.features.0.0.weight", "backbone.trunk.0.0.weight"),
    "mmdetection-ssd512_voc": ("backbone.features.17.weight", "backbone.trunk.17.weight"),
    "nvidia-resnet18": ("feature_extractor.feature_extractor.5.1.conv2.weight", "backbone.trunk.5.1.conv2.weight"),
    "pytorch_ssd-mb1-ssd": ("base_net.4.3.weight", "backbone.trunk.4.1.0.weight"),
    "sgrvinod": ("base.conv3_2.weight", "backbone.trunk.12.weight"),
    "ssd_pytorch-voc": ("vgg.19.bias", "backbone.trunk.19.bias"),
    "tf_object_detection-v1": (
        "FeatureExtractor/MobilenetV1/Conv2d_1_pointwise/weights", "backbone.trunk.1.1.0.weight",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", [name for name in TRUNKS if not name.startswith("caffe")])  # whose importer says so
def test_a_tensor_that_is_missing(name):
    theirs, ours = TRUNKS[name]
    shapes = shapes_of(name)
    del shapes[theirs]
    assert problems_of(identified(name, shapes)) == [f"missing: {theirs} ({ours} in detzoo)"]


@pytest.mark.parametrize("name", TRUNKS)
def test_a_tensor_of_another_shape(name):
    theirs, ours = TRUNKS[name]
    shapes = shapes_of(name)
    shapes[theirs] = tuple(side + 1 for side in shapes[theirs])
    (line,) = problems_of(identified(name, shapes))
    assert line.startswith(f"{theirs} ({ours} in detzoo): expected (")


def test_where_the_rules_do_not_say_all_of_a_name_its_neighbour_is_named():
    """A block of this network has a 3x3 convolution or a 4x4 one, both of which are read."""
    shapes = shapes_of("ssd_tensorflow-300-voc")
    del shapes["ssd_300_vgg/block8/conv3x3/biases"]
    assert problems_of(identified("ssd_tensorflow-300-voc", shapes)) == [
        "missing: backbone.extras.1.2.bias in detzoo, which goes with ssd_300_vgg/block8/conv1x1/weights"
    ]


def test_what_is_said_beforehand_is_what_stops_it():
    theirs, ours = TRUNKS["ssd_pytorch-voc"]
    shapes = shapes_of("ssd_pytorch-voc")
    del shapes[theirs]
    found = identified("ssd_pytorch-voc", shapes)
    with pytest.raises(ValueError, match=f"these weights are not of this model:\n  - missing: {ours}$"):
        build_imported(found.imported)


def test_a_detector_that_cannot_be_built_is_said_as_well():
    found = identified("ssd_pytorch-voc", shapes_of("ssd_pytorch-voc"))
    config = {**found.imported.config, "coder": {"name": "centre_sise"}}
    (line,) = problems_of(found._replace(imported=replace(found.imported, config=config)))
    assert "unknown coder 'centre_sise': did you mean 'centre_size'?" in line


@pytest.mark.parametrize("head", ["cls", "reg"])
def test_weight_and_bias_of_a_head_that_do_not_go_together(head):
    shapes = shapes_of("mmdetection-ssd300_voc")
    key = f"bbox_head.{head}_convs.3.0.weight"
    shapes[key] = (shapes[key][0] + 1, *shapes[key][1:])
    with pytest.raises(ValueError, match=rf"{key} \(.*\): expected as many rows as .*bias has numbers"):
        identified("mmdetection-ssd300_voc", shapes)


def test_integers_in_place_of_floats():
    own = {"weight": torch.zeros(2), "count": torch.zeros((), dtype=torch.int64)}
    state = {"weight": torch.ones(2, dtype=torch.int64), "count": torch.zeros((), dtype=torch.int64)}
    assert misfits(own, state) == ["weight: expected floats, got int64"]
    assert misfits(own, {**state, "weight": torch.ones(2, dtype=torch.float16)}) == []
