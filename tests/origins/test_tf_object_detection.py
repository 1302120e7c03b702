"""TensorFlow's Object Detection API: where a naive import gives other boxes and no error, and where its numbers are."""

from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from goldens import Golden, made_batch, rows_of
from steps import Steps, hollow
from torch import Tensor, nn

from detzoo.categories import COCO_91, VOC
from detzoo.components import DefaultBoxGenerator, MultiBoxLoss, Postprocess, Preprocess
from detzoo.importers import Foreign, Imported, choose, convert, readings_of, tf_object_detection
from detzoo.importers.layouts import reordered_coordinates
from detzoo.importers.readers import Container
from detzoo.layers import SameConv2d
from detzoo.models.opening import build_imported

FIRST = "FeatureExtractor/MobilenetV1/Conv2d_0"
SUPPRESSION = "Postprocessor/BatchMultiClassNonMaxSuppression/map/while/MultiClassNonMaxSuppression"
CONFIG = """
model { ssd {
  num_classes: 90
  image_resizer { %s }
  feature_extractor { type: "ssd_mobilenet_v1" }
  anchor_generator { ssd_anchor_generator { %s } }
  post_processing { batch_non_max_suppression { %s } score_converter: %s }
} }
train_config { batch_size: 24 }
"""
RESIZER = "fixed_shape_resizer { height: 240 width: 320 }"
RATIOS = "aspect_ratios: 1.0 aspect_ratios: 2.0 aspect_ratios: 0.5 aspect_ratios: 3.0 aspect_ratios: 0.25"


@pytest.fixture(scope="module")
def v1() -> Steps:
    return Steps("tf_object_detection-v1")


@pytest.fixture(scope="module")
def lite() -> Steps:
    return Steps("tf_object_detection-v2-lite")


