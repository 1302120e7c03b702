"""Between backbone and head: feature maps in, as many feature maps out."""

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork


class FPN(nn.Module):
    """Feature pyramid network (Lin et al., arXiv:1612.03144, section 3): coarse maps are added to the finer ones.

    Args:
        channels: of each map that comes in.
        out_channels: of each map that goes out.
    """

    def __init__(self, channels: Sequence[int], out_channels: int = 256) -> None:
        super().__init__()
        if out_channels < 1:
            raise ValueError(f"FPN: out_channels must be at least 1, got {out_channels}")
        self.channels = [out_channels] * len(channels)
        self.pyramid = FeaturePyramidNetwork(list(channels), out_channels)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """One [B, out_channels, H_k, W_k] map per level, finest first."""
        return list(self.pyramid(OrderedDict((str(level), x) for level, x in enumerate(maps))).values())
