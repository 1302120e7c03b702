"""Boxes as deltas and back."""

import math

import pytest
import torch
from torchvision.models.detection._utils import BoxCoder as TorchvisionCoder

from detzoo.components import BoxCoder


def random_boxes(*shape: int, seed: int) -> torch.Tensor:
    corner, size = torch.rand(2, *shape, 2, generator=torch.Generator().manual_seed(seed)) * 300
    return torch.cat((corner, corner + size + 2), dim=-1)


def test_by_hand():
    default = torch.tensor([[0.0, 0.0, 10.0, 20.0]])
    wanted = torch.tensor([[1.0, 4.0, 21.0, 14.0]])  # centre 6, 4 away; twice as wide, half as high
    expected = torch.tensor([[10 * 6 / 10, 10 * -1 / 20, 5 * math.log(2), 5 * math.log(0.5)]])
    torch.testing.assert_close(BoxCoder().encode(wanted, default), expected)
    torch.testing.assert_close(BoxCoder().decode(expected, default), wanted)


@pytest.mark.parametrize("weights", [(10, 10, 5, 5), (1, 1, 1, 1)])
def test_there_and_back_for_a_batch(weights):
    boxes, default = random_boxes(3, 50, seed=0), random_boxes(50, seed=1)
    coder = BoxCoder(weights)
    torch.testing.assert_close(coder.decode(coder.encode(boxes, default), default), boxes, rtol=1e-4, atol=1e-3)


def test_is_torchvisions():
    boxes, default = random_boxes(200, seed=0), random_boxes(200, seed=1)
    reference = TorchvisionCoder(weights=(10.0, 10.0, 5.0, 5.0))
    torch.testing.assert_close(
        BoxCoder().encode(boxes, default), reference.encode_single(boxes, default), rtol=1e-5, atol=1e-4
    )
    deltas = torch.randn(200, 4, generator=torch.Generator().manual_seed(2)) * 8  # some beyond the limit
    assert (deltas[:, 2:] / 5 > math.log(62.5)).any()
    torch.testing.assert_close(
        BoxCoder().decode(deltas, default), reference.decode_single(deltas, default), rtol=1e-5, atol=1e-2
    )


def test_sizes_are_limited_from_above_and_need_not_be():
    default, wild = torch.tensor([0.0, 0.0, 10.0, 10.0]), torch.tensor([0.0, 0.0, 1000.0, 5 * math.log(100)])
    box = BoxCoder().decode(wild, default)
    assert (box[2:] - box[:2]).tolist() == pytest.approx([625, 625])
    free = BoxCoder(max_log_size=None).decode(wild, default)
    assert free[2].isinf()
    assert (free[3] - free[1]).item() == pytest.approx(1000, rel=1e-4)


def test_sizes_are_limited_from_below_and_usually_are_not():
    default, flat = torch.tensor([0.0, 0.0, 100.0, 100.0]), torch.tensor([0.0, 0.0, 5 * -10.0, 5 * math.log(0.5)])
    for coder, width in ((BoxCoder(min_log_size=-math.log(50)), 2), (BoxCoder(), 100 * math.exp(-10))):
        box = coder.decode(flat, default)
        assert (box[2:] - box[:2]).tolist() == pytest.approx([width, 50], abs=1e-4)
    both = BoxCoder(max_log_size=None, min_log_size=0.0).decode(
        torch.tensor([0.0, 0.0, -5.0, 5 * math.log(100)]), default
    )
    assert (both[2:] - both[:2]).tolist() == pytest.approx([100, 10_000], rel=1e-4), "one limit without the other"
    assert "min_log_size=-1.5" in repr(BoxCoder(min_log_size=-1.5))


def test_limits_that_leave_nothing_between():
    with pytest.raises(ValueError, match="min_log_size=5 is above max_log_size=4"):
        BoxCoder(max_log_size=4, min_log_size=5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_decoded_in_float32(dtype):
    default = torch.tensor([[500.25, 300.5, 510.75, 320.25]])  # no half precision holds these
    deltas = torch.tensor([[0.5, -0.25, 1.0, 0.0]], dtype=dtype)  # and these are exact in both
    found = BoxCoder().decode(deltas, default)
    assert found.dtype == torch.float32
    assert torch.equal(found, BoxCoder().decode(deltas.float(), default))
    boxes, coarse = (default + 3).to(dtype), default.to(dtype)
    encoded = BoxCoder().encode(boxes, coarse)
    assert encoded.dtype == torch.float32
    assert torch.equal(encoded, BoxCoder().encode(boxes.float(), coarse.float()))


@pytest.mark.parametrize("weights", [(0.0, 1, 1, 1), (1, 1, 1, -1), (1, 1)])
def test_weights_that_are_no_factors(weights):
    with pytest.raises(ValueError, match="expected four positive weights"):
        BoxCoder(weights)
