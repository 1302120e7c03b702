"""Every published file can be loaded if somebody has it, and what is known of it is printed without having it.

The files are hollow: names and shapes are those that the originals' code saves (`layout` in tests/origins/golden, or
torchvision itself), weights are none.
"""

import json
import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.models import get_model

from detzoo.importers import Foreign, choose, convert
from detzoo.importers.readers import Container
from detzoo.models import MODELS, SSDConfig, WeightsEnum, build_ssd
from detzoo.models.presets import config_of
from detzoo.models.published import NONE, list_published, sentences
from detzoo.models.zoo import all_weights
from detzoo.ops import xyxy_to_cxcywh
from detzoo.show import format_card

Shapes = dict[str, tuple[int, ...]]
GOLDEN = Path(__file__).parents[1] / "origins" / "golden"
PUBLISHED = [member for entry in MODELS.values() for member in entry.weights or ()]
CLASS_HEAD = re.compile(r"_mbox_conf\.|classification_headers\.")
FIRST_VERSION = [  # of lufficc's names, by those since
    (r"backbone\.", ""),
    (r"box_head\.predictor\.cls_headers", "classification_headers"),
    (r"box_head\.predictor\.reg_headers", "regression_headers"),
]
BEFORE_2_14 = [  # MMDetection's
    (r"neck\.l2_norm\.", "backbone.l2_norm."),
    (r"neck\.extra_layers\.(\d)\.0\.conv\.", lambda found: f"backbone.extra.{2 * int(found[1])}."),
    (r"neck\.extra_layers\.(\d)\.1\.conv\.", lambda found: f"backbone.extra.{2 * int(found[1]) + 1}."),
    (r"bbox_head\.(cls|reg)_convs\.(\d)\.0\.", r"bbox_head.\1_convs.\2."),
]
# Files that have other names for the tensors of a golden file: its name, and what the names are replaced with.
RENAMED: dict[str, tuple[str, list[tuple[str, str | Callable[[re.Match[str]], str]]]]] = {
    "SSD300_VGG16_Weights.VOC0712_LUFFICC_2018": ("lufficc-vgg_ssd300_voc", FIRST_VERSION),
    "SSD512_VGG16_Weights.VOC0712_LUFFICC_2018": ("lufficc-vgg_ssd512_voc", FIRST_VERSION),
    "SSD300_VGG16_Weights.COCO_MMDETECTION_2020": ("mmdetection-ssd300_coco", BEFORE_2_14),
    "SSD512_VGG16_Weights.COCO_MMDETECTION_2020": ("mmdetection-ssd512_coco", BEFORE_2_14),
}


@cache
def golden(name: str) -> tuple[Mapping, int]:
    """What is said of the checkpoint that a golden file is of, and its number of classes."""
    with np.load(GOLDEN / f"{name}.npz", allow_pickle=False) as file:
        return json.loads(str(file["words"])), file["logits"].shape[1]


def file_name(member: WeightsEnum) -> str:
    return member.value.file or Path(member.value.member or member.url).name


def file_of(member: WeightsEnum, metadata: Mapping | None = None) -> Foreign:
    """The file as the readers give it, without numbers."""
    if member.meta["origin"] == "torchvision":
        with torch.device("meta"):
            network = get_model(model_of(member), weights_backbone=None)
        shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
        return hollow(member, shapes)
    source, replaced = RENAMED.get(str(member), (member.meta.get("golden"), []))
    words, classes = golden(source)
    shapes = {name: tuple(shape) for name, (shape, _) in words["layout"].items()}
    for pattern, new in replaced:
        shapes = {re.sub(f"^{pattern}", new, name): shape for name, shape in shapes.items()}
    if classes != member.categories.num_classes:
        shapes = for_classes(shapes, classes, member.categories.num_classes)
    said = None if replaced else words["metadata"]  # of a later version
    return hollow(member, shapes, metadata or said, words["kind"])


def hollow(member: WeightsEnum, shapes: Shapes, metadata: Mapping | None = None, kind: str = "torch") -> Foreign:
    tensors = {name: torch.zeros(()).expand(shape) for name, shape in shapes.items()}
    path = GOLDEN / "nothing is beside it" / file_name(member)
    return Foreign.of(Container(kind, tensors, metadata or {"content": {}}, path))


