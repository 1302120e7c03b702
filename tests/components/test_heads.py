"""Heads: their outputs must stand in the order of the default boxes."""

import pytest
import torch
from torch import nn

from detzoo.components import HEADS, DefaultBoxGenerator

CHANNELS, GRIDS, NUM_CLASSES = [8, 12, 4], [(4, 6), (2, 3), (1, 1)], 5
SHAPES = [[(0.1, 0.1), (0.2, 0.1)], [(0.3, 0.3), (0.4, 0.3), (0.3, 0.4)], [(0.9, 0.9)]]  # 2, 3 and 1 boxes a cell


@pytest.fixture(params=HEADS)
def head(request) -> nn.Module:
    torch.manual_seed(0)
    return HEADS[request.param](channels=CHANNELS, boxes_per_cell=[2, 3, 1], num_classes=NUM_CLASSES).eval()


def maps(batch: int = 1) -> list[torch.Tensor]:
    return [torch.zeros(batch, channels, *grid) for channels, grid in zip(CHANNELS, GRIDS, strict=True)]


def test_shapes(head):
    logits, deltas = head(maps(batch=2))
    boxes = DefaultBoxGenerator(SHAPES)(GRIDS, (40, 60))
    assert logits.shape == (2, len(boxes), NUM_CLASSES)
    assert deltas.shape == (2, len(boxes), 4)
    assert head.num_classes == NUM_CLASSES


def only_the_cell_itself(head: nn.Module) -> None:
    """Let every 3x3 kernel see its middle alone."""
    for layer in head.modules():
        if isinstance(layer, nn.Conv2d) and layer.kernel_size == (3, 3):
            kernel = layer.weight.detach().clone()
            layer.weight.data.zero_()
            layer.weight.data[..., 1, 1] = kernel.abs()[..., 1, 1] + 0.1


@torch.no_grad()
@pytest.mark.parametrize("level", range(3))
def test_lighting_one_cell_answers_in_its_default_boxes_alone(head, level):
    only_the_cell_itself(head)
    boxes = DefaultBoxGenerator(SHAPES)(GRIDS, (40, 60))
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    sizes = (boxes[:, 2:] - boxes[:, :2]) / torch.tensor([60.0, 40.0])
    of_level = [torch.isclose(sizes, torch.tensor(shape)).all(dim=1) for shape in SHAPES[level]]
    of_level = torch.stack(of_level).any(dim=0)
    dark = head(maps())
    rows, columns = GRIDS[level]
    for row in range(rows):
        for column in range(columns):
            lit = maps()
            lit[level][:, :, row, column] = 1
            centre = torch.tensor([(column + 0.5) * 60 / columns, (row + 0.5) * 40 / rows])
            expected = of_level & torch.isclose(centres, centre).all(dim=1)
            assert expected.sum() == len(SHAPES[level])
            for out, before in zip(head(lit), dark, strict=True):
                assert torch.equal(((out - before).abs() > 1e-6).any(dim=2)[0], expected)


@torch.no_grad()
def test_channels_are_box_of_the_cell_then_class_or_coordinate(head):
    """The order of published weights: a bias on channel k * C + c shows in class c of box k of every cell."""
    for outputs, width in ((0, NUM_CLASSES), (1, 4)):
        predictors = head.regression if outputs else head.classification
        last = [layer for layer in predictors[1].modules() if isinstance(layer, nn.Conv2d)][-1]
        before = head(maps())[outputs]
        last.bias[2 * width + 3] += 7
        change = head(maps())[outputs] - before
        level = change[0, 4 * 6 * 2 : 4 * 6 * 2 + 2 * 3 * 3].reshape(2 * 3, 3, width)
        assert (level[:, 2, 3] == 7).all()
        assert change.sum() == 7 * 2 * 3, "and nowhere else"


def test_level_counts_must_agree(head):
    with pytest.raises(ValueError, match="3 feature maps got boxes_per_cell for 2 levels"):
        type(head)(CHANNELS, [2, 3], NUM_CLASSES)
