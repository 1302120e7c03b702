"""What a detector is punished for: by hand, against torchvision, and where the two differ."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from torchvision.models.detection._utils import BoxCoder as TorchvisionCoder
from torchvision.models.detection.ssd import SSD as TorchvisionSSD

from detzoo.components import BoxCoder, MultiBoxLoss
from detzoo.components.losses import hardest_negatives

DEFAULT_BOXES = torch.tensor([[0.0, 0.0, 10.0, 10.0]])


def multibox(logits: Tensor, labels: Tensor, **options) -> dict[str, Tensor]:
    """The loss of a batch whose boxes are all where they should be."""
    zeros = torch.zeros(*labels.shape, 4)
    return MultiBoxLoss(**options)(logits, zeros, labels, zeros, DEFAULT_BOXES.expand(labels.shape[1], 4))


def logits_for(entropies: list[float]) -> Tensor:
    """Two-class logits [1, A, 2] of boxes whose cross-entropy against background is as given."""
    # softmax of (0, x) gives background 1 / (1 + e^x), so that its entropy is log(1 + e^x)
    return torch.tensor([[[0.0, math.log(math.expm1(entropy))] for entropy in entropies]])


def test_mining_by_hand():
    # one object; of five background boxes the three worst count
    labels = torch.tensor([[1, 0, 0, 0, 0, 0]])
    logits = logits_for([math.log(2), 0.1, 0.5, 0.3, 0.2, 0.4])  # the first is undecided: log 2 for either class
    loss = multibox(logits, labels)["classification"]
    assert loss.item() == pytest.approx(math.log(2) + 0.5 + 0.4 + 0.3)


def test_each_image_mines_for_itself_and_both_share_one_divisor():
    labels = torch.tensor([[1, 0, 0, 0, 0], [0, 0, 0, 1, 1]])
    logits = torch.cat((logits_for([math.log(2), 0.4, 0.3, 0.2, 0.1]), logits_for([0.5, 0.6, 0.7, *[math.log(2)] * 2])))
    loss = multibox(logits, labels)["classification"]
    assert loss.item() == pytest.approx((3 * math.log(2) + 0.4 + 0.3 + 0.2 + 0.5 + 0.6 + 0.7) / 3)


def test_box_error_by_hand():
    labels = torch.tensor([[1, 0], [2, 0]])
    deltas, wanted = torch.zeros(2, 2, 4), torch.zeros(2, 2, 4)
    deltas[0, 0] = torch.tensor([0.5, 3.0, 0.0, 0.0])  # 0.5 * 0.5^2, and 3 - 0.5
    wanted[1, 0] = torch.tensor([0.0, 0.0, 1.0, 0.0])  # 0.5
    deltas[:, 1] = 100  # a background box may say what it likes
    loss = MultiBoxLoss()(torch.zeros(2, 2, 3), deltas, labels, wanted, DEFAULT_BOXES.expand(2, 4))
    assert loss["bbox_regression"].item() == pytest.approx((0.125 + 2.5 + 0.5) / 2)


def test_ratio_and_minimum_of_negatives():
    labels = torch.tensor([[1, 0, 0, 0, 0]])
    logits = logits_for([math.log(2), 0.4, 0.3, 0.2, 0.1])
    assert multibox(logits, labels, negatives_per_positive=1)["classification"].item() == pytest.approx(
        math.log(2) + 0.4
    )
    # four negatives where three belong to a match: the divisor grows in proportion, as though 4 / 3 had matched
    assert multibox(logits, labels, minimum_negatives=4)["classification"].item() == pytest.approx(
        (math.log(2) + 0.4 + 0.3 + 0.2 + 0.1) / (4 / 3)
    )


def test_minimum_of_negatives_lets_an_image_without_objects_teach():
    labels = torch.tensor([[1, 0, 0, 0], [0, 0, 0, 0]])
    for minimum, taught in ((0, 0), (2, 2)):
        logits = torch.zeros(2, 4, 3, requires_grad=True)
        multibox(logits, labels, minimum_negatives=minimum)["classification"].backward()
        assert (logits.grad[1].abs().sum(dim=1) > 0).sum() == taught


def test_hardest_negatives_never_takes_a_positive():
    loss = torch.tensor([[9.0, 1.0, 3.0, 2.0], [9.0, 8.0, 7.0, 6.0]])
    positive = torch.tensor([[True, False, False, False], [True, True, True, False]])
    found = hardest_negatives(loss, positive, torch.tensor([2, 3]))
    assert found.tolist() == [[False, False, True, True], [False, False, False, True]]


@pytest.mark.parametrize("image_with_object", [True, False])
def test_confident_half_precision_outputs_give_finite_float32_losses(image_with_object):
    labels = torch.tensor([[int(image_with_object), 0, 0]])
    logits = torch.tensor([[[90.0, -90.0], [-90.0, 90.0], [0.3, 0.7]]], dtype=torch.bfloat16)
    deltas = torch.full((1, 3, 4), 300.0, dtype=torch.bfloat16)
    rest = (labels, torch.zeros(1, 3, 4), DEFAULT_BOXES.expand(3, 4))
    losses, expected = MultiBoxLoss()(logits, deltas, *rest), MultiBoxLoss()(logits.float(), deltas.float(), *rest)
    assert all(loss.isfinite() and loss.dtype == torch.float32 for loss in losses.values())
    assert losses == expected


def test_batch_without_objects_is_finite_and_teaches_background():
    logits = torch.randn(2, 8, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    deltas = torch.randn(2, 8, 4, requires_grad=True)
    labels = torch.zeros(2, 8, dtype=torch.int64)
    losses = MultiBoxLoss()(logits, deltas, labels, torch.zeros(2, 8, 4), DEFAULT_BOXES.expand(8, 4))
    assert losses["bbox_regression"] == 0
    # as though each image had one match: three negatives each, divided by two
    entropy = -logits.detach().log_softmax(dim=-1)[..., 0]
    expected = entropy.topk(3, dim=1).values.sum() / 2
    torch.testing.assert_close(losses["classification"].detach(), expected)
    sum(losses.values()).backward()
    assert logits.grad.isfinite().all() and deltas.grad.isfinite().all()
    assert ((logits.grad.abs().sum(dim=2) > 0).sum(dim=1) == 3).all()
    assert (logits.grad[..., 0] <= 0).all(), "descending raises the background"


def test_gradient():
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(2, 6, 3, generator=generator, dtype=torch.float64).requires_grad_()
    deltas = torch.randn(2, 6, 4, generator=generator, dtype=torch.float64).requires_grad_()
    wanted = torch.randn(2, 6, 4, generator=generator, dtype=torch.float64)
    labels = torch.tensor([[1, 0, 2, 0, 0, 0], [0, 0, 0, 0, 1, 0]])

    def loss(logits: Tensor, deltas: Tensor) -> Tensor:
        return sum(MultiBoxLoss()(logits, deltas, labels, wanted, DEFAULT_BOXES.expand(6, 4)).values())

    # the loss counts in float32, hence the wide steps and tolerances
    assert torch.autograd.gradcheck(loss, (logits, deltas), eps=1e-2, atol=2e-3, rtol=2e-2)


@pytest.mark.parametrize("options", [{"negatives_per_positive": 0}, {"minimum_negatives": -1}], ids=str)
def test_options_out_of_range(options):
    with pytest.raises(ValueError, match="expected negatives_per_positive > 0 and minimum_negatives >= 0"):
        MultiBoxLoss(**options)


def torchvision_losses(
    logits: Tensor, deltas: Tensor, targets: list[dict], default_boxes: Tensor, match: Tensor
) -> dict[str, Tensor]:
    stand_in = SimpleNamespace(box_coder=TorchvisionCoder(weights=(10.0, 10.0, 5.0, 5.0)), neg_to_pos_ratio=3.0)
    outputs = {"cls_logits": logits, "bbox_regression": deltas}
    return TorchvisionSSD.compute_loss(stand_in, targets, outputs, [default_boxes] * len(targets), list(match))


@pytest.mark.parametrize("seed", range(3))
def test_is_torchvisions_where_negatives_suffice(seed):
    generator = torch.Generator().manual_seed(seed)
    corner, size = torch.rand(2, 200, 2, generator=generator) * 100
    default_boxes = torch.cat((corner, corner + size + 5), dim=1)
    match = torch.full((3, 200), -1)
    targets = []
    for image, count in enumerate((4, 0, 9)):
        boxes = default_boxes[torch.randint(200, (count,), generator=generator)] + torch.rand(count, 4)
        targets.append({"boxes": boxes, "labels": torch.randint(1, 5, (count,), generator=generator)})
        if count:  # every object has three boxes
            match[image, torch.randperm(200, generator=generator)[: 3 * count]] = torch.arange(count).repeat(3)
    logits = torch.randn(3, 200, 5, generator=generator) * 2
    deltas = torch.randn(3, 200, 4, generator=generator)

    labels, wanted = torch.zeros(3, 200, dtype=torch.int64), torch.zeros(3, 200, 4)
    for image, target in enumerate(targets):
        matched = match[image] >= 0
        labels[image, matched] = target["labels"][match[image, matched]]
        wanted[image, matched] = BoxCoder().encode(target["boxes"][match[image, matched]], default_boxes[matched])
    losses = MultiBoxLoss()(logits, deltas, labels, wanted, default_boxes)

    expected = torchvision_losses(logits, deltas, targets, default_boxes, match)
    assert losses.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value, rtol=1e-5, atol=0)


def test_torchvision_counts_objects_twice_when_negatives_run_out():
    """The one difference in mining: four boxes, two of them matched, so that six negatives are wanted and two exist.

    torchvision 0.29.1 then sorts the matched boxes in among the negatives and adds their entropy once more.
    """
    default_boxes = torch.tensor([[0.0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10], [60, 0, 70, 10]])
    targets = [{"boxes": default_boxes[:2].clone(), "labels": torch.tensor([1, 1])}]
    match = torch.tensor([[0, 1, -1, -1]])
    # entropies against what each box should say: 0.4, 0.8 for the objects, 0.3, 0.5 for the background
    logits = logits_for([0.4, 0.8, 0.3, 0.5])
    logits[:, :2] = logits[:, :2].flip(2)  # the other way round for the objects

    ours = multibox(logits, torch.tensor([[1, 1, 0, 0]]))["classification"].item()
    theirs = torchvision_losses(logits, torch.zeros(1, 4, 4), targets, default_boxes, match)["classification"].item()
    assert ours == pytest.approx((0.4 + 0.8 + 0.3 + 0.5) / 2)
    assert theirs - ours == pytest.approx((0.4 + 0.8) / 2), "their double counting: gone in this torchvision?"


def test_torchvision_learns_nothing_from_a_batch_without_objects_and_we_do():
    """The other difference: their loss is 0 there."""
    logits = torch.zeros(1, 4, 2)
    nothing = [{"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}]
    theirs = torchvision_losses(
        logits, torch.zeros(1, 4, 4), nothing, DEFAULT_BOXES.expand(4, 4), torch.full((1, 4), -1)
    )
    assert theirs["classification"] == 0
    ours = multibox(logits, torch.zeros(1, 4, dtype=torch.int64))["classification"]
    assert ours.item() == pytest.approx(3 * math.log(2))


@pytest.mark.parametrize("objects", [0, 2])
def test_in_eval_mode_other_processes_do_not_count(monkeypatch, objects):
    """A validation loss is each process's own: nobody waits, and a batch without objects is divided by its own one."""
    labels = torch.zeros(2, 6, dtype=torch.int64)
    labels[0, :objects] = 1
    logits = torch.rand(2, 6, 3, generator=torch.Generator().manual_seed(0))
    deltas, loss = torch.zeros(2, 6, 4), MultiBoxLoss().eval()
    expected = loss(logits, deltas, labels, deltas + 1, DEFAULT_BOXES.expand(6, 4))
    monkeypatch.setattr("detzoo.distributed.world_size", lambda: 8)
    monkeypatch.setattr("detzoo.distributed.mean_tensor", lambda tensor: pytest.fail("a collective in eval mode"))
    found = loss(logits, deltas, labels, deltas + 1, DEFAULT_BOXES.expand(6, 4))
    assert found == expected and expected["classification"] > 0