def for_classes(shapes: Shapes, old: int, new: int) -> Shapes:
    heads = {name: shape for name, shape in shapes.items() if CLASS_HEAD.search(name)}
    return {**shapes, **{name: (first // old * new, *rest) for name, (first, *rest) in heads.items()}}


def model_of(member: WeightsEnum) -> str:
    return next(name for name, entry in MODELS.items() if entry.weights is type(member))


@pytest.mark.parametrize("member", PUBLISHED, ids=str)
def test_a_published_file_can_be_loaded(member):
    """Its importer reads it in the one way of the catalogue, as the model that it stands under, for its classes."""
    foreign = file_of(member)
    found = convert(foreign, choose(foreign, member.value.reading))
    assert found.config["num_classes"] == member.categories.num_classes
    config = config_of(found)
    with torch.device("meta"):
        own = build_ssd(config).state_dict()
    counters = {key for key in own if key.endswith(".num_batches_tracked")}
    assert own.keys() - counters <= found.state.keys() <= own.keys()
    assert all(own[key].shape == tensor.shape for key, tensor in found.state.items())
    listed = MODELS[model_of(member)].config
    assert trunk_of(config) == trunk_of(listed) and config.size == listed.size


def trunk_of(config: SSDConfig) -> str:
    """lufficc's MobileNetV3 stands under the name of torchvision's, of the same tensors."""
    return config.backbone["name"].removesuffix("_d_li14")


@pytest.mark.parametrize("name", RENAMED)
def test_files_with_names_of_their_own(name):
    """Other names than those of the later file, which has a golden file, and the same tensors in the same places."""
    member, (source, _) = all_weights()[name], RENAMED[name]
    later = next(other for other in type(member) if other.meta.get("golden") == source)
    old, new = file_of(member), file_of(later)
    assert len(old.state) == len(new.state) and old.state.keys() != new.state.keys()
    then, since = (convert(x, choose(x, y.value.reading)) for x, y in ((old, member), (new, later)))
    assert [(key, x.shape) for key, x in then.state.items()] == [(key, x.shape) for key, x in since.state.items()]
    assert then.config["default_boxes"] == since.config["default_boxes"]
    assert then.config["preprocess"] == since.config["preprocess"]


CAFFES = [member for member in PUBLISHED if member.value.reading == "caffe-ssd"]


@pytest.mark.parametrize("member", CAFFES, ids=str)
def test_default_boxes_of_caffes_files_without_their_prototxt(member):
    """What was trained or pre-trained on COCO has smaller ones; the names say so."""
    foreign = file_of(member, metadata={"name": "", "layers": [], "prototxt": None})
    data_set = "coco" if member.name.startswith("COCO") or "_COCO_" in member.name else "voc"
    assert choose(foreign, member.value.reading).name == f"caffe-ssd/{data_set}"


@pytest.mark.parametrize("member", [member for member in PUBLISHED if member.meta.get("golden")], ids=str)
def test_default_boxes_are_those_of_the_golden_file(member):
    """What a card calls verified has the default boxes that the original's code was seen to have: as the file alone
    tells them, since nobody knows whether somebody puts a prototxt beside it.
    """
    alone = {"name": "", "layers": [], "prototxt": None} if member in CAFFES else None
    foreign = file_of(member, metadata=alone)
    config = config_of(convert(foreign, choose(foreign, member.value.reading)))
    assert np.abs(default_boxes_of(config) - default_boxes_in(member.meta["golden"])).max() < 1e-6


def default_boxes_of(config: SSDConfig) -> np.ndarray:
    """[A, 4] centre and size, fractions of the image."""
    with torch.device("meta"):
        model = build_ssd(config).eval()
        grids = [tuple(x.shape[-2:]) for x in model.backbone(torch.empty(1, 3, *config.size))]
    height, width = config.size
    boxes = model.default_boxes(grids, config.size) / torch.tensor((width, height, width, height))
    return xyxy_to_cxcywh(boxes).numpy()


@cache
def default_boxes_in(name: str) -> np.ndarray:
    with np.load(GOLDEN / f"{name}.npz", allow_pickle=False) as file:
        return file["default_boxes"]


def test_no_two_members_are_the_same_file():
    """Equal ones would be one member with two names, and files put into the cache by hand share a folder."""
    names = [name for name in all_weights() if not name.endswith(".DEFAULT")]
    assert len(names) == len(PUBLISHED)
    by_hand = [member.value.file for member in PUBLISHED if member.value.file]
    assert len(set(by_hand)) == len(by_hand)
    assert len({(member.url, member.value.file) for member in PUBLISHED}) == len(PUBLISHED)


@pytest.mark.parametrize(
    "words",
    [
        "VOC0712PLUS_CAFFE 75.8 mAP on VOC2012-test verified architecture BSD-2-Clause by hand",
        "VOC0712_LUFFICC_2018 77.83 mAP on VOC2007-test, 11 points unverified MIT fetched",
        "VOC0712_BALANCAP 77.8 mAP on VOC2007-test, 11 points verified architecture none stated by hand",
        "ILSVRC_CAFFE no metric verified architecture BSD-2-Clause by hand",
        "VOC0712_PYTORCH_SSD_2018 76.8 mAP on VOC2007-test, 11 points verified architecture MIT gone",
        "* COCO_V1 25.1 AP on COCO-val2017 verified architecture BSD-3-Clause fetched",
    ],
)
def test_list_says(words):
    lines = [" ".join(line.split()) for line in list_published()]
    start, end = lines.index("ssd300_vgg16"), lines.index("ssd512_resnet50: no published weights")
    assert words in lines[start:end]


def test_list_is_a_line_for_each():
    lines, expected = list(list_published()), []
    assert max(map(len, lines)) <= 120
    for name in sorted(MODELS):
        catalogue = MODELS[name].weights
        expected += [name if catalogue else f"{name}: {NONE}"]
        expected += [f" {'*' if member is catalogue['DEFAULT'] else ' '} {member.name}" for member in catalogue or ()]
    for line, begins in zip(lines[: lines.index("")], expected, strict=True):
        assert line == begins if not begins.startswith(" ") else line.startswith(f"{begins}  ")


@pytest.mark.parametrize("member", PUBLISHED, ids=str)
def test_show_says_state_licence_and_address(member):
    card, said = member.meta, "\n".join(sentences(member))
    values = [value for metric in card["metrics"].values() for value in metric.values()]
    for text in (said, format_card(str(member))):
        assert all(word in text for word in (card["state"], card["licence"] or "none stated", member.url, str(member)))
        assert all(f"{value} " in text for value in values) and ("no metric" in text) == (not values)
        assert card["origin"] in text
        way = "said to be gone from" if card.get("gone") else "by hand from" if member.value.file else "fetched from"
        assert f"{way} {member.url}" in text


def test_a_card():
    rows = dict(re.split(r"  +", line, maxsplit=1) for line in format_card("SSD300_VGG16_Weights.DEFAULT").splitlines())
    assert rows["weights"] == "SSD300_VGG16_Weights.COCO_V1, of torchvision" and rows["model"] == "ssd300_vgg16"
    assert rows["classes"] == "90: person, bicycle, car, motorcycle, airplane, ..."
    assert rows["hash"] == "sha256 begins b556d3b4" and rows["licence"] == "BSD-3-Clause"
    assert rows["file"].endswith("ssd300_vgg16_coco-b556d3b4.pth, 135.988 MB")
    assert "sha256 3d147eb48c8f" in format_card("SSD300_VGG16_Weights.VOC0712_SSD_PYTORCH")
    assert "sha1 994d30a8afaa" in format_card("SSD300_MobileNet_V1_Weights.VOC0712_COCO_CHUANQI")
    assert "classes    2: Handgun, Shotgun\n" in format_card("SSD300_MobileNet_V1_Weights.GUNS_PYTORCH_SSD")


@pytest.mark.parametrize("source", ["ssd300_vgg16", "COCO_V1", "SSD300_VGG16_Weights.COCO", "runs/mine"])
def test_what_is_no_full_name_has_no_card(source):
    assert format_card(source) is None


def test_a_file_of_that_name_is_meant(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("SSD300_VGG16_Weights.COCO_V1").write_bytes(b"")
    assert format_card("SSD300_VGG16_Weights.COCO_V1") is None


def test_what_cannot_be_loaded_is_not_in_the_catalogue():
    page = (Path(__file__).parents[2] / "references" / "IMPORTING.md").read_text(encoding="utf-8")
    table = page.partition("## Known and not loadable")[2].partition("\n## ")[0]
    assert table.count("\n|") > 10
    assert [str(member) for member in PUBLISHED if file_name(member) in table] == []
