"""The original SSD in Caffe: where a naive import gives other boxes and no error, and what its files say."""

from pathlib import Path

import numpy as np
import pytest
import torch
from goldens import Golden, made_batch, rows_of
from steps import Steps, hollow

from detzoo.backbones import BACKBONES
from detzoo.categories import COCO, VOC
from detzoo.components import DefaultBoxGenerator, Postprocess, Preprocess
from detzoo.importers import Foreign, Imported, caffe_ssd, choose, convert, readings_of
from detzoo.importers.numbers import RATIOS_512, SIZES_512_VOC, STEPS_512
from detzoo.importers.readers import Container

SHAPES = {name: tuple(shape) for name, (shape, _) in Golden.read("caffe_ssd-voc").layout.items()}
SAID = Golden.read("caffe_ssd-voc").metadata["prototxt"]


@pytest.fixture(scope="module")
def steps() -> Steps:
    return Steps("caffe_ssd-voc")


def foreign(
    classes: int = 21,
    file: str = "mine.caffemodel",
    name: str = "",
    layers: tuple = (),
    prototxt: dict | None = None,
    without: str = "",
    **changed: tuple[int, ...],
) -> Foreign:
    """A file of SSD300's shapes, for so many classes, without tensors or with others (`__` for a dot in a name)."""
    shapes = {
        key: (shape[0] // 21 * classes, *shape[1:]) if "_mbox_conf" in key else shape for key, shape in SHAPES.items()
    }
    shapes |= {key.replace("__", "."): shape for key, shape in changed.items()}
    tensors = hollow({key: shape for key, shape in shapes.items() if key != without})
    metadata = {"name": name, "layers": list(layers), "prototxt": prototxt}
    return Foreign.of(Container("caffe", tensors, metadata, Path("somewhere") / file))


def imported(file: Foreign, origin: str | None = None) -> Imported:
    return convert(file, choose(file, origin))


@pytest.fixture(scope="module")
def large() -> Imported:
    """SSD512, without numbers."""
    golden = Golden.read("caffe_ssd-512")
    tensors = hollow({name: shape for name, (shape, _) in golden.layout.items()})
    return imported(Foreign.of(Container("caffe", tensors, golden.metadata, Path(golden.file))))


def prototxt(field: str, **changes) -> dict:
    """The published one for VOC, with these values in the last layer that has the field, None for none at all."""
    layers = [dict(layer) for layer in SAID["layer"]]
    last = [layer for layer in layers if field in layer][-1]
    values = {**last[field], **changes}
    last[field] = {name: value for name, value in values.items() if value is not None}
    return {**SAID, "layer": layers}


@torch.no_grad()
def test_blue_comes_first(steps):
    golden = steps.golden
    batch = made_batch(*golden.size, golden.scale)
    naive = steps.model.predict(batch.flip(1)).logits[0].numpy()[rows_of(8732)]
    assert np.abs(naive - golden.logits).max() / np.abs(golden.logits).max() > 0.01
    assert steps.raw_apart(steps.model.head) < 1e-5


@pytest.mark.parametrize(("clip", "differ"), [("none", 0), ("sizes", 0), ("centres_and_sizes", 114)])
def test_centres_beyond_the_image_stay_there(steps, clip, differ):
    shapes, steps_in_pixels = steps.model.default_boxes.shapes, steps.config.default_boxes["steps"]
    apart = steps.default_boxes_apart(DefaultBoxGenerator(shapes, steps=steps_in_pixels, clip=clip))
    level = slice(38 * 38 * 4 + 19 * 19 * 6, 38 * 38 * 4 + 19 * 19 * 6 + 10 * 10 * 6)
    assert (apart[level] > 1e-6).sum() == differ
    assert (apart.max() > 1e-6) == (clip != "none"), "wide boxes of the last levels do, too"


def test_pictures_are_warped_by_opencv(steps):
    numbers = {name: steps.config.preprocess[name] for name in ("mean", "std")}
    naive = steps.predictions_after(Preprocess((300, 300), **numbers, resize="bilinear"))
    assert steps.as_the_original(steps.predictions, steps.model.postprocess)
    assert not steps.as_the_original(naive, steps.model.postprocess)


@pytest.mark.parametrize("naive", [{"clip": True}, {"top_k": 20}, {"iou_threshold": 0.5}], ids=str)
def test_suppression(steps, naive):
    options = {name: value for name, value in steps.config.postprocess.items() if name != "name"}
    assert not steps.as_the_original(steps.predictions, Postprocess(**{**options, **naive}))


def test_sizes_of_ssd512_are_whole_pixels(large):
    golden = Golden.read("caffe_ssd-512")
    assert golden.metadata["layers"][1]["prior_box_param"]["min_size"] == [35.84]
    found = large.config["default_boxes"]
    grids = [(cells, cells) for cells in (64, 32, 16, 8, 4, 2, 1)]
    ours = DefaultBoxGenerator(found["shapes"], steps=found["steps"], clip="none")(grids, (512, 512)) / 512
    sizes = SIZES_512_VOC[:-1], SIZES_512_VOC[1:]
    naive = DefaultBoxGenerator.from_sizes(*sizes, RATIOS_512, image_size=(512, 512), steps=STEPS_512)(
        grids, (512, 512)
    )
    wanted = golden.default_boxes
    wanted = np.concatenate([wanted[:, :2] - wanted[:, 2:] / 2, wanted[:, :2] + wanted[:, 2:] / 2], axis=1)
    assert np.abs(ours.numpy() - wanted).max() < 1e-6
    assert np.abs(naive.numpy() / 512 - wanted).max() > 1e-3


def test_extras_of_ssd512_fit_torchvisions_with_other_maps(large):
    """Loading into the wrong ones raises no error."""
    with torch.device("meta"):
        right, wrong = (BACKBONES["vgg16"](extras) for extras in ("ssd512", "ssd512_torchvision"))
        maps = [[x.shape[-1] for x in trunk(torch.empty(1, 3, 512, 512))] for trunk in (right, wrong)]
    for trunk in (right, wrong):
        assert all(tensor.shape == large.state[f"backbone.{key}"].shape for key, tensor in trunk.state_dict().items())
    assert maps == [[64, 32, 16, 8, 4, 2, 1], [64, 32, 16, 8, 6, 4, 1]]


def test_a_net_that_states_its_default_boxes_is_read_one_way():
    for said in ({"layers": tuple(SAID["layer"])}, {"prototxt": SAID}):
        (reading,) = readings_of(foreign(**said))
        assert reading.name == "caffe-ssd" and "SSD300" in reading.about


def test_without_them_the_user_is_asked():
    with pytest.raises(ValueError, match="caffe-ssd/voc.*\n.*caffe-ssd/coco"):
        choose(foreign())
    assert imported(foreign(), "caffe-ssd/coco").config["default_boxes"]["shapes"][0][0] == [21 / 300, 21 / 300]


@pytest.mark.parametrize(
    ("names", "reading"),
    [
        ({"file": "VGG_VOC0712_SSD_300x300_iter_120000.caffemodel"}, "caffe-ssd/voc"),
        ({"file": "VGG_VOC0712Plus_SSD_300x300_ft_iter_160000.caffemodel"}, "caffe-ssd/coco"),
        ({"file": "VGG_coco_SSD_300x300.caffemodel"}, "caffe-ssd/coco"),
        ({"name": "VGG_VOC0712_SSD_300x300_train"}, "caffe-ssd/voc"),
        ({"classes": 81}, "caffe-ssd/coco"),
        ({"classes": 201}, "caffe-ssd/voc"),
    ],
    ids=str,
)
def test_names_and_numbers_of_classes_point_to_default_boxes(names, reading):
    assert choose(foreign(**names)).name == reading


def test_it_is_nobody_elses_file_and_no_other_is_this():
    assert {reading.name for reading in readings_of(foreign())} == {"caffe-ssd/voc", "caffe-ssd/coco"}
    file = foreign()
    torch_file = Container("torch", file.state, {"content": {}}, Path("mine.pth"))
    assert caffe_ssd.readings(Foreign(torch_file, file.state)) == []


def test_the_published_numbers_are_those_of_the_published_prototxt():
    stated, published = imported(foreign(prototxt=SAID)), imported(foreign(), "caffe-ssd/voc")
    assert stated.config == published.config
    assert stated.config["postprocess"] == {
        "name": "nms",
        "score_threshold": 0.01,
        "iou_threshold": 0.45,
        "top_k": 400,
        "detections_per_image": 200,
        "clip": False,
    }
    assert [line.partition(":")[0] for line in stated.assumed] == ["the 20 classes are VOC's", "mean pixel and scale"]
    assert len(published.assumed) == 4


@pytest.mark.parametrize(("classes", "categories"), [(21, VOC), (81, COCO), (201, None), (7, None)])
def test_categories(classes, categories):
    found = imported(foreign(classes, prototxt=SAID))
    assert found.config["num_classes"] == classes and found.categories == categories


def test_the_prototxt_counts_before_what_the_weights_repeat():
    (first,) = [layer for layer in SAID["layer"] if layer["name"] == "detection_out"]
    saved = {**first, "detection_output_param": {"code_type": "CENTER_SIZE", "keep_top_k": 7}}
    both = foreign(layers=(saved,), prototxt=SAID)
    assert imported(both).config["postprocess"]["detections_per_image"] == 200
    assert imported(foreign(layers=(saved,)), "caffe-ssd/voc").config["postprocess"] == {
        "name": "nms",
        "score_threshold": 0.0,  # what caffe.proto says of fields that are left out
        "iou_threshold": 0.3,
        "top_k": None,
        "detections_per_image": 7,
        "clip": False,
    }


def test_default_boxes_of_another_nets_prototxt_are_refused():
    """Those of COCO beside VOC's weights have the same shapes, and every box would be wrong."""
    other = prototxt("prior_box_param", min_size=[261.0], max_size=[315.0])
    both = foreign(layers=tuple(SAID["layer"]), prototxt=other)
    with pytest.raises(
        ValueError, match=r"conv9_2_mbox_priorbox: the prototxt says .*261.0.*weights themselves.*264.0"
    ):
        imported(both)
    same = prototxt("prior_box_param", flip=None, variance=[0.1, 0.1, 0.2, 0.2])
    assert (
        imported(foreign(layers=tuple(SAID["layer"]), prototxt=same)).config == imported(foreign(prototxt=SAID)).config
    )


def test_the_prototxt_that_was_taken_is_named():
    file = foreign(prototxt=SAID)
    file.container.metadata["prototxt_path"] = "somewhere/deploy.prototxt"
    assert [
        line for line in imported(file).assumed if line.startswith("deploy.prototxt beside the file is of this net")
    ]


def test_no_limit_is_minus_one():
    said = prototxt("detection_output_param", keep_top_k=-1, nms_param={"top_k": -1})
    found = imported(foreign(prototxt=said)).config["postprocess"]
    assert found["detections_per_image"] is None and found["top_k"] is None


def test_training_data_say_mean_scale_and_size():
    data = {"mean_value": [1.0, 2.0, 3.0], "scale": 0.5, "resize_param": {"height": 512, "width": 300}}
    config = imported(foreign(layers=({"name": "data", "transform_param": data},)), "caffe-ssd/voc").config
    assert config["preprocess"]["mean"] == pytest.approx([3 / 255, 2 / 255, 1 / 255])
    assert config["preprocess"]["std"] == pytest.approx([2 / 255] * 3)
    assert config["size"] == [512, 300] and config["default_boxes"]["shapes"][0][0] == [30 / 300, 30 / 512]
    shapeless = {**SAID, "input_shape": [{}]}
    assert imported(foreign(prototxt=shapeless)).config["size"] == [300, 300]
    one = {"name": "data", "transform_param": {"mean_value": [128.0]}}
    assert imported(foreign(layers=(one,)), "caffe-ssd/voc").config["preprocess"]["mean"] == [128 / 255] * 3


def test_variances_and_odd_default_boxes():
    said = {**SAID, "layer": [dict(layer) for layer in SAID["layer"]]}
    for layer in said["layer"]:
        if "prior_box_param" in layer:
            layer["prior_box_param"] = {**layer["prior_box_param"], "variance": [0.5]}
    last = [layer for layer in said["layer"] if "prior_box_param" in layer][-1]
    last["prior_box_param"] |= {"min_size": [90.0, 120.9], "max_size": [], "aspect_ratio": [1.0, 3.0], "flip": False}
    config = imported(foreign(prototxt=said)).config
    assert config["coder"]["weights"] == [2.0] * 4
    sides = [side * 300 for shape in config["default_boxes"]["shapes"][-1] for side in shape]
    root = 3**0.5
    assert sides == pytest.approx([90, 90, 90 * root, 90 / root, 120, 120, 120 * root, 120 / root])


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (prototxt("prior_box_param", clip=True), "PriorBox of level 5: clip = True; detzoo can only do False"),
        (prototxt("prior_box_param", offset=0.0), "level 5: offset = 0.0"),
        (prototxt("prior_box_param", img_size=500), "level 5: img_size = 500"),
        (prototxt("prior_box_param", step=None), "some PriorBox layers have a step and some have not"),
        (prototxt("prior_box_param", step_h=1.0), "steps of .1.0, 300.0. pixels"),
        (prototxt("prior_box_param", min_size=None), "0 min_size and 1 max_size"),
        (prototxt("prior_box_param", variance=[0.1]), "levels have different variances"),
        (
            prototxt("prior_box_param", aspect_ratio=[2.0, 3.0]),
            r"conv9_2_mbox_loc.1 \(16,\): expected 4 numbers for each of 6",
        ),
        (prototxt("detection_output_param", code_type=None), "detection_out: code_type = CORNER"),
        (prototxt("detection_output_param", background_label_id=20), "background_label_id = 20"),
        (prototxt("detection_output_param", share_location=False), "share_location = False"),
        (prototxt("detection_output_param", nms_param={"eta": 0.5}), "eta = 0.5"),
        ({**SAID, "input_dim": [1, 3, 500, 500]}, r"inputs of different sizes, \[\(300, 300\), \(500, 500\)\]"),
        (
            {**SAID, "input_shape": [{"dim": [1, 3, 500, 500]}]},
            "an input of 500 x 500: Caffe rounds the sizes of maps up",
        ),
        (prototxt("prior_box_param", min_size=[0.0]), "PriorBox of level 5: min_size = 0.0; expected a number above 0"),
        (prototxt("prior_box_param", min_size=[0.5]), "PriorBox of level 5: min_size in whole pixels = 0"),
        (prototxt("prior_box_param", aspect_ratio=[0.0]), "PriorBox of level 5: aspect_ratio = 0.0"),
        (prototxt("prior_box_param", aspect_ratio=[-2.0]), "PriorBox of level 5: aspect_ratio = -2.0"),
        (prototxt("prior_box_param", max_size=["a"]), "PriorBox of level 5: max_size = 'a'"),
        (prototxt("prior_box_param", step=0.0), "PriorBox of level 5: step = 0.0"),
        (prototxt("prior_box_param", step=float("inf")), "PriorBox of level 5: step = inf"),
        (prototxt("prior_box_param", variance=[0.0]), "PriorBox of level 5: variance = 0.0"),
        (prototxt("prior_box_param", variance=[]), r"PriorBox of level 5: variance = \[\]; expected 1 number or 4"),
        (prototxt("prior_box_param", variance=[0.1, 0.2]), "variance = .0.1, 0.2.; expected 1 number or 4"),
        ({**SAID, "input_dim": [1, 3, 0, 300]}, "the net: dim = 0; expected a number above 0"),
        ({**SAID, "input_shape": [{"dim": [1, 3, 300, -1]}]}, "input_shape: dim = -1"),
        ({**SAID, "layer": SAID["layer"][1:]}, "no PriorBox layer 'conv4_3_norm_mbox_priorbox'"),
    ],
)
def test_nets_that_have_no_place_here(said, message):
    with pytest.raises(ValueError, match=message) as caught:
        imported(foreign(prototxt=said))
    assert "mine.caffemodel, read as caffe-ssd" in str(caught.value)


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        ({"resize_param": {"resize_mode": "FIT_SMALL_SIZE"}}, "data: resize_mode = FIT_SMALL_SIZE"),
        ({"mean_file": "mean.binaryproto"}, "data: mean_file = mean.binaryproto"),
        ({"scale": 0.0}, "data: scale = 0.0; expected a number above 0"),
        ({"scale": float("nan")}, "data: scale = nan"),
        ({"scale": "a"}, "data: scale = 'a'"),
        ({"mean_value": []}, r"data: mean_value = \[\]; expected 1 number or 3"),
        ({"mean_value": [1.0, 2.0]}, r"data: mean_value = \[1.0, 2.0\]; expected 1 number or 3"),
        ({"mean_value": [float("inf")]}, r"data: mean_value = \[inf\]"),
        ({"resize_param": {"height": 0, "width": 300}}, "data: height, width = 0"),
    ],
)
def test_pixels_that_have_no_place_here(transform, message):
    with pytest.raises(ValueError, match=message):
        imported(foreign(layers=({"name": "data", "transform_param": transform},)), "caffe-ssd/voc")


