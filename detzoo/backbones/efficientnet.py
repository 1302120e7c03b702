"""EfficientNet (arXiv:1905.11946) as lufficc/SSD uses it (github.com/lufficc/SSD)."""

from torchvision import models

from ..layers import batch_norm, same_padded, xavier_init
from .base import Backbone
from .extras import halving_extra, plain_extra

# In torchvision's list: the stem, seven stages of blocks, and a last convolution that is not used. A stage of one's own
# begins at each strided one; maps leave after the last block of strides 8, 16 and 32.
STAGES, TAPS = (0, 2, 3, 4, 6), (3, 5, 7)


def efficientnet_b3() -> Backbone:
    """EfficientNet-B3 with three taps and three plain extra blocks: maps 38/19/10/5/3/1 at 300 pixels.

    Strided convolutions pad as TensorFlow's do, and batch norms have its constants, as in the weights ported from there
    (github.com/lukemelas/EfficientNet-PyTorch). torchvision's network has tensors of the same shapes, and its own
    weights, but pads otherwise: those do not belong here.
    """
    norm = batch_norm(eps=1e-3, momentum=0.01)
    trunk = same_padded(models.efficientnet_b3(weights=None, norm_layer=norm).features[:-1])
    extras = [halving_extra(384, 256), plain_extra(256, 256), plain_extra(256, 256)]
    for block in extras:
        xavier_init(block)
    channels = [48, 136, 384, 256, 256, 256]
    return Backbone(trunk, dict.fromkeys(TAPS), extras, channels, STAGES, 8)