def shapes(net: str, classes: int = 91) -> dict[str, tuple[int, ...]]:
    found = {name: tuple(shape) for name, (shape, _) in Golden.read(f"tf_object_detection-{net}").layout.items()}
    for name, shape in found.items():
        if "/ClassPredictor/" in name:
            found[name] = (*shape[:-1], shape[-1] // 91 * classes)
    return {name: shape for name, shape in found.items() if not name.startswith("Postprocessor")}


def foreign(tensors: dict[str, Tensor], path: Path = Path("somewhere/model.ckpt.index"), **ops: int) -> Foreign:
    kind = "tensorflow-graph" if path.suffix == ".pb" else "tensorflow-bundle"
    return Foreign.of(Container(kind, tensors, {"ops": ops}, path))


def imported(file: Foreign) -> Imported:
    return convert(file, choose(file))


def logits_apart(steps: Steps, model: nn.Module) -> float:
    with torch.no_grad():
        logits = model.predict(made_batch(*steps.golden.size, steps.golden.scale)).logits[0].numpy()
    return np.abs(logits[rows_of(1917)] - steps.golden.logits).max() / np.abs(steps.golden.logits).max()


def padded_alike(layer: SameConv2d, x: Tensor) -> Tensor:
    padding = layer.kernel_size[0] // 2
    return F.conv2d(x, layer.weight, layer.bias, layer.stride, padding, layer.dilation, layer.groups)


@pytest.mark.parametrize("net", ["v1", "lite"])
def test_padding(net, request, monkeypatch):
    steps = request.getfixturevalue(net)
    assert logits_apart(steps, steps.model) < 1e-5
    monkeypatch.setattr(SameConv2d, "forward", padded_alike)
    assert logits_apart(steps, steps.model) > 0.1


@pytest.mark.parametrize("net", ["v1", "lite"])
def test_norms_have_constants_of_their_own(net, request):
    steps = request.getfixturevalue(net)
    naive = deepcopy(steps.model)
    for module in naive.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.eps == 1e-3
            module.eps = 1e-5
    assert logits_apart(steps, naive) > 1e-4


def test_activations_end_at_six(v1):
    naive = deepcopy(v1.model)
    for parent in list(naive.modules()):
        for name, layer in parent.named_children():
            if isinstance(layer, nn.ReLU6):
                setattr(parent, name, nn.ReLU())
    assert logits_apart(v1, naive) > 1e-3


@pytest.mark.parametrize(("net", "last"), [("v1", ""), ("lite", "1.")])
def test_height_before_width(net, last, request):
    steps = request.getfixturevalue(net)
    assert steps.raw_apart(steps.model.head) < 1e-5
    names = [f"head.regression.{k}.{last}{what}" for k in range(6) for what in ("weight", "bias")]
    state = steps.imported.state
    naive = {name: reordered_coordinates(state[name], (1, 0, 3, 2)) for name in names}  # its own inverse
    assert steps.raw_apart(steps.head_with({**state, **naive})) > 0.1


def test_default_boxes(v1):
    assert v1.default_boxes_apart(v1.model.default_boxes).max() < 1e-6
    naive = DefaultBoxGenerator.from_scales((0.2, 0.35, 0.5, 0.65, 0.8, 0.95, 1.0), [(2, 3)] * 6, clip="none")
    cells = [x.shape[-1] ** 2 for x in v1.maps]
    usual = naive([tuple(x.shape[-2:]) for x in v1.maps], (300, 300))[cells[0] * 6 :].reshape(-1, 6, 4) / 300
    theirs = torch.from_numpy(v1.golden.default_boxes[cells[0] * 3 :].reshape(-1, 6, 4))
    sizes = usual[..., 2:] - usual[..., :2]
    assert (sizes - theirs[..., 2:]).abs().max() > 0.01, "the square between two levels is the last box, not the second"
    apart = (sizes[:, [0, 2, 3, 4, 5, 1]] - theirs[..., 2:]).abs().amax(dim=(0, 2))
    assert apart[:4].max() < 1e-6 and apart[5] < 1e-6
    assert apart[4] > 1e-5, "a third is .3333"


def test_scores_are_sigmoids(v1):
    naive = deepcopy(v1)
    naive.model.loss = MultiBoxLoss()
    assert v1.as_the_original(v1.predictions, v1.model.postprocess)
    assert not naive.as_the_original(v1.predictions, v1.model.postprocess)


@pytest.mark.parametrize("resize", ["bilinear", "opencv"])
def test_pixel_k_is_at_k(v1, resize):
    naive = v1.predictions_after(Preprocess((300, 300), (0.5,) * 3, (0.5,) * 3, resize=resize))
    assert not v1.as_the_original(naive, v1.model.postprocess)


@pytest.mark.parametrize("naive", [{"clip": False}, {"iou_threshold": 0.45}, {"top_k": 20}], ids=str)
def test_suppression(lite, naive):
    options = {name: value for name, value in lite.config.postprocess.items() if name != "name"}
    assert lite.as_the_original(lite.predictions, lite.model.postprocess)
    assert not lite.as_the_original(lite.predictions, Postprocess(**{**options, **naive}))


@pytest.mark.parametrize(
    ("net", "name", "about", "parameters"),
    [
        ("v1", "tf-object-detection/mobilenet_v1", "SSD with MobilenetV1", 6_819_839),
        ("v2", "tf-object-detection/mobilenet_v2", "SSD with MobilenetV2", 16_837_567),
        ("v2-plain", "tf-object-detection/mobilenet_v2", "SSD with MobilenetV2", 18_469_631),
        ("v2-lite", "tf-object-detection/mobilenet_v2", "SSDlite with MobilenetV2", 4_500_543),
    ],
)
def test_it_is_recognised_by_its_names(net, name, about, parameters):
    file = foreign(hollow(shapes(net)))
    (reading,) = readings_of(file)
    assert (reading.name, reading.about) == (name, about)
    assert tf_object_detection.readings(Foreign(Container("torch", {}, {}, Path("mine.pth")), file.state)) == []
    with torch.device("meta"):
        model = build_imported(imported(file)).model
    assert sum(p.numel() for p in model.parameters()) == parameters


def test_extra_blocks_may_be_separable_in_either():
    found = shapes("v1")
    for name in [name for name in found if "_2_Conv2d_" in name and name.endswith("/weights")]:
        block, channels, outputs = name.removesuffix("/weights"), *found[name][2:]
        norms = {f"{block}_depthwise/BatchNorm/{what}": (channels,) for what in tf_norms()}
        found |= {name: (1, 1, channels, outputs), f"{block}_depthwise/depthwise_weights": (3, 3, channels, 1), **norms}
    opened = build_imported(imported(foreign(hollow(found))))
    assert opened.config.backbone["extras"] == "tensorflow_lite"
    (plain,) = readings_of(foreign(hollow(shapes("v2-plain"))))
    assert plain.convert(foreign(hollow(shapes("v2-plain")))).config["backbone"]["extras"] == "ssd"


def tf_norms() -> tuple[str, ...]:
    return ("gamma", "beta", "moving_mean", "moving_variance")


@pytest.mark.parametrize(("classes", "categories"), [(91, COCO_91), (21, VOC), (3, None)])
def test_categories(classes, categories):
    found = imported(foreign(hollow(shapes("v1", classes))))
    assert found.config["num_classes"] == classes and found.categories == categories


def test_without_a_config_the_usual_numbers_are_taken_and_told(lite):
    assert lite.imported.config["postprocess"]["score_threshold"] == 1e-8
    assert "no pipeline.config beside the file" in lite.imported.assumed[1]


def beside(
    folder: Path, resizer: str = RESIZER, boxes: str = "", suppression: str = "", scores: str = "SIGMOID"
) -> Path:
    """The path of a checkpoint, and its config there."""
    (folder / "pipeline.config").write_text(CONFIG % (resizer, boxes, suppression, scores))
    return folder / "model.ckpt.index"


def test_the_config_beside_a_checkpoint(tmp_path):
    boxes = f"min_scale: 0.1 max_scale: 0.6 {RATIOS}"
    suppression = "score_threshold: 0.3 iou_threshold: 0.5 max_detections_per_class: 50 max_total_detections: 80"
    found = imported(foreign(hollow(shapes("v1")), beside(tmp_path, RESIZER, boxes, suppression)))
    assert found.config["size"] == [240, 320]
    (square, wide, _), second, *_, last = found.config["default_boxes"]["shapes"]
    assert square == pytest.approx([0.1 * 240 / 320, 0.1]), "a square is one in pixels"
    assert wide == pytest.approx([0.1 * 2**0.5 * 240 / 320, 0.1 / 2**0.5])
    assert second[0] == pytest.approx([0.2 * 240 / 320, 0.2]) and second[4] == pytest.approx([0.1 * 240 / 320, 0.4])
    assert second[5] == pytest.approx([0.06**0.5 * 240 / 320, 0.06**0.5])
    assert last[5] == pytest.approx([0.6**0.5 * 240 / 320, 0.6**0.5]), "behind the last scale comes 1"
    suppressed = found.config["postprocess"]
    assert [suppressed[name] for name in ("score_threshold", "iou_threshold", "detections_per_image")] == [0.3, 0.5, 80]
    assert found.config["loss"] == {"name": "focal"}
    assert found.assumed[1:] == ("the limit of 50 detections of a class is left out, that of 80 of an image is kept",)


def test_softmax(tmp_path):
    found = imported(foreign(hollow(shapes("v1")), beside(tmp_path, boxes=RATIOS, scores="SOFTMAX")))
    assert found.config["loss"] == {"name": "multibox"}


def test_the_config_of_another_net_is_let_be(tmp_path):
    found = imported(foreign(hollow(shapes("v1", classes=4)), beside(tmp_path)))
    assert found.config["size"] == [300, 300]
    assert "the pipeline.config beside the file is of another net" in found.assumed[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"boxes": "min_scale: 0.2 min_scale: 0.3"}, r"min_scale = \[0.2, 0.3\]; expected a number, 0.001 to 10"),
        ({"boxes": "num_layers: 1000000000"}, "num_layers = 1000000000; expected a whole number, 1 to 100"),
        ({"boxes": "num_layers: six"}, "num_layers = 'six'; expected a whole number"),
        ({"boxes": "num_layers: 6.5"}, "num_layers = 6.5; expected a whole number"),
        ({"boxes": "min_scale: 1e9999"}, "min_scale = inf; expected a number"),
        ({"boxes": "scales: []"}, "scales is empty"),
        ({"boxes": "aspect_ratios: [1.0, -2.0]"}, "aspect_ratios = -2.0; expected a number, 0.001 to 1000"),
        ({"boxes": "aspect_ratios: 'wide'"}, "aspect_ratios = 'wide'"),
        ({"boxes": "reduce_boxes_in_lowest_layer: 3"}, "reduce_boxes_in_lowest_layer = 3; expected true or false"),
        ({"suppression": "iou_threshold: 1e9999"}, "iou_threshold = inf; expected a number, 0 to 1"),
        ({"suppression": "max_total_detections: 1e9"}, "max_total_detections = 1000000000.0; expected a whole number"),
        ({"suppression": "max_total_detections: many"}, "max_total_detections = 'many'"),
        ({"resizer": "fixed_shape_resizer { height: 300 height: 300 width: 300 }"}, r"height = \[300, 300\]"),
        (
            {"resizer": "fixed_shape_resizer { height: 0 width: 300 }"},
            "height = 0; expected a whole number, 1 to 10000",
        ),
        (
            {"resizer": "fixed_shape_resizer { } fixed_shape_resizer { }"},
            "fixed_shape_resizer is .* expected one message",
        ),
        ({"scores": "[SIGMOID]"}, r"score_converter is \['SIGMOID'\], expected SIGMOID or SOFTMAX"),
        ({"scores": "SIGMOID score_converter: SIGMOID"}, "score_converter is .'SIGMOID', 'SIGMOID'.,"),
    ],
    ids=str,
)
def test_configs_with_numbers_that_are_none(tmp_path, options, message):
    """Field and file are named, whatever is written there."""
    with pytest.raises(ValueError, match=f"pipeline.config: {message}"):
        imported(foreign(hollow(shapes("v1")), path=beside(tmp_path, **options)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resizer": "keep_aspect_ratio_resizer { min_dimension: 600 }"}, "resized by keep_aspect_ratio_resizer"),
        ({"boxes": "base_anchor_height: 2.0"}, "ssd_anchor_generator has base_anchor_height"),
        ({"scores": "IDENTITY"}, "score_converter is IDENTITY"),
        ({"boxes": "reduce_boxes_in_lowest_layer: false"}, "12 numbers, expected 4 for each of 6 default boxes"),
    ],
    ids=str,
)
def test_configs_that_ask_for_something_else(tmp_path, options, message):
    file = foreign(hollow(shapes("v1")), beside(tmp_path, **options))
    with pytest.raises(ValueError, match=message):
        imported(file)


