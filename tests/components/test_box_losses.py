"""How far a box is off: by hand, at the seams, and for deltas that no box has."""

import math

import pytest
import torch
from torch import Tensor

from detzoo.components import BOX_LOSSES, BoxCoder, FocalLoss, MultiBoxLoss
from detzoo.components.box_losses import build_box_loss
from detzoo.lookup import ConfigError

DEFAULT_BOX = torch.tensor([[0.0, 0.0, 10.0, 10.0]])
OF_DELTAS, OF_BOXES = ("smooth_l1", "l1", "balanced_l1"), ("giou", "diou", "ciou")


def error(box: str | dict, *delta: float, wanted: tuple = (0.0, 0.0, 0.0, 0.0)) -> float:
    """What one default box of 10x10 pixels costs."""
    found = torch.tensor(delta).view(1, 1, 4)
    return build_box_loss(box, BoxCoder())(found, torch.tensor(wanted).view(1, 1, 4), DEFAULT_BOX).item()


def gradient(box: str | dict, deltas: Tensor, wanted: Tensor) -> Tensor:
    deltas = deltas.clone().requires_grad_()
    loss = build_box_loss(box, BoxCoder())(deltas, wanted, DEFAULT_BOX)
    loss.sum().backward()
    return deltas.grad


def test_every_one_is_tried():
    assert set(BOX_LOSSES) == {*OF_DELTAS, *OF_BOXES}


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ("smooth_l1", 0.5 * 0.5**2 + 2.5 + 0.5),
        ({"name": "smooth_l1", "beta": 4}, (0.5**2 + 3**2 + 1) / 2 / 4),
        ({"name": "smooth_l1", "beta": 1 / 3**2}, 0.5 + 3 + 1 - 3 * 0.5 / 3**2),  # sigma 3
        ("l1", 0.5 + 3 + 1),
    ],
    ids=str,
)
def test_errors_of_deltas_by_hand(box, expected):
    assert error(box, 0.5, -3.0, 0.0, 1.0) == pytest.approx(expected)
    assert error(box, 1.5, -2.0, 1.0, 2.0, wanted=(1.0, 1.0, 1.0, 1.0)) == pytest.approx(expected)


@pytest.mark.parametrize("options", [{}, {"alpha": 0.7, "gamma": 2.0, "beta": 0.4}], ids=str)
def test_balanced_l1_is_the_integral_of_its_gradient(options):
    alpha, gamma, beta = ({"alpha": 0.5, "gamma": 1.5, "beta": 1.0} | options).values()
    b = math.exp(gamma / alpha) - 1
    step = 1e-3
    at = (torch.arange(3000, dtype=torch.float64) + 0.5) * step
    slope = torch.where(at < beta, alpha * (b * at / beta + 1).log(), gamma)
    deltas = torch.zeros(1, 3000, 4)
    deltas[0, :, 1] = at
    found = gradient({"name": "balanced_l1", **options}, deltas, torch.zeros(1, 3000, 4))[0, :, 1]
    torch.testing.assert_close(found, slope.float(), rtol=1e-4, atol=1e-4)
    for end in (300, 1000, 2500):  # below, at and beyond where the line begins
        area = slope[:end].sum().item() * step
        assert error({"name": "balanced_l1", **options}, 0.0, -end * step, 0.0, 0.0) == pytest.approx(area, rel=1e-3)


def test_balanced_l1_of_the_paper_at_one():
    assert error("balanced_l1", 1.0, 0.0, 0.0, 0.0) == pytest.approx(1.5 + 1.5 / (math.e**3 - 1) - 0.5)


@pytest.mark.parametrize(
    ("box", "delta", "expected"),
    [
        ("giou", (10, 0, 0, 0), 1),  # beside the wanted box: nothing between them
        ("giou", (20, 0, 0, 0), 1 + 100 / 300),  # one width away: a third of what encloses both is empty
        ("giou", (0, 0, 5 * math.log(2), 0), 0.5),  # twice as wide: IoU 1/2, all of the enclosing box is covered
        ("diou", (10, 0, 0, 0), 1 + 10**2 / (20**2 + 10**2)),
        ("diou", (0, 0, 5 * math.log(2), 0), 0.5),
        ("ciou", (10, 0, 0, 0), 1 + 10**2 / (20**2 + 10**2)),
    ],
)
def test_overlaps_by_hand(box, delta, expected):
    assert error(box, *delta) == pytest.approx(expected, abs=1e-5)


def test_ciou_minds_the_aspect_ratio():
    difference = 4 / math.pi**2 * (math.atan(2) - math.atan(1)) ** 2
    expected = 0.5 + difference**2 / (0.5 + difference)
    assert error("ciou", 0, 0, 5 * math.log(2), 0) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("box", BOX_LOSSES)
