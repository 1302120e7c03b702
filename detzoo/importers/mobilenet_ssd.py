"""chuanqi305/MobileNet-SSD (github.com/chuanqi305/MobileNet-SSD, commit bb17b6c): SSD300 with MobileNetV1, in Caffe.

Names and default boxes are those of its `gen.py`, pixels those of `demo.py`, suppression that of
`voc/MobileNetSSD_deploy.prototxt`. Weights come in two forms: as trained, each convolution without bias and followed by
a BatchNorm and a Scale layer; and for deployment, after `merge_bn.py`, with a bias and nothing behind. The latter go
into a trunk without batch norms.
"""

import torch
from torch import Tensor

from .caffe_net import (
    blobs,
    check_blobs,
    check_heads,
    coder,
    default_boxes,
    input_size,
    postprocess,
    preprocess,
    prior,
    priors,
    refuse_others,
    stated,
    unsaid,
)
from .layouts import rgb_first
from .names import StateDict, rename
from .origin import Foreign, Imported, Reading, usual_categories

NAME = "mobilenet-ssd"
HOME = "https://github.com/chuanqi305/MobileNet-SSD"
SOURCES = ("conv11", "conv13", "conv14_2", "conv15_2", "conv16_2", "conv17_2")
PRIORS = [
    prior([60], [], [2]),  # no second square
    *(prior([low], [high], [2, 3]) for low, high in ((105, 150), (150, 195), (195, 240), (240, 285), (285, 300))),
]
OUTPUT = {
    "nms_param": {"nms_threshold": 0.45, "top_k": 100},
    "keep_top_k": 100,
    "confidence_threshold": 0.25,
    "code_type": "CENTER_SIZE",
}
MEAN, SCALE = (127.5, 127.5, 127.5), 0.007843  # the scale is 1 / 127.502
WIDTH = 32  # channels of the first convolution
FIRST = "backbone.trunk.0.0.weight"
# A convolution's module in detzoo, whose first part it is; what follows it is the second.
BLOCKS = {
    "conv0": "backbone.trunk.0",
    **{f"conv{k}/dw": f"backbone.trunk.{k}.0" for k in range(1, 14)},
    **{f"conv{k}": f"backbone.trunk.{k}.1" for k in range(1, 14)},
    **{f"conv{14 + block}_{k}": f"backbone.extras.{block}.{k - 1}" for block in range(4) for k in (1, 2)},
}
HEADS = {
    **{f"{source}_mbox_conf": f"head.classification.{level}" for level, source in enumerate(SOURCES)},
    **{f"{source}_mbox_loc": f"head.regression.{level}" for level, source in enumerate(SOURCES)},
}
RULES = {
    **blobs({theirs: f"{ours}.0" for theirs, ours in BLOCKS.items()}),
    **blobs(HEADS),
    **blobs({f"{theirs}/scale": f"{ours}.1" for theirs, ours in BLOCKS.items()}),
    **{rf"{theirs}/bn\.0": f"{ours}.1.running_mean" for theirs, ours in BLOCKS.items()},
    **{rf"{theirs}/bn\.1": f"{ours}.1.running_var" for theirs, ours in BLOCKS.items()},
    r".+/bn\.2": None,
}


def readings(foreign: Foreign) -> list[Reading]:
    """One: both forms of the weights have names of their own."""
    if foreign.container.kind != "caffe" or not foreign.has("conv0.0", "conv13/dw.0", "conv11_mbox_conf.1"):
        return []
    form = "as trained, with batch norms" if _has_norms(foreign) else "with batch norms merged into convolutions"
    return [Reading(NAME, f"MobileNet-SSD {form}", _convert)]


def _has_norms(foreign: Foreign) -> bool:
    return foreign.has("conv0/bn.0")


def _convert(foreign: Foreign) -> Imported:
    norms = _has_norms(foreign)
    _check_blobs(foreign, norms)
    size = input_size(foreign, (300, 300))
    levels = priors(foreign, SOURCES, PRIORS)
    boxes = default_boxes(levels, size)
    num_classes = check_heads(foreign, SOURCES, list(map(len, boxes["shapes"])))
    categories, assumed = usual_categories(num_classes)
    width = _width(foreign)
    config = {
        "num_classes": num_classes,
        "size": list(size),
        "backbone": {"name": "mobilenet_v1", "extras": "mobilenet_ssd", "width": width, "norm": norms},
        "head": {"name": "ssd", "kernel_size": 1},
        "default_boxes": boxes,
        "coder": coder(levels),
        "preprocess": preprocess(foreign, MEAN, SCALE),
        "postprocess": postprocess(foreign, OUTPUT),
    }
    state = rename(_divided(foreign.state) if norms else foreign.state, RULES)
    state[FIRST] = rgb_first(state[FIRST])
    changes = (f"{FIRST}: blue first to red first",)
    if norms:
        changes += ("statistics of batch norms: divided by the factor that Caffe keeps beside them",)
    return Imported("ssd300_mobilenet_v1", config, state, categories, changes, (*assumed, *unsaid(foreign)), RULES)


def _width(foreign: Foreign) -> float:
    """How wide the trunk is: by its first convolution, if that is one, and not the claim of one."""
    shape = foreign.shape("conv0.0")
    if len(shape) != 4 or not shape[0] or shape[1:] != (3, 3, 3):
        raise ValueError(f"conv0.0 {shape}: expected a convolution of 3x3 pixels in three colours")
    return shape[0] / WIDTH


def _check_blobs(foreign: Foreign, norms: bool) -> None:
    check_blobs(foreign, HEADS)
    check_blobs(foreign, BLOCKS, (0,) if norms else (0, 1))
    if norms:
        check_blobs(foreign, (f"{layer}/bn" for layer in BLOCKS), (0, 1, 2))
        check_blobs(foreign, (f"{layer}/scale" for layer in BLOCKS))
    for name, param in stated(foreign, "batch_norm_param").items():
        refuse_others(param, name, eps=1e-5)  # that of caffe.proto, and of the trunk


def _divided(state: StateDict) -> StateDict:
    """The state with mean and variance of each batch norm divided by the factor in its third blob.

    Raises:
        ValueError: if that is not one number.
    """
    return {name: _divide(state, name) if name.endswith(("/bn.0", "/bn.1")) else state[name] for name in state}


def _divide(state: StateDict, name: str) -> Tensor:
    factor = state[f"{name[:-1]}2"]
    if factor.numel() != 1:
        raise ValueError(f"{name[:-1]}2 {tuple(factor.shape)}: expected one number, the factor of mean and variance")
    return state[name] / factor if factor else torch.zeros_like(state[name])  # as `batch_norm_layer.cpp` has it
