"""What every trunk is: layers in a row, some of whose outputs leave as feature maps, and extra blocks behind them."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn


class Backbone(nn.Module):
    """A chain of layers with taps.

    A map leaves after each tapped layer of the trunk, where it may pass a norm *on the way out*, and after each extra
    block.

    Args:
        trunk: the layers of a classification network, in order.
        taps: for each trunk layer after which a map leaves, its number and what the map passes on the way out (None for
            nothing).
        extras: blocks behind the trunk; the output of each is a map.
        channels: channels of each map.
        stages: number of the trunk layer with which each stage begins; what one freezes is a number of stages.
        first_stride: pixels of the input between neighbouring cells of the first map; None where nobody knows.
    """

    def __init__(
        self,
        trunk: Sequence[nn.Module],
        taps: Mapping[int, nn.Module | None],
        extras: Sequence[nn.Module],
        channels: Sequence[int],
        stages: Sequence[int],
        first_stride: int | None = None,
    ) -> None:
        super().__init__()
        assert len(taps) + len(extras) == len(channels) and stages[0] == 0
        self.trunk = nn.ModuleList(trunk)
        self.taps = tuple(taps)
        self.norms = nn.ModuleDict({str(layer): norm for layer, norm in taps.items() if norm is not None})
        self.extras = nn.ModuleList(extras)
        self.channels = list(channels)
        self.first_stride = first_stride
        self.stages = [slice(start, end) for start, end in zip(stages, [*stages[1:], len(trunk)], strict=True)]
        self.frozen_stages = 0

    def forward(self, x: Tensor) -> list[Tensor]:
        """One [B, channels[k], H_k, W_k] map per level, finest first, from a batch [B, 3, H, W]."""
        maps = []
        for index, layer in enumerate(self.trunk):
            x = layer(x)
            if index in self.taps:
                maps.append(self.norms[str(index)](x) if str(index) in self.norms else x)
        for block in self.extras:
            x = block(x)
            maps.append(x)
        return maps

    def train_last(self, stages: int) -> "Backbone":
        """Train only the last `stages` stages of the trunk, and the extras; the stages before are frozen.

        A frozen stage gets no gradient and keeps its batch statistics, in `train()` as well.

        Raises:
            ValueError: if there are not so many stages.
        """
        if not 0 <= stages <= len(self.stages):
            raise ValueError(
                f"trainable_layers must lie in 0..{len(self.stages)}, the stages of this trunk, got {stages}"
            )
        self.frozen_stages = len(self.stages) - stages
        for index, stage in enumerate(self.stages):
            for layer in self.trunk[stage]:
                layer.requires_grad_(index >= self.frozen_stages)
        return self.train(self.training)

    def train(self, mode: bool = True) -> "Backbone":
        super().train(mode)
        for stage in self.stages[: self.frozen_stages]:
            for layer in self.trunk[stage]:
                layer.eval()
        return self
