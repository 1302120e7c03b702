"""Losses of sigmoid scores: by hand, against torchvision, and what every loss promises."""

import math

import pytest
import torch
from torch import Tensor
from torchvision.ops import sigmoid_focal_loss

from detzoo.components import LOSSES, BoxCoder, FocalLoss, QualityFocalLoss
from detzoo.lookup import build_part

DEFAULT_BOXES = torch.tensor([[0.0, 0.0, 10.0, 10.0]])
SIGMOID = ("focal", "quality_focal")


def loss_of(name: str, **options) -> torch.nn.Module:
    return build_part(LOSSES, {"name": name, **options}, "loss", coder=BoxCoder())


def classification(loss: torch.nn.Module, logits: Tensor, labels: Tensor, deltas: Tensor | None = None) -> Tensor:
    """The classification loss, for boxes that should stay where they are."""
    wanted = torch.zeros(*labels.shape, 4)
    deltas = wanted if deltas is None else deltas
    return loss(logits, deltas, labels, wanted, DEFAULT_BOXES.expand(labels.shape[1], 4))["classification"]


def log_odds(*probabilities: float) -> list[float]:
    """Logits of a default box: any background, then these probabilities of the classes."""
    return [7.0, *(math.log(p / (1 - p)) for p in probabilities)]