@pytest.mark.parametrize(
    ("odd", "message"),
    [
        ({"without": "conv8_2_mbox_conf.1"}, "no blob 'conv8_2_mbox_conf.1': the file is not complete"),
        ({"fc7_mbox_loc__1": (16,)}, r"fc7_mbox_loc.1 \(16,\): expected 4 numbers for each of 6 default boxes"),
        ({"fc7_mbox_conf__1": (125,)}, "fc7_mbox_conf.1: the shape .125,. cannot be that of 6 boxes"),
        ({"fc7_mbox_conf__1": (120,)}, "different numbers of classes.*'fc7_mbox_conf.1': 20"),
        ({"pool6_mbox_loc__0": (24, 256, 3, 3)}, "unexpected tensor 'pool6_mbox_loc.0'"),  # SSD of early 2016
    ],
    ids=str,
)
def test_odd_layouts(odd, message):
    with pytest.raises(ValueError, match=message):
        imported(foreign(**odd), "caffe-ssd/voc")


def test_a_missing_convolution():
    with pytest.raises(ValueError, match="no blob 'conv3_2.0'"):
        imported(foreign(without="conv3_2.0"), "caffe-ssd/voc")


def test_weights_are_not_copied(steps):
    """But those of the first layer, whose colours change places."""
    ours = {tensor.data_ptr() for tensor in steps.imported.state.values()}
    theirs = {key for key, tensor in steps.foreign.state.items() if tensor.data_ptr() not in ours}
    assert theirs == {"conv1_1.0"}