def constants() -> dict[str, Tensor]:
    """As in the graph that was published with ssd_mobilenet_v1_coco_2018_01_28, but for the numbers."""
    found = {
        "Preprocessor/map/while/ResizeImage/size": torch.tensor([300, 300], dtype=torch.int32),
        f"{SUPPRESSION}/FilterGreaterThan/Greater/y": torch.tensor(0.25),
        f"{SUPPRESSION}/FilterGreaterThan_1/Greater/y": torch.tensor(0.25),
        f"{SUPPRESSION}/non_max_suppression/iou_threshold": torch.tensor(0.5),
        "MultipleGridAnchorGenerator/mul_21/x": torch.tensor(0.0),
        "MultipleGridAnchorGenerator/Sqrt/x": torch.tensor([1.0, 2.0, 0.5]),
        "MultipleGridAnchorGenerator/mul_15/x": torch.tensor([0.1, 0.3, 0.3]),
    }
    for k in range(1, 6):
        found[f"MultipleGridAnchorGenerator/Sqrt_{k}/x"] = torch.tensor([1.0, 2.0, 0.5, 3.0, 0.25, 1.0])
        found[f"MultipleGridAnchorGenerator/mul_{15 + 8 * k}/x"] = torch.full((6,), 0.4 + k / 10)
    return found


