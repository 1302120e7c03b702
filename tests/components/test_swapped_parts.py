"""Every loss with every matcher, as a user swaps them: built from a config, trained for a few steps."""

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from torch import nn

from detzoo.components import BOX_LOSSES, HEADS, LOSSES, MATCHERS, BoxCoder, foreground_sigmoid, foreground_softmax
from detzoo.engine.config import register_configs
from detzoo.lookup import ConfigError
from detzoo.models import MODELS, SSDConfig, build_ssd, load
from detzoo.models.checkpoint import model_record, save_checkpoint

CONFIGS = Path(__file__).parents[2] / "configs"
PAIRS = [(loss, matcher) for loss in LOSSES for matcher in MATCHERS]


@pytest.fixture
def config(small_config) -> SSDConfig:
    return replace(small_config, num_classes=3)


def batch() -> tuple[list[torch.Tensor], list[dict]]:
    """Bright and dark rectangles on grey, and a picture without any."""
    boxes = [[[10.0, 12, 44, 50], [50.0, 40, 90, 88]], [[30.0, 8, 70, 60]], []]
    images, targets = [], []
    for of_image in boxes:
        image = torch.full((3, 96, 96), 0.5)
        labels = [1 + k % 2 for k in range(len(of_image))]
        for (x1, y1, x2, y2), label in zip(of_image, labels, strict=True):
            image[:, int(y1) : int(y2), int(x1) : int(x2)] = label - 1.0
        images.append(image)
        targets.append({"boxes": torch.tensor(of_image).reshape(-1, 4), "labels": torch.tensor(labels).long()})
    return images, targets


def train(config: SSDConfig, steps: int) -> list[float]:
    """The sum of the losses of each step, on one batch."""
    torch.manual_seed(0)
    model = build_ssd(config).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    images, targets = batch()
    seen = []
    for _ in range(steps):
        optimizer.zero_grad()
        losses = model(images, targets)
        assert all(loss.isfinite() and loss.dtype == torch.float32 for loss in losses.values())
        sum(losses.values()).backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
        seen.append(sum(losses.values()).item())
        optimizer.step()
    return seen


@pytest.mark.parametrize(("loss", "matcher"), PAIRS, ids=map("-".join, PAIRS))
def test_every_loss_learns_with_every_matcher(config, one_thread, loss, matcher):
    seen = train(replace(config, loss=loss, matcher=matcher), steps=20)
    assert sum(seen[-3:]) < 0.7 * sum(seen[:3])


@pytest.mark.parametrize("box", BOX_LOSSES)
def test_every_box_loss_learns(config, one_thread, box):
    seen = train(replace(config, loss={"name": "focal", "box": box}), steps=20)
    assert sum(seen[-3:]) < 0.7 * sum(seen[:3])


@pytest.mark.parametrize(("loss", "scores"), [("multibox", foreground_softmax), ("quality_focal", foreground_sigmoid)])
@pytest.mark.parametrize("matcher", ["sim_ota", "task_aligned"])
def test_a_matcher_reads_logits_as_the_loss_means_them(config, loss, scores, matcher):
    model = build_ssd(replace(config, loss=loss, matcher=matcher))
    logits = torch.randn(1, 5, 3)
    assert torch.equal(model.matcher.scores(logits), scores(logits))
    twin = copy.deepcopy(model)  # as the running mean of the weights is one
    assert twin.matcher.scores.__self__ is twin.loss and twin.matcher.coder is twin.coder is not model.coder


def test_a_finished_loss_tells_the_matcher_too(config):
    class Other(nn.Module):
        def scores(self, logits):
            return logits[..., 1:]

    assert (
        build_ssd(replace(config, matcher="task_aligned"), loss=Other()).matcher.scores(torch.ones(1, 1, 3)).sum() == 2
    )


def test_overlaps_are_of_the_models_coder(config):
    coder = {"name": "centre_size", "weights": [1, 1, 1, 1]}
    model = build_ssd(replace(config, coder=coder, loss={"name": "multibox", "box": "giou"}))
    assert isinstance(model.coder, BoxCoder) and model.loss.box.coder is model.coder


@pytest.mark.parametrize(
    ("loss", "probability"), [("focal", 0.01), ({"name": "quality_focal", "prior": 0.2}, 0.2)], ids=str
)
def test_sigmoid_scores_start_at_the_prior(config, loss, probability):
    model = build_ssd(replace(config, loss=loss)).eval()
    with torch.no_grad():
        scores = model.loss.scores(model.predict(torch.rand(1, 3, 96, 96) * 100).logits)
    assert scores.min().item() == pytest.approx(probability) == scores.max().item()


@pytest.mark.parametrize("name", HEADS)
def test_every_head_starts_at_the_prior_whatever_the_maps(name):
    """Those of VGG, which has no norms, are in the hundreds."""
    torch.manual_seed(0)
    head = HEADS[name](channels=[8, 16], boxes_per_cell=[2, 3], num_classes=4)
    head.start_at(0.01)
    logits, _ = head([torch.randn(1, 8, 4, 4) * 1000, torch.randn(1, 16, 2, 2) * 1000])
    torch.testing.assert_close(logits.sigmoid(), torch.full_like(logits, 0.01))
    logits.square().sum().backward()
    assert all(p.grad is not None for key, p in head.named_parameters() if key.startswith("classification"))


