"""Default boxes: the shapes a detector looks for at every cell of every feature map."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from ..ops import cxcywh_to_xyxy

Clip = Literal["none", "sizes", "centres_and_sizes"]
Shape = tuple[float, float]

STEP_SLACK = 1 / 8  # of the image's side; published models leave up to a tenth (17 cells of 16 pixels for 300)
KEPT = 32  # tilings; more sizes than anybody trains with


class DefaultBoxGenerator(nn.Module):
    """Tile default boxes over the feature maps (SSD, arXiv:1512.02325, section 2.2).

    The constructor takes the box shapes themselves; `from_scales`, `from_linear` and `from_sizes` are the ways the
    literature writes them. The order of the shapes is the order of a published head's channels, so it is part of the
    model.

    Args:
        shapes: per level, the (width, height) of each box of a cell, as fractions of the image's width and height.
        steps: pixels of the network's input between neighbouring cells, per level; by default the image size over the
            grid. A published step is rounded (64 pixels for 5 cells of 300), and holds where it covers the image but
            for an eighth; on images of other sizes the cells of that level are spread over the real grid.
        clip: what is limited to the image while boxes are centre and size: `"sizes"` is torchvision's way,
            `"centres_and_sizes"` that of amdegroot and those after it (it moves centres that a step of 32 puts outside
            of 300 pixels), `"none"` is the Caffe original's.

    Raises:
        ValueError: if `steps` does not fit the levels, a level has no shape, or a step or shape is not positive.
    """

    def __init__(
        self,
        shapes: Sequence[Sequence[Shape]],
        *,
        steps: Sequence[float] | None = None,
        clip: Clip = "sizes",
    ) -> None:
        super().__init__()
        if steps is not None and len(steps) != len(shapes):
            raise ValueError(
                f"default boxes on {len(shapes)} levels need as many steps, got {len(steps)}: {list(steps)}"
            )
        if steps is not None and min(steps) <= 0:
            raise ValueError(f"default boxes: expected positive steps, got {list(steps)}")
        for level, level_shapes in enumerate(shapes):
            if not level_shapes or min(map(min, level_shapes)) <= 0:
                raise ValueError(
                    f"default boxes, level {level}: expected positive (width, height) pairs, got {level_shapes}"
                )
        if clip not in (known := ("none", "sizes", "centres_and_sizes")):
            raise ValueError(f"default boxes: clip must be one of {known}, got {clip!r}")
        self.steps = None if steps is None else tuple(steps)
        self.clip = clip
        self.shapes = tuple(tuple((float(w), float(h)) for w, h in level_shapes) for level_shapes in shapes)
        self._tiled: dict[tuple, Tensor] = {}  # by grids, image size and device: on a GPU, each tiling waits for it

    @classmethod
    def from_scales(
        cls,
        scales: Sequence[float],
        aspect_ratios: Sequence[Sequence[float]],
        *,
        steps: Sequence[float] | None = None,
        clip: Clip = "sizes",
    ) -> "DefaultBoxGenerator":
        """Level k holds squares of side s_k and sqrt(s_k s_{k+1}), and for each ratio a wide and a tall box of area
        s_k^2.

        Args:
            scales: box side as a fraction of the image; one more entry than there are levels.
            aspect_ratios: per level, the ratios beyond the squares.
            steps: see the class.
            clip: see the class.
        """
        if len(scales) != len(aspect_ratios) + 1:
            raise ValueError(
                f"default boxes on {len(aspect_ratios)} levels (aspect_ratios) need {len(aspect_ratios) + 1} scales, "
                f"one more than levels, got {len(scales)}: {list(scales)}"
            )
        shapes = [
            _cell_shapes((low, low), (high, high), ratios)
            for low, high, ratios in zip(scales, scales[1:], aspect_ratios, strict=False)
        ]
        return cls(shapes, steps=steps, clip=clip)

    @classmethod
    def from_linear(
        cls,
        num_levels: int,
        first_stride: int | None,
        image_size: tuple[int, int],
        *,
        min_scale: float | None = None,
        max_scale: float = 0.9,
        aspect_ratios: Sequence[float] | Sequence[Sequence[float]] = (2, 3),
        steps: Sequence[float] | None = None,
        clip: Clip = "sizes",
    ) -> "DefaultBoxGenerator":
        """`from_scales` with scales in equal steps from the first level's to the last's (SSD, equation 4).

        The scale behind the last one is 1, as in the TensorFlow models of SSDlite (and torchvision); the Caffe original
        goes on with the line. A single level has the scales `min_scale` and `max_scale`.

        Args:
            num_levels: how many feature maps there are.
            first_stride: pixels of the network's input between neighbouring cells of the first map; None where nobody
                knows.
            image_size: height and width of the network's input.
            min_scale: the first scale; by default that of a square of four cells of the first map a side (of their
                area, on an image that is not square). That is .107 at 300 pixels and stride 8, where section 3.1 has .1
                for its first map, and SSDlite's .2 at 320 pixels and stride 16.
            max_scale: the last level's.
            aspect_ratios: those beyond the squares, for all levels alike or one list a level.
            steps: see the class.
            clip: see the class.

        Raises:
            ValueError: if `min_scale` is needed and nobody knows `first_stride`, or scales do not rise to at most 1.
        """
        if min_scale is None:
            min_scale = _four_cells(first_stride, image_size)
        if not 0 < min_scale < max_scale <= 1:
            raise ValueError(
                f"default boxes: expected 0 < min_scale < max_scale <= 1, got {min_scale:g} and {max_scale:g}; "
                f"without min_scale it is four cells of the first map, whose stride is {first_stride}"
            )
        if not aspect_ratios or not isinstance(aspect_ratios[0], Sequence):
            aspect_ratios = [aspect_ratios] * num_levels
        if len(aspect_ratios) != num_levels:
            raise ValueError(
                f"default boxes on {num_levels} levels need as many lists of aspect_ratios (or one list of numbers for "
                f"all), got {len(aspect_ratios)}"
            )
        step = (max_scale - min_scale) / max(num_levels - 1, 1)
        scales = [min_scale + step * level for level in range(num_levels)] + [1.0 if num_levels > 1 else max_scale]
        return cls.from_scales(scales, aspect_ratios, steps=steps, clip=clip)

    @classmethod
    def from_sizes(
        cls,
        min_sizes: Sequence[float],
        max_sizes: Sequence[float],
        aspect_ratios: Sequence[Sequence[float]],
        *,
        image_size: tuple[int, int],
        steps: Sequence[float] | None = None,
        clip: Clip = "none",
    ) -> "DefaultBoxGenerator":
        """The Caffe way: squares of `min_sizes[k]` and sqrt(min_sizes[k] max_sizes[k]) pixels, then the ratios.

        Args:
            min_sizes: per level, side of the small square, in pixels of the network's input.
            max_sizes: per level, its partner in the geometric mean.
            aspect_ratios: per level, the ratios beyond the squares.
            image_size: height and width of the network's input.
            steps: see the class.
            clip: see the class.
        """
        if not len(min_sizes) == len(max_sizes) == len(aspect_ratios):
            raise ValueError(
                f"default boxes need as many min_sizes as max_sizes and aspect_ratios (one a level), "
                f"got {len(min_sizes)}, {len(max_sizes)} and {len(aspect_ratios)}"
            )
        height, width = image_size
        shapes = [
            _cell_shapes((low / width, low / height), (high / width, high / height), ratios)
            for low, high, ratios in zip(min_sizes, max_sizes, aspect_ratios, strict=True)
        ]
        return cls(shapes, steps=steps, clip=clip)

    @property
    def num_levels(self) -> int:
        return len(self.shapes)

    @property
    def boxes_per_cell(self) -> list[int]:
        """How many boxes each cell of each level has."""
        return [len(level_shapes) for level_shapes in self.shapes]

    def forward(
        self, grid_sizes: Sequence[tuple[int, int]], image_size: tuple[int, int], device: torch.device | str = "cpu"
    ) -> Tensor:
        """All boxes of one image, [A, 4] xyxy pixels: level by level, row by row, cell by cell. Not to be written to.

        Args:
            grid_sizes: (rows, columns) of each feature map.
            image_size: height and width of the network's input in pixels.
            device: where the boxes are needed.
        """
        if len(grid_sizes) != self.num_levels:
            raise ValueError(f"got {len(grid_sizes)} feature maps for default boxes of {self.num_levels} levels")
        if torch.compiler.is_compiling() or torch.is_inference_mode_enabled():  # such tensors cannot be kept
            return self._tile(grid_sizes, image_size, device)
        key = (*map(tuple, grid_sizes), tuple(image_size), str(device))
        if key not in self._tiled:
            if len(self._tiled) >= KEPT:
                self._tiled.clear()
            self._tiled[key] = self._tile(grid_sizes, image_size, device)
        return self._tiled[key]

    def _tile(
        self, grid_sizes: Sequence[tuple[int, int]], image_size: tuple[int, int], device: torch.device | str
    ) -> Tensor:
        levels = [self._level(k, tuple(grid), tuple(image_size), device) for k, grid in enumerate(grid_sizes)]
        boxes = torch.cat(levels)
        if self.clip == "centres_and_sizes":
            boxes = boxes.clamp(0, 1)
        height, width = image_size
        return cxcywh_to_xyxy(boxes) * torch.tensor((width, height, width, height), device=device)

    def _level(self, k: int, grid: tuple[int, int], image_size: tuple[int, int], device: torch.device | str) -> Tensor:
        """One level as centre and size in fractions of the image, [rows * columns * K, 4]."""
        rows, columns = grid
        cells = self._cells_per_side(k, grid, image_size)
        y = (torch.arange(rows, device=device) + 0.5) / cells[0]
        x = (torch.arange(columns, device=device) + 0.5) / cells[1]
        centres = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1)  # [rows, columns, (x, y)]
        shapes = torch.tensor(self.shapes[k], device=device)  # [K, (w, h)]
        if self.clip == "sizes":
            shapes = shapes.clamp(max=1)
        count = len(shapes)
        return torch.cat(
            (centres[:, :, None].expand(-1, -1, count, -1), shapes.expand(rows, columns, -1, -1)), dim=-1
        ).reshape(-1, 4)

    def _cells_per_side(self, k: int, grid: tuple[int, int], image_size: tuple[int, int]) -> list[float]:
        """How many cells of a level there are to the image's height and width, going by its step if that fits."""
        if self.steps is None:
            return list(grid)
        by_step = [side / self.steps[k] for side in image_size]
        fits = all(abs(cells / count - 1) <= STEP_SLACK for cells, count in zip(grid, by_step, strict=True))
        return by_step if fits else list(grid)

    def extra_repr(self) -> str:
        return f"boxes_per_cell={self.boxes_per_cell}, steps={self.steps}, clip={self.clip!r}"


def _four_cells(stride: int | None, image_size: tuple[int, int]) -> float:
    """Side of a square with the area of 4 x 4 cells, as a fraction of the image."""
    if stride is None:
        raise ValueError(
            "default boxes: min_scale is needed, since the backbone states no first_stride to guess it from"
        )
    return 4 * stride / math.sqrt(image_size[0] * image_size[1])


def _cell_shapes(low: Shape, high: Shape, ratios: Sequence[float]) -> list[Shape]:
    """The two squares and, for each ratio, the wide and the tall box, in the order of the paper's released models."""
    if min(*low, *high, *ratios) <= 0:
        raise ValueError(
            f"default boxes: expected positive scales (or sizes) and aspect_ratios, got {low[0]:g} and {high[0]:g} "
            f"with the ratios {list(ratios)}"
        )
    width, height = low
    shapes = [low, (math.sqrt(width * high[0]), math.sqrt(height * high[1]))]
    for root in map(math.sqrt, ratios):
        shapes += [(width * root, height / root), (width / root, height * root)]
    return shapes
