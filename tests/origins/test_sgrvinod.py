"""sgrvinod's tutorial: where a naive import gives other boxes and no error, and what its files are."""

import sys
import types

import numpy as np
import pytest
import torch
from goldens import Golden
from steps import Steps, foreign_of, hollow
from torch import nn

from detzoo.categories import COCO, VOC
from detzoo.components import DefaultBoxGenerator, Postprocess, Preprocess
from detzoo.importers import choose, convert, import_file, readings_of, sgrvinod
from detzoo.importers.names import rename
from detzoo.importers.numbers import RATIOS_300, SIZES_300_VOC, STEPS_300

SCALES = [0.1, 0.2, 0.375, 0.55, 0.725, 0.9, 1 / 0.9]  # squares of the last level: .9 and 1


@pytest.fixture(scope="module")
def steps() -> Steps:
    return Steps("sgrvinod")


def shapes(num_classes: int = 21) -> dict[str, tuple[int, ...]]:
    """Of the tensors of such a model."""
    found = {name: tuple(shape) for name, (shape, _) in Golden.read("sgrvinod").layout.items()}
    for name in found:
        if name.startswith("pred_convs.cl_"):
            found[name] = (found[name][0] // 21 * num_classes, *found[name][1:])
    return found


def test_boxes_of_a_cell_change_places(steps):
    naive = steps.head_with(rename(steps.foreign.state, sgrvinod.RULES))
    assert steps.raw_apart(steps.model.head) < 1e-5
    assert steps.raw_apart(naive) > 0.1


def test_its_third_is_not_quite_one(steps):
    apart = steps.default_boxes_apart(DefaultBoxGenerator.from_scales(SCALES, RATIOS_300))
    assert (apart > 1e-6).sum() == 19 * 19 + 10 * 10 + 5 * 5  # one box of each cell
    assert 4e-4 < apart.max() < 5e-4
    assert steps.default_boxes_apart(steps.model.default_boxes).max() < 1e-6


def test_its_boxes_are_not_those_of_ssd_pytorch(steps):
    sizes = SIZES_300_VOC[:-1], SIZES_300_VOC[1:]
    naive = DefaultBoxGenerator.from_sizes(*sizes, RATIOS_300, image_size=(300, 300), steps=STEPS_300)
    assert steps.default_boxes_apart(naive).max() > 0.01


def test_wide_and_tall_boxes_end_at_the_image(steps):
    apart = steps.default_boxes_apart(DefaultBoxGenerator(steps.model.default_boxes.shapes, clip="none"))
    assert (apart > 1e-6).nonzero()[0].min() >= 8732 - 4 * 9 - 4, "of the last two levels alone"
    assert apart.max() == pytest.approx(0.9 * np.sqrt(2) - 1, abs=1e-6)


def test_pictures_are_shrunk_as_pillow_does(steps):
    assert steps.as_the_original(steps.predictions, steps.model.postprocess)
    numbers = {name: steps.config.preprocess[name] for name in ("mean", "std")}
    naive = steps.predictions_after(Preprocess((300, 300), **numbers, resize="bilinear"))
    assert not steps.as_the_original(naive, steps.model.postprocess)


@pytest.mark.parametrize("naive", [{"top_k": 200}, {"detections_per_image": None}, {"clip": True}], ids=str)
def test_suppression(steps, naive):
    options = {name: value for name, value in steps.config.postprocess.items() if name != "name"}
    assert not steps.as_the_original(steps.predictions, Postprocess(**{**options, **naive}))


@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")  # the classes are made up by the test
@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_a_file_is_the_pickled_module_beside_its_pickled_optimiser(tmp_path, monkeypatch, legacy):
    net = pickled_network(monkeypatch)
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9)
    for parameter in net.parameters():
        optimizer.state[parameter]["momentum_buffer"] = torch.ones_like(parameter)
    path = tmp_path / "BEST_checkpoint_ssd300.pth.tar"
    content = {"epoch": 186, "epochs_since_improvement": 0, "loss": 2.5, "best_loss": 2.5}
    torch.save({**content, "model": net, "optimizer": optimizer}, path, _use_new_zipfile_serialization=not legacy)
    monkeypatch.delitem(sys.modules, "model")  # nobody who loads the file has it
    imported = import_file(path)
    assert imported.model == "ssd300_vgg16" and imported.config["num_classes"] == 21
    assert imported.categories is VOC
    assert imported.state["backbone.norms.22.weight"].tolist() == [20.0] * 512
    assert "model" not in sys.modules


def pickled_network(monkeypatch) -> nn.Module:
    """A small network with the tutorial's names, of classes in a module `model`, as its training script saves them."""
    module = types.ModuleType("model")
    module.SSD300 = type("SSD300", (nn.Module,), {"__module__": "model", "__qualname__": "SSD300"})
    module.Part = type("Part", (nn.Module,), {"__module__": "model", "__qualname__": "Part"})
    monkeypatch.setitem(sys.modules, "model", module)
    net = module.SSD300()
    for name, (channels, *rest) in shapes().items():
        *path, last = name.split(".")
        part = net
        for step in path:
            if step not in part._modules:
                part.add_module(step, module.Part())
            part = part._modules[step]
        part.register_parameter(last, nn.Parameter(torch.zeros(channels, *[1] * len(rest))))
    net.rescale_factors = nn.Parameter(torch.full((1, 512, 1, 1), 20.0))
    net.priors_cxcy = torch.zeros(8732, 4)  # no parameter and no buffer
    return net


def test_recognised_by_its_names():
    (reading,) = readings_of(foreign_of(hollow(shapes())))
    assert reading.name == "sgrvinod"


@pytest.mark.parametrize(("num_classes", "categories"), [(21, VOC), (81, COCO), (3, None)])
def test_classes(num_classes, categories):
    foreign = foreign_of(hollow(shapes(num_classes)))
    imported = convert(foreign, choose(foreign))
    assert imported.config["num_classes"] == num_classes and imported.categories is categories
    assert imported.assumed, "the file does not say"


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("pred_convs.loc_conv9_2.bias", None, "there is no tensor 'pred_convs.loc_conv9_2.bias'"),
        ("pred_convs.cl_conv4_3.bias", None, "there is no tensor 'pred_convs.cl_conv4_3.bias'"),
        ("pred_convs.cl_conv4_3.bias", (85,), "pred_convs.cl_conv4_3.bias: the shape .85,. cannot be that of 4 boxes"),
        ("pred_convs.cl_conv7.bias", (84,), r"pred_convs.cl_conv7.bias has the shape \(84,\): expected 126 channels"),
        ("pred_convs.loc_conv10_2.weight", (24, 256, 3, 3), "pred_convs.loc_conv10_2.weight has the shape"),
        ("aux_convs.conv12_1.weight", (128, 256, 1, 1), "unexpected tensor 'aux_convs.conv12_1.weight'"),
    ],
)
def test_other_architectures_are_refused(name, shape, message):
    changed = {key: value for key, value in {**shapes(), name: shape}.items() if value is not None}
    foreign = foreign_of(hollow(changed))
    with pytest.raises(ValueError, match=message) as caught:
        convert(foreign, choose(foreign))
    assert str(foreign.container.path) in str(caught.value)
