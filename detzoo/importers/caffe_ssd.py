"""weiliu89/caffe (github.com/weiliu89/caffe, branch ssd, commit 4817bf8): the original SSD300 and SSD512 with VGG-16.

Names and numbers are those that `examples/ssd/ssd_pascal.py`, `ssd_coco.py`, `ssd_ilsvrc.py` and
`python/caffe/model_libs.py` write into the prototxts. A .caffemodel as Caffe saves it repeats its layers, default boxes
included; what it does not say comes from a prototxt beside it, or is what was published.
"""

from functools import partial

from .caffe_net import (
    PRIOR,
    blobs,
    check_blobs,
    check_heads,
    coder,
    default_boxes,
    input_size,
    postprocess,
    preprocess,
    priors,
    published_priors,
    stated,
    unsaid,
)
from .layouts import rgb_first
from .names import rename
from .numbers import (
    CAFFE_MEAN,
    RATIOS_300,
    RATIOS_512,
    SIZES_300_COCO,
    SIZES_300_VOC,
    SIZES_512_COCO,
    SIZES_512_VOC,
    STEPS_300,
    STEPS_512,
)
from .origin import Foreign, Imported, Reading, usual_categories

NAME = "caffe-ssd"
HOME = "https://github.com/weiliu89/caffe/tree/ssd"
SOURCES = ("conv4_3_norm", "fc7", "conv6_2", "conv7_2", "conv8_2", "conv9_2", "conv10_2")  # the last one: SSD512
FIRST = "backbone.trunk.0.weight"
# The convolutions of VGG-16's stages, by the first one's number among its layers in PyTorch.
STAGES = {"conv1": (0, 2), "conv2": (5, 7), "conv3": (10, 12, 14), "conv4": (17, 19, 21), "conv5": (24, 26, 28)}
NAMES = {
    **{
        f"{stage}_{k}": f"backbone.trunk.{index}"
        for stage, layers in STAGES.items()
        for k, index in enumerate(layers, start=1)
    },
    "fc6": "backbone.extras.0.1",
    "fc7": "backbone.extras.0.3",
    **{f"conv{5 + block}_{k}": f"backbone.extras.{block}.{2 * k - 2}" for block in range(1, 6) for k in (1, 2)},
    **{f"{source}_mbox_conf": f"head.classification.{level}" for level, source in enumerate(SOURCES)},
    **{f"{source}_mbox_loc": f"head.regression.{level}" for level, source in enumerate(SOURCES)},
}
RULES = {**blobs(NAMES), r"conv4_3_norm\.0": "backbone.norms.22.weight"}
OUTPUT = {
    "nms_param": {"nms_threshold": 0.45, "top_k": 400},
    "keep_top_k": 200,
    "confidence_threshold": 0.01,
    "code_type": "CENTER_SIZE",
}
COCO_CLASSES, ILSVRC_CLASSES = 81, 201


def readings(foreign: Foreign) -> list[Reading]:
    """One, if default boxes are in the file or its prototxt; else they go by the data set, or the file's name."""
    if foreign.container.kind != "caffe" or not foreign.has("conv1_1.0", "conv4_3_norm.0", "conv4_3_norm_mbox_conf.1"):
        return []
    model = "SSD512" if foreign.has("conv10_2.0") else "SSD300"
    voc_sizes, coco_sizes = (SIZES_512_VOC, SIZES_512_COCO) if model == "SSD512" else (SIZES_300_VOC, SIZES_300_COCO)
    if stated(foreign, PRIOR):
        return [Reading(NAME, f"{model} with the default boxes that the net states", partial(_convert, sizes=[]))]
    for_voc, for_coco = _data_sets(foreign)
    about = f"{model} with the default boxes of"
    voc = Reading(f"{NAME}/voc", f"{about} VOC and ILSVRC", partial(_convert, sizes=voc_sizes), hinted=for_voc)
    coco = Reading(
        f"{NAME}/coco", f"{about} COCO, or fine-tuned from that", partial(_convert, sizes=coco_sizes), hinted=for_coco
    )
    classes = len(foreign.state["conv4_3_norm_mbox_conf.1"]) / 4
    return {COCO_CLASSES: [coco], ILSVRC_CLASSES: [voc]}.get(classes, [voc, coco])


def _data_sets(foreign: Foreign) -> tuple[bool, bool]:
    """Whether names point to VOC's default boxes, and to COCO's: "ft" is what went on from COCO."""
    words = f"{foreign.file_name} {foreign.container.metadata.get('name', '')}".lower()
    coco = "coco" in words or "_ft" in words
    return not coco and ("voc0712" in words or "ilsvrc" in words), coco


def _convert(foreign: Foreign, sizes: list[float]) -> Imported:
    large = foreign.has("conv10_2.0")
    check_blobs(foreign, (layer for layer in NAMES if large or not layer.startswith("conv10")))
    state = rename(foreign.state, RULES)
    sources, usual = (SOURCES, (512, 512)) if large else (SOURCES[:-1], (300, 300))
    published = published_priors(sizes, *((RATIOS_512, STEPS_512) if large else (RATIOS_300, STEPS_300)))
    size = _evenly_pooled(input_size(foreign, usual))
    levels = priors(foreign, sources, published)
    boxes = default_boxes(levels, size)
    num_classes = check_heads(foreign, sources, list(map(len, boxes["shapes"])))
    categories, assumed = usual_categories(num_classes)
    config = {
        "num_classes": num_classes,
        "size": list(size),
        "default_boxes": boxes,
        "coder": coder(levels),
        "preprocess": preprocess(foreign, CAFFE_MEAN[::-1], 1.0),
        "postprocess": postprocess(foreign, OUTPUT),
    }
    state[FIRST] = rgb_first(state[FIRST])
    return Imported(
        "ssd512_vgg16" if large else "ssd300_vgg16",
        config,
        state,
        categories,
        changes=(f"{FIRST}: blue first to red first",),
        assumed=(*assumed, *unsaid(foreign)),
        rules=RULES,
    )


def _evenly_pooled(size: tuple[int, int]) -> tuple[int, int]:
    """The size, if Caffe's poolings, which all round up, do what detzoo's do, of which only the third rounds up."""
    if any(side % 4 or -(-side // 8) % 2 for side in size):
        raise ValueError(
            f"an input of {size[0]} x {size[1]}: Caffe rounds the sizes of maps up where detzoo rounds them down; with "
            "300 and 512 pixels there is nothing to round"
        )
    return size
