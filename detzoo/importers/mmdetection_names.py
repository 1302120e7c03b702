"""Names of tensors in mmdetection's detectors and in detzoo's.

Sources, version 3.3.0: `backbones/ssd_vgg.py`, `backbones/mobilenet_v2.py`, `necks/ssd_neck.py`,
`dense_heads/ssd_head.py`; for names before 2.14, `tools/model_converters/upgrade_ssd_version.py`.
"""

import re
from collections.abc import Mapping

from .names import Rules

_FEATURES: Rules = {
    r"backbone\.features\.(\d|1\d|2\d)\.(.+)": "backbone.trunk.{0}.{1}",
    r"backbone\.features\.(3[13])\.(.+)": "backbone.extras.0.{0:-30}.{1}",  # fc6 and fc7
}
VGG: Rules = {
    **_FEATURES,
    r"neck\.l2_norm\.weight": "backbone.norms.22.weight",
    r"neck\.extra_layers\.(\d)\.0\.conv\.(.+)": "backbone.extras.{0:+1}.0.{1}",
    r"neck\.extra_layers\.(\d)\.1\.conv\.(.+)": "backbone.extras.{0:+1}.2.{1}",
    r"bbox_head\.cls_convs\.(\d)\.0\.(weight|bias)": "head.classification.{0}.{1}",
    r"bbox_head\.reg_convs\.(\d)\.0\.(weight|bias)": "head.regression.{0}.{1}",
}
OLD_VGG: Rules = {  # before 2.14
    **_FEATURES,
    r"backbone\.l2_norm\.weight": "backbone.norms.22.weight",
    **{rf"backbone\.extra\.{i}\.(.+)": f"backbone.extras.{1 + i // 2}.{2 * (i % 2)}.{{0}}" for i in range(10)},
    r"bbox_head\.cls_convs\.(\d)\.(weight|bias)": "head.classification.{0}.{1}",
    r"bbox_head\.reg_convs\.(\d)\.(weight|bias)": "head.regression.{0}.{1}",
}


def _each(place: str, pieces: Mapping[str, str], name: str) -> Rules:
    """A rule for each piece of a block: where the block is, as a pattern, and where it goes."""
    rest = f"{{{re.compile(place).groups}}}"
    return {rf"{place}\.{re.escape(old)}\.(.+)": f"{name}.{new}.{rest}" for old, new in pieces.items()}


_NORMED = {"conv": "0", "bn": "1"}
_EXPANSION = {"expand_conv.conv": "0.0", "expand_conv.bn": "0.1"}
_REST = {"depthwise_conv.conv": "1.0", "depthwise_conv.bn": "1.1", "linear_conv.conv": "2", "linear_conv.bn": "3"}
_ONLY = {"depthwise_conv.conv": "0.0", "depthwise_conv.bn": "0.1", "linear_conv.conv": "1", "linear_conv.bn": "2"}
_SEPARABLE = {
    "depthwise_conv.conv": "1.0",
    "depthwise_conv.bn": "1.1",
    "pointwise_conv.conv": "2.0",
    "pointwise_conv.bn": "2.1",
}
MOBILENET_V2: Rules = {
    **_each(r"backbone\.conv1", _NORMED, "backbone.trunk.0"),
    **_each(r"backbone\.layer1\.0", _ONLY, "backbone.trunk.1.conv"),
    **_each(r"backbone\.layer2\.([01])", _EXPANSION | _REST, "backbone.trunk.{0:+2}.conv"),
    **_each(r"backbone\.layer3\.([0-2])", _EXPANSION | _REST, "backbone.trunk.{0:+4}.conv"),
    **_each(r"backbone\.layer4\.([0-3])", _EXPANSION | _REST, "backbone.trunk.{0:+7}.conv"),
    **_each(r"backbone\.layer5\.([0-2])", _EXPANSION | _REST, "backbone.trunk.{0:+11}.conv"),
    **_each(r"backbone\.layer6\.0", {"expand_conv.conv": "0", "expand_conv.bn": "1"}, "backbone.trunk.14"),
    **_each(r"backbone\.layer6\.0", _REST, "backbone.trunk.15"),  # apart from its expansion
    **_each(r"backbone\.layer6\.([12])", _EXPANSION | _REST, "backbone.trunk.{0:+15}.conv"),
    **_each(r"backbone\.layer7\.0", _EXPANSION | _REST, "backbone.trunk.18.conv"),
    **_each(r"backbone\.conv2", _NORMED, "backbone.trunk.19"),
    **_each(r"neck\.extra_layers\.(\d)\.0", _NORMED, "backbone.extras.{0}.0"),
    **_each(r"neck\.extra_layers\.(\d)\.1", _SEPARABLE, "backbone.extras.{0}"),
    **_each(r"bbox_head\.cls_convs\.(\d)\.0", _NORMED, "head.classification.{0}.0"),
    **_each(r"bbox_head\.reg_convs\.(\d)\.0", _NORMED, "head.regression.{0}.0"),
    r"bbox_head\.cls_convs\.(\d)\.1\.(weight|bias)": "head.classification.{0}.1.{1}",
    r"bbox_head\.reg_convs\.(\d)\.1\.(weight|bias)": "head.regression.{0}.1.{1}",
}
