"""Names of lufficc/SSD and detzoo, trunk by trunk (commit 68dc0a2, `ssd/modeling`; for version 1, commit 94a995d,
`ssd/modeling/vgg_ssd.py`).
"""

import re
from collections.abc import Mapping
from itertools import pairwise

from .names import Rules

HEADS = {
    r"box_head\.predictor\.cls_headers\.(\d)\.(weight|bias)": "head.classification.{0}.{1}",
    r"box_head\.predictor\.reg_headers\.(\d)\.(weight|bias)": "head.regression.{0}.{1}",
    r"box_head\.predictor\.cls_headers\.(\d)\.conv\.(.+)": "head.classification.{0}.{1}",  # separable ones
    r"box_head\.predictor\.reg_headers\.(\d)\.conv\.(.+)": "head.regression.{0}.{1}",
}
HEADS_V1 = {
    r"classification_headers\.(.+)": "head.classification.{0}",
    r"regression_headers\.(.+)": "head.regression.{0}",
}


def _vgg(prefix: str) -> Rules:
    """Layers are counted as in torchvision; fc6 and fc7 are the first extra block, and L2Norm has a name of its own."""
    return {
        rf"{prefix}vgg\.(\d|1\d|2\d)\.(.+)": "backbone.trunk.{0}.{1}",
        rf"{prefix}vgg\.(3[13])\.(.+)": "backbone.extras.0.{0:-30}.{1}",
        rf"{prefix}l2_norm\.weight": "backbone.norms.22.weight",
        **{rf"{prefix}extras\.{i}\.(.+)": f"backbone.extras.{1 + i // 2}.{2 * (i % 2)}.{{0}}" for i in range(10)},
    }


def _blocks(old: str, new: str, layers: Mapping[str, str]) -> Rules:
    """The layers of blocks whose number is the only group of the pattern `old`."""
    return {rf"{old}\.{re.escape(theirs)}\.(.+)": f"{new}.block.{ours}.{{1}}" for theirs, ours in layers.items()}


VGG = {**_vgg(r"backbone\."), **HEADS}
VGG_V1 = {**_vgg(""), **HEADS_V1}

MOBILENET_V2 = {
    r"backbone\.features\.14\.conv\.0\.(.+)": "backbone.trunk.14.{0}",  # the expansion, which detzoo keeps apart
    r"backbone\.features\.14\.conv\.(.+)": "backbone.trunk.15.{0}",
    r"backbone\.features\.(1[5-8])\.(.+)": "backbone.trunk.{0:+1}.{1}",
    r"backbone\.features\.(\d+)\.(.+)": "backbone.trunk.{0}.{1}",
    r"backbone\.extras\.(.+)": "backbone.extras.{0}",
    **HEADS,
}

# Of MobileNetV3's blocks, the first does not expand, and eight of the trunk and all extras have squeeze-and-excitation.
_EXPANDING = {"conv.0": "0.0", "conv.1": "0.1", "conv.3": "1.0", "conv.4": "1.1"}
_FIRST = {"conv.0": "0.0", "conv.1": "0.1", "conv.4": "1.0", "conv.5": "1.1"}
_PLAIN = {**_EXPANDING, "conv.7": "2.0", "conv.8": "2.1"}
_SQUEEZED = {**_EXPANDING, "conv.5.fc.0": "2.fc1", "conv.5.fc.2": "2.fc2", "conv.7": "4.0", "conv.8": "4.1"}
MOBILENET_V3 = {
    r"backbone\.features\.(0|16)\.(.+)": "backbone.trunk.{0}.{1}",
    **_blocks(r"backbone\.features\.(1)", "backbone.trunk.{0}", _FIRST),
    **_blocks(r"backbone\.features\.(2|3|7|8|9|10)", "backbone.trunk.{0}", _PLAIN),
    **_blocks(r"backbone\.features\.(4|5|6|11|12|13|14|15)", "backbone.trunk.{0}", _SQUEEZED),
    **_blocks(r"backbone\.extras\.(\d)", "backbone.extras.{0}", _SQUEEZED),
    **HEADS,
}

# EfficientNet-B3: 26 blocks in seven stages, of which the first does not expand.
_FIRST_BLOCKS = (0, 2, 5, 8, 13, 18, 24, 26)
_MB_CONV = {
    "_expand_conv": "0.0",
    "_bn0": "0.1",
    "_depthwise_conv": "1.0",
    "_bn1": "1.1",
    "_se_reduce": "2.fc1",
    "_se_expand": "2.fc2",
    "_project_conv": "3.0",
    "_bn2": "3.1",
}
_MB_CONV_1 = {
    "_depthwise_conv": "0.0",
    "_bn1": "0.1",
    "_se_reduce": "1.fc1",
    "_se_expand": "1.fc2",
    "_project_conv": "2.0",
    "_bn2": "2.1",
}


def _stage(stage: int, first: int, end: int) -> Rules:
    """Blocks are numbered throughout there, and from the beginning of their stage here."""
    numbers = "|".join(map(str, range(first, end)))
    new = f"backbone.trunk.{stage}.{{0:{-first:+}}}"
    return _blocks(rf"backbone\._blocks\.({numbers})", new, _MB_CONV_1 if stage == 1 else _MB_CONV)


EFFICIENTNET_B3 = {
    r"backbone\._conv_stem\.(.+)": "backbone.trunk.0.0.{0}",
    r"backbone\._bn0\.(.+)": "backbone.trunk.0.1.{0}",
    **{
        old: new
        for stage, (first, end) in enumerate(pairwise(_FIRST_BLOCKS), start=1)
        for old, new in _stage(stage, first, end).items()
    },
    r"backbone\.extras\.(.+)": "backbone.extras.{0}",
    **HEADS,
}