def random_batch(seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits, deltas = torch.randn(2, 30, 5, generator=generator) * 3, torch.randn(2, 30, 4, generator=generator) * 2
    labels = torch.randint(5, (2, 30), generator=generator) * (torch.rand(2, 30, generator=generator) < 0.3)
    wanted = torch.randn(2, 30, 4, generator=generator) * 2 * (labels > 0)[..., None]
    corner, size = torch.rand(2, 30, 2, generator=generator) * 50
    return logits, deltas, labels, wanted, torch.cat((corner, corner + size + 5), dim=1)


# ---- by hand ----


def test_focal_by_hand():
    logits = torch.tensor([[log_odds(0.8, 0.3), log_odds(0.1, 0.4)]])
    found = classification(FocalLoss(), logits, torch.tensor([[1, 0]]))
    there = 0.25 * 0.2**2 * -math.log(0.8)
    absent = 0.75 * (0.3**2 * -math.log(0.7) + 0.1**2 * -math.log(0.9) + 0.4**2 * -math.log(0.6))
    assert found.item() == pytest.approx(there + absent)


def test_focal_is_divided_by_the_matches():
    logits = torch.tensor([[log_odds(0.8), log_odds(0.5), log_odds(0.3)]])
    one, two = (classification(FocalLoss(), logits, torch.tensor([labels])) for labels in ([1, 0, 0], [1, 1, 0]))
    middle = 0.5**2 * math.log(2)  # of the box that is either, but for its weight
    assert 2 * two.item() == pytest.approx(one.item() - 0.75 * middle + 0.25 * middle)


def test_without_gamma_it_is_weighted_cross_entropy():
    logits = torch.tensor([[log_odds(0.8), log_odds(0.3)]])
    found = classification(FocalLoss(alpha=0.4, gamma=0), logits, torch.tensor([[1, 0]]))
    assert found.item() == pytest.approx(-0.4 * math.log(0.8) - 0.6 * math.log(0.7))


@pytest.mark.parametrize(("alpha", "gamma"), [(0.25, 2.0), (0.5, 1.0), (0.9, 3.5)])
def test_focal_is_torchvisions(alpha, gamma):
    logits, deltas, labels, wanted, default_boxes = random_batch()
    there = torch.nn.functional.one_hot(labels, 5)[..., 1:].float()
    expected = sigmoid_focal_loss(logits[..., 1:], there, alpha, gamma, reduction="sum") / (labels > 0).sum()
    found = FocalLoss(alpha, gamma)(logits, deltas, labels, wanted, default_boxes)["classification"]
    torch.testing.assert_close(found, expected)


def test_quality_focal_by_hand():
    # the predicted box is the wanted one shifted by half its width: IoU 1/3
    deltas = torch.tensor([[[5.0, 0.0, 0.0, 0.0], [99.0, 0.0, 0.0, 0.0]]])
    logits = torch.tensor([[log_odds(0.8, 0.3), log_odds(0.1, 0.4)]])
    found = classification(QualityFocalLoss(BoxCoder()), logits, torch.tensor([[1, 0]]), deltas)
    there = (0.8 - 1 / 3) ** 2 * -(math.log(0.8) / 3 + math.log(0.2) * 2 / 3)
    absent = 0.3**2 * -math.log(0.7) + 0.1**2 * -math.log(0.9) + 0.4**2 * -math.log(0.6)
    assert found.item() == pytest.approx(there + absent)


def test_quality_focal_wants_the_overlap_and_not_more():
    deltas, labels = torch.tensor([[[5.0, 0.0, 0.0, 0.0]]]), torch.tensor([[1]])

    def at(score: float) -> float:
        logits = torch.tensor([[log_odds(score)]])
        return classification(QualityFocalLoss(BoxCoder()), logits, labels, deltas).item()

    assert at(1 / 3) == pytest.approx(0, abs=1e-6) and min(at(0.2), at(0.5)) > 0.01


def test_no_gradient_through_the_overlap():
    logits, deltas, labels, wanted, default_boxes = random_batch()
    deltas.requires_grad_()
    logits.requires_grad_()
    QualityFocalLoss(BoxCoder())(logits, deltas, labels, wanted, default_boxes)["classification"].backward()
    assert deltas.grad is None and logits.grad.abs().sum() > 0


# ---- what every loss promises ----


@pytest.mark.parametrize("name", LOSSES)
def test_scores_are_what_was_trained(name):
    logits = torch.tensor([[[0.4, 2.0, -1.0]]], dtype=torch.bfloat16)
    scores = loss_of(name).scores(logits)
    assert scores.shape == (1, 1, 2) and scores.dtype == torch.float32
    wide = logits.float()
    expected = wide[..., 1:].sigmoid() if name in SIGMOID else wide.softmax(dim=-1)[..., 1:]
    torch.testing.assert_close(scores, expected)


@pytest.mark.parametrize("name", SIGMOID)
def test_the_background_column_does_not_count(name):
    logits, *rest = random_batch()
    loss = loss_of(name)
    other = torch.cat((logits[..., :1] + 5, logits[..., 1:]), dim=-1).requires_grad_()
    assert loss(logits, *rest) == loss(other, *rest)
    sum(loss(other, *rest).values()).backward()
    assert (other.grad[..., 0] == 0).all() and (other.grad[..., 1:] != 0).all()


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("box", [{"name": "smooth_l1", "beta": 0.5}, "giou"], ids=["smooth_l1", "giou"])
def test_the_box_error_is_that_of_the_matched_boxes(name, box):
    logits, deltas, labels, wanted, default_boxes = random_batch()
    loss = loss_of(name, box=box, box_weight=2.5)
    found = loss(logits, deltas, labels, wanted, default_boxes)["bbox_regression"]
    positive = labels > 0
    expected = 2.5 * loss.box(deltas, wanted, default_boxes)[positive].mean()
    torch.testing.assert_close(found, expected)
    deltas[~positive] = torch.inf  # what the others say counts for nothing
    assert loss(logits, deltas, labels, wanted, default_boxes)["bbox_regression"] == found


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("box", ["smooth_l1", "balanced_l1", "ciou"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_confident_wild_outputs_give_finite_float32_losses_and_gradients(name, box, dtype):
    labels = torch.tensor([[1, 0, 0, 2]])
    signs = torch.tensor([[[1, -1, 1], [-1, 1, 1], [1, 1, -1], [1, -1, -1]]])
    logits = (signs * 90).to(dtype).requires_grad_()
    deltas = torch.full((1, 4, 4), 3e4, dtype=dtype, requires_grad=True)
    rest = (labels, torch.zeros(1, 4, 4), DEFAULT_BOXES.expand(4, 4))
    losses = loss_of(name, box=box)(logits, deltas, *rest)
    assert all(loss.isfinite() and loss.dtype == torch.float32 for loss in losses.values())
    assert losses == loss_of(name, box=box)(logits.float(), deltas.float(), *rest)
    sum(losses.values()).backward()
    assert logits.grad.isfinite().all() and deltas.grad.isfinite().all()


@pytest.mark.parametrize("name", LOSSES)
def test_under_autocast(name):
    logits, deltas, *rest = random_batch()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = loss_of(name, box="giou")(logits.bfloat16(), deltas.bfloat16(), *rest)
    expected = loss_of(name, box="giou")(logits.bfloat16().float(), deltas.bfloat16().float(), *rest)
    assert found == expected


@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0, 2.0])
def test_any_gamma_has_a_finite_gradient_where_all_is_understood(gamma):
    logits = torch.tensor([[[0.0, 200.0], [0.0, -200.0]]], requires_grad=True)
    classification(FocalLoss(gamma=gamma), logits, torch.tensor([[1, 0]])).backward()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("name", LOSSES)
def test_a_batch_without_objects_teaches_background(name):
    logits, deltas, labels, wanted, default_boxes = random_batch()
    logits.requires_grad_()
    deltas.requires_grad_()
    losses = loss_of(name)(logits, deltas, torch.zeros_like(labels), torch.zeros_like(wanted), default_boxes)
    assert losses["bbox_regression"] == 0 and losses["classification"].isfinite()
    sum(losses.values()).backward()
    assert deltas.grad.isfinite().all() and logits.grad.isfinite().all()
    assert (logits.grad[..., 1:] >= 0).all() and (logits.grad[..., 1:] > 0).any(), "descending lowers the classes"


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("labels", [[0], [1]], ids=["background", "object"])
def test_a_single_default_box(name, labels):
    losses = loss_of(name)(
        torch.zeros(1, 1, 2), torch.ones(1, 1, 4), torch.tensor([labels]), torch.zeros(1, 1, 4), DEFAULT_BOXES
    )
    assert losses["classification"] > 0 and losses["bbox_regression"] == 2 * sum(labels)


@pytest.mark.parametrize("name", SIGMOID)
def test_gradient(name):
    logits, deltas, labels, wanted, default_boxes = (x[:, :6].double() if x.ndim == 3 else x for x in random_batch(1))
    logits, deltas = logits.requires_grad_(), (deltas / 4).requires_grad_()
    rest = (labels[:, :6], wanted.float() / 4, default_boxes[:6])
    assert (rest[0] > 0).any()
    loss = loss_of(name, box="giou")

    def classify(logits: Tensor) -> Tensor:
        return loss(logits, deltas.detach(), *rest)["classification"]

    def locate(deltas: Tensor) -> Tensor:
        return loss(logits.detach(), deltas, *rest)["bbox_regression"]

    # the loss counts in float32, hence the wide steps and tolerances
    assert torch.autograd.gradcheck(classify, (logits,), eps=1e-2, atol=2e-3, rtol=2e-2)
    assert torch.autograd.gradcheck(locate, (deltas,), eps=1e-2, atol=2e-3, rtol=2e-2)


@pytest.mark.parametrize("name", SIGMOID)
@pytest.mark.parametrize("objects", [True, False])
def test_the_divisor_is_that_of_all_processes(monkeypatch, name, objects):
    """The mean over processes, each with its part of the batch, is the loss of the whole batch."""
    logits, deltas, labels, wanted, default_boxes = random_batch()
    labels = labels * objects
    labels[1] = 0  # the second process has no object
    loss = loss_of(name)
    expected = loss(logits, deltas, labels, wanted, default_boxes)
    monkeypatch.setattr("detzoo.distributed.world_size", lambda: 2)
    monkeypatch.setattr("detzoo.distributed.mean_tensor", lambda count: (labels > 0).sum() / 2)
    parts = [loss(*(x[k : k + 1] for x in (logits, deltas, labels, wanted)), default_boxes) for k in range(2)]
    for key, value in expected.items():
        torch.testing.assert_close((parts[0][key] + parts[1][key]) / 2, value)


@pytest.mark.parametrize("name", LOSSES)
def test_in_eval_mode_other_processes_do_not_count(monkeypatch, name):
    batch, loss = random_batch(), loss_of(name).eval()
    expected = loss(*batch)
    monkeypatch.setattr("detzoo.distributed.world_size", lambda: 8)
    monkeypatch.setattr("detzoo.distributed.mean_tensor", lambda tensor: pytest.fail("a collective in eval mode"))
    assert loss(*batch) == expected


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("focal", {"alpha": 1.0}, "alpha between 0 and 1 and gamma >= 0, got 1.0 and 2.0"),
        ("focal", {"gamma": -1}, "got 0.25 and -1"),
        ("focal", {"prior": 0}, "FocalLoss: prior is a probability between 0 and 1, got 0"),
        ("focal", {"box_weight": -1}, "FocalLoss: expected box_weight >= 0, got -1"),
        ("quality_focal", {"beta": 0.5}, "QualityFocalLoss: expected beta >= 1, got 0.5"),
        ("quality_focal", {"prior": 1.0}, "QualityFocalLoss: prior is a probability"),
        ("multibox", {"box_weight": -2}, "MultiBoxLoss: expected box_weight >= 0, got -2"),
        ("multibox", {"prior": 0.1}, "no option 'prior'"),
    ],
)
def test_options_out_of_range(name, options, message):
    with pytest.raises(ValueError) as caught:
        loss_of(name, **options)
    assert message in str(caught.value)