def test_a_frozen_graph_says_its_numbers():
    found = imported(foreign({**hollow(shapes("v1")), **constants()}, Path("frozen_inference_graph.pb"), Sigmoid=1))
    boxes = found.config["default_boxes"]["shapes"]
    assert boxes[0][0] == pytest.approx([0.1, 0.1]) and boxes[0][1] == pytest.approx([0.3 * 2**0.5, 0.3 / 2**0.5])
    assert boxes[5][4] == pytest.approx([0.45, 1.8])
    assert found.config["postprocess"]["score_threshold"] == 0.25
    assert found.config["postprocess"]["iou_threshold"] == 0.5
    assert len(found.assumed) == 1, "what the classes are"
    softmax = imported(foreign({**hollow(shapes("v1")), **constants()}, Path("graph.pb"), Softmax=1))
    assert softmax.config["loss"] == {"name": "multibox"}


def test_a_graph_that_was_reworked_says_less(v1):
    assert v1.imported.config["postprocess"]["score_threshold"] == pytest.approx(0.3)
    assert v1.imported.assumed[1:] == (
        "size: the graph does not say it",
        "default boxes are those of its SSDs for COCO: the graph does not say them",
    )


def test_what_training_needs_is_left_out(lite):
    assert "1 variables of training, such as 'global_step'" in lite.imported.changes[1]


@pytest.mark.parametrize(
    ("net", "changed", "message"),
    [
        ("v1", {"BoxPredictor_3/ClassPredictor/weights": None}, "no variable 'BoxPredictor_3/ClassPredictor/weights'"),
        ("v1", {"BoxPredictor_5/BoxEncodingPredictor/biases": None}, "no variable 'BoxPredictor_5/BoxEncodingPredict"),
        ("v1", {f"{FIRST}/BatchNorm/moving_mean": None}, "batch norms were merged"),
        ("v1", {f"{FIRST}/weights": (3, 3, 3, 16)}, "depth multipliers other than 1"),
        ("v1", {"BoxPredictor_1/BoxEncodingPredictor/biases": (12,)}, "12 numbers, expected 4 for each of 6 default"),
        ("v1", {"BoxPredictor_1/ClassPredictor/biases": (12,)}, "the heads tell different numbers of classes apart"),
        ("v2", {"FeatureExtractor/MobilenetV2/other/weights": (1, 1, 2, 2)}, "unexpected tensor 'FeatureExtractor/Mob"),
    ],
)
def test_files_of_other_networks_and_pieces(net, changed, message):
    found = {**shapes(net), **changed}
    file = foreign(hollow({name: shape for name, shape in found.items() if shape is not None}))
    with pytest.raises(ValueError, match=message):
        imported(file)