def test_nothing_is_wrong_with_the_right_box(box):
    wanted = (3.0, -4.0, 1.0, -2.0)
    assert error(box, *wanted, wanted=wanted) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("box", BOX_LOSSES)
def test_each_default_box_has_one_number_of_its_own(box):
    generator = torch.Generator().manual_seed(0)
    corner, size = torch.rand(2, 7, 2, generator=generator) * 50
    default_boxes = torch.cat((corner, corner + size + 5), dim=1)
    found, wanted = torch.randn(2, 3, 7, 4, generator=generator)
    loss = build_box_loss(box, BoxCoder())
    together = loss(found, wanted, default_boxes)
    assert together.shape == (3, 7)
    alone = loss(found[1:2, 4:5], wanted[1:2, 4:5], default_boxes[4:5])
    torch.testing.assert_close(together[1:2, 4:5], alone)


@pytest.mark.parametrize("box", BOX_LOSSES)
def test_following_the_gradient_finds_the_box(box):
    wanted = torch.tensor([[[4.0, -3.0, 1.0, -2.0]]])
    deltas, loss = torch.zeros(1, 1, 4, requires_grad=True), build_box_loss(box, BoxCoder())
    optimizer = torch.optim.Adam([deltas], lr=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 300)
    for _ in range(300):
        optimizer.zero_grad()
        loss(deltas, wanted, DEFAULT_BOX).sum().backward()
        optimizer.step()
        schedule.step()
    torch.testing.assert_close(deltas.detach(), wanted, rtol=0, atol=0.05)


@pytest.mark.parametrize("box", OF_BOXES)
@pytest.mark.parametrize("wild", [1e3, 1e6, 1e30])
def test_overlaps_of_wild_boxes_are_finite(box, wild):
    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 0.0, 1.0])] * 4)[None]  # far away, huge, without any extent
    wanted = torch.zeros_like(signs)
    assert build_box_loss(box, BoxCoder())(signs * wild, wanted, DEFAULT_BOX).isfinite().all()
    assert gradient(box, signs * wild, wanted).isfinite().all()


@pytest.mark.parametrize("box", BOX_LOSSES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_counts_in_float32(box, dtype):
    deltas = torch.tensor([[[3.25, -0.5, 0.25, -1.0]]], dtype=dtype)  # exact in all of them
    loss = build_box_loss(box, BoxCoder())
    found = loss(deltas, torch.ones(1, 1, 4), DEFAULT_BOX)
    assert found.dtype == torch.float32
    assert torch.equal(found, loss(deltas.float(), torch.ones(1, 1, 4), DEFAULT_BOX))


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ("gious", "unknown loss.box 'gious': did you mean 'giou'?"),
        ({"name": "smooth_l1", "bta": 2}, "loss.box has no option 'bta': did you mean 'beta'?"),
        ({"name": "smooth_l1", "beta": 0}, "expected beta > 0, got 0"),
        ({"name": "balanced_l1", "gamma": -1}, "expected alpha, gamma and beta > 0, got 0.5, -1 and 1"),
        ({"name": "giou", "coder": 3}, "loss.box.coder is derived"),
        ({"beta": 2}, "loss.box: expected a name or a mapping with a 'name'"),
    ],
    ids=str,
)
def test_wrong_words_and_numbers(box, message):
    with pytest.raises(ValueError) as caught:
        FocalLoss(box=box, coder=BoxCoder())
    assert message in str(caught.value)


def test_an_overlap_needs_the_coder():
    with pytest.raises(ConfigError, match="loss.box needs the option 'coder'"):
        MultiBoxLoss(box="giou")


@pytest.mark.parametrize("box", ["os.system", {"name": "os.system", "command": "exit 1"}], ids=str)
def test_no_dotted_path_to_a_box_loss(box):
    """A checkpoint's parts are looked up in their tables unless it is trusted; what they are made of, always."""
    with pytest.raises(ValueError, match=r"unknown loss.box 'os.system'.*finished, in Python"):
        MultiBoxLoss(box=box)


def test_one_of_your_own_is_given_finished():
    class Twice(torch.nn.Module):
        def forward(self, deltas, target_deltas, default_boxes):
            return 2 * (deltas - target_deltas).abs().sum(dim=-1)

    loss = MultiBoxLoss(box=Twice())
    labels, deltas = torch.tensor([[1, 0]]), torch.ones(1, 2, 4)
    found = loss(torch.zeros(1, 2, 3), deltas, labels, torch.zeros(1, 2, 4), DEFAULT_BOX.expand(2, 4))
    assert found["bbox_regression"] == 8