def test_a_head_that_cannot_start_at_a_prior_is_named(config):
    with pytest.raises(ConfigError, match=r"the head Stubborn has no start_at\(prior\)"):
        build_ssd(replace(config, loss="focal", head=f"{Stubborn.__module__}.Stubborn"))


class Stubborn(torch.nn.Module):
    """A head of someone else's."""

    num_classes = 3

    def __init__(self, channels: list[int]) -> None:
        super().__init__()


def test_weights_of_another_kind_of_loss(config, tmp_path, monkeypatch):
    """A softmax makes nothing of logits that a sigmoid was trained on."""
    model = build_ssd(replace(MODELS["tiny_ssd"].config, num_classes=3, loss="focal"))
    save_checkpoint(tmp_path / "focal.pt", model_record(model, replace(MODELS["tiny_ssd"].config, loss="focal")))
    with pytest.raises(ValueError, match="focal.pt was trained with another kind of loss, focal"):
        MODELS["tiny_ssd"].build(weights=tmp_path / "focal.pt")
    assert type(load(tmp_path / "focal.pt").loss).__name__ == "FocalLoss"


@pytest.mark.parametrize("box", ["giou", "diou", "ciou"])
def test_wild_sizes_without_a_limit_in_the_coder(box):
    """As in the presets of pytorch-ssd and NVIDIA."""
    loss = LOSSES["quality_focal"](BoxCoder(max_log_size=None), box=box)
    deltas = torch.tensor([[[0.0, 0, 500, -600], [0, 0, 500, 500]]], requires_grad=True)
    labels, defaults = torch.ones(1, 2, dtype=torch.int64), torch.tensor([[10.0, 10, 20, 20]] * 2)
    losses = loss(torch.zeros(1, 2, 3), deltas, labels, torch.zeros(1, 2, 4), defaults)
    sum(losses.values()).backward()
    assert all(value.isfinite() for value in losses.values()) and deltas.grad.isfinite().all()


@pytest.mark.parametrize("option", ["coder", "scores", "boxes_per_cell"])
def test_what_a_matcher_learns_from_others_cannot_be_set(config, option):
    with pytest.raises(ConfigError, match=f"matcher.{option} is derived from the other parts"):
        build_ssd(replace(config, matcher={"name": "sim_ota", option: "softmax"}))


def test_a_loss_that_is_wrong_is_the_only_problem_of_a_matcher_that_asks_it(config):
    with pytest.raises(ConfigError) as caught:
        build_ssd(replace(config, loss="focall", matcher="sim_ota"))
    assert caught.value.problems == ["unknown loss 'focall': did you mean 'focal'?"]


def test_parameters_and_checkpoints_are_those_of_any_loss(config, tmp_path):
    plain = build_ssd(config)
    swapped_config = replace(config, loss={"name": "quality_focal", "box": {"name": "giou"}}, matcher="sim_ota")
    swapped = build_ssd(swapped_config)
    assert swapped.state_dict().keys() == plain.state_dict().keys()
    save_checkpoint(tmp_path / "a.pt", model_record(swapped, swapped_config))
    assert load(tmp_path / "a.pt").loss.box.coder is not None


def test_a_checkpoint_cannot_run_code_by_its_box_loss(config, tmp_path):
    record = model_record(build_ssd(config), config)
    record["config"]["loss"] = {"name": "multibox", "box": {"name": "os.system", "command": f"touch {tmp_path}/ran"}}
    save_checkpoint(tmp_path / "a.pt", record)
    for trust in (False, True):
        with pytest.raises(ValueError, match=r"a\.pt: the config has a problem:\n.*unknown loss.box 'os.system'"):
            load(tmp_path / "a.pt", trust_parts=trust)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("overrides", "box"),
    [
        (["model.loss=focal"], "SmoothL1BoxLoss"),
        (["model.loss=quality_focal", "model.matcher=task_aligned"], "SmoothL1BoxLoss"),
        (["model.loss=focal", "+model.loss={name: focal, box: giou, box_weight: 2}"], "GIoUBoxLoss"),
        (["model.loss=focal", "+model.loss={name: focal, box: {name: l1}}", "model.matcher=atss"], "L1BoxLoss"),
        (["model.loss=focal", "model.loss={name: focal, box: giou}"], "GIoUBoxLoss"),
        (["model.loss=null", "model.loss.name=focal", "model.loss.box=giou"], "GIoUBoxLoss"),
        (["model.loss.box=ciou", "model.loss.box_weight=2"], "CIoUBoxLoss"),
    ],
    ids=str,
)
@pytest.mark.parametrize("model", ["ssdlite320_mobilenet_v3_large", "tiny128"])
def test_said_on_the_command_line(overrides, box, model):
    register_configs()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose("train", [f"model={model}", *overrides])
    with torch.device("meta"):
        built = build_ssd({**config.model, "num_classes": 4})
    assert type(built.loss.box).__name__ == box
