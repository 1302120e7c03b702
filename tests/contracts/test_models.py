"""What every model promises. Being in `MODELS` is what enrols one here.

The largest models take seconds for every step on a CPU, so theirs are slow tests; what needs no arithmetic is asked of
all.
"""

import io

import pytest
import torch
from torch import nn

import detzoo
from detzoo.models import MODELS, SSD
from detzoo.structures import pad_targets

NUM_CLASSES = 5
SLOW = {"ssd300_resnet34", "ssd300_resnet50", "ssd300_resnet101", "ssd300_vgg16", "ssd512_vgg16"}


@pytest.fixture(scope="module", params=[pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in MODELS])
def name(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def shared(name) -> SSD:
    torch.manual_seed(0)
    model = detzoo.get_model(name, num_classes=NUM_CLASSES)
    return lively(model)


@torch.no_grad()
def lively(model: SSD) -> SSD:
    """A network as initialised says nearly the same everywhere: give it weights and batch statistics that carry far."""
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None  # the plain average of what is seen
    model.train().predict(model.preprocess(pictures((300, 300), (400, 200))))
    return model


@pytest.fixture
def model(shared) -> SSD:
    """Made once; in eval mode, without gradients."""
    shared.zero_grad(set_to_none=True)
    return shared.eval()


def pictures(*sizes: tuple[int, int]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(256, (3, *size), dtype=torch.uint8, generator=generator) for size in sizes]


def target(*boxes: tuple) -> dict:
    labels = 1 + torch.arange(len(boxes)) % (NUM_CLASSES - 1)
    return {"boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), "labels": labels}


ONE, TWO = target((10, 10, 60, 90)), target((5, 5, 40, 30), (20, 10, 90, 90))


def check_losses(losses: dict[str, torch.Tensor]) -> None:
    assert losses.keys() == {"bbox_regression", "classification"}
    assert all(loss.ndim == 0 and loss.isfinite() and loss.requires_grad for loss in losses.values())


def check_detections(found: list[dict], sizes: list[tuple[int, int]], limit: int) -> None:
    assert len(found) == len(sizes)
    for detection, (height, width) in zip(found, sizes, strict=True):
        boxes, labels, scores = (detection[name] for name in ("boxes", "labels", "scores"))
        assert 0 < len(scores) <= limit and boxes.shape == (len(scores), 4) and labels.shape == scores.shape
        assert (scores.diff() <= 0).all() and scores.max() <= 1 and scores.min() > 0, "best first"
        assert labels.dtype == torch.int64 and set(labels.tolist()) <= set(range(1, NUM_CLASSES))
        assert (boxes >= 0).all()
        assert boxes[:, [0, 2]].max() <= width * 1.0001 and boxes[:, [1, 3]].max() <= height * 1.0001
        assert boxes[:, [0, 2]].max() > width / 2 and boxes[:, [1, 3]].max() > height / 2, "in pixels of this image"
        assert not any(column.requires_grad for column in detection.values())


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_losses_detect_and_forward_in_both_modes(model, training):
    """torchvision's contract for `forward`; the others work whatever the mode."""
    model.training = training  # of the model alone: batch statistics stay those of eval mode
    sizes = [(100, 140), (120, 100)]
    images, targets = pictures(*sizes), [ONE, TWO]
    losses = model(images, targets) if training else model.losses(images, targets)
    found = model.detect(images) if training else model(images)
    check_losses(losses)
    check_detections(found, sizes, model.postprocess.detections_per_image)


def test_predict_gives_one_row_for_each_default_box(model):
    with torch.no_grad():
        logits, deltas, default_boxes, levels = model.predict(torch.rand(1, 3, *model.preprocess.size))
    count = len(default_boxes)
    assert logits.shape == (1, count, NUM_CLASSES)
    assert deltas.shape == (1, count, 4) and default_boxes.shape == (count, 4)
    assert sum(levels) == count and len(levels) == model.default_boxes.num_levels


BATCHES = {"one box": (ONE, target()), "three boxes": (ONE, TWO), "no box": (target(), target())}


@pytest.mark.parametrize(
    ("name", "targets"),
    [
        pytest.param(name, targets, id=f"{name}-{batch}", marks=[pytest.mark.slow] if name in SLOW else [])
        for name in MODELS
        for batch, targets in BATCHES.items()
        if batch == "one box" or name not in SLOW
    ],
    indirect=["name"],
)
def test_a_training_step_is_finite_and_reaches_the_class_head(model, targets):
    losses = model.train()(pictures((100, 100), (100, 100)), list(targets))
    check_losses(losses)
    sum(losses.values()).backward()
    gradients = {key: p.grad for key, p in model.named_parameters() if p.grad is not None}
    assert all(gradient.isfinite().all() for gradient in gradients.values())
    classification = [gradients[key].abs().sum() for key in gradients if key.startswith("head.classification")]
    assert sum(classification) > 0
    if any(len(one["labels"]) for one in targets):
        assert set(gradients) == {key for key, _ in model.named_parameters()}
        assert losses["bbox_regression"] > 0


@torch.no_grad()
def test_a_loaders_batch_is_the_same_as_lists(model):
    size = model.preprocess.size
    images, targets = pictures(size, size), [TWO, ONE]
    expected = model.losses([image / 255 for image in images], targets)
    losses = model.losses(torch.stack(images), pad_targets(targets))
    for name, loss in losses.items():
        torch.testing.assert_close(loss, expected[name], rtol=1e-5, atol=0)


def test_bad_targets_are_named_before_anything_is_computed(model):
    with pytest.raises(ValueError, match="image 1, box 0: .* is no xyxy box with an area"):
        model.losses(pictures((50, 50), (50, 50)), [ONE, target((5, 5, 5, 9))])
    foreign = {"boxes": ONE["boxes"], "labels": torch.tensor([NUM_CLASSES])}
    with pytest.raises(ValueError, match=rf"image 0, box 0: label {NUM_CLASSES} is not in 1..{NUM_CLASSES - 1}"):
        model.losses(pictures((50, 50)), [foreign])
    with pytest.raises(ValueError, match="got no images"):
        model.losses([], [])
    with pytest.raises(ValueError, match="needs targets"):
        model.train()(pictures((50, 50)))


class Predict(nn.Module):
    def __init__(self, model: SSD) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(self.model.predict(batch)[:3])


@pytest.mark.slow
@torch.no_grad()
def test_exported_with_a_dynamic_batch(model):
    example, other = torch.rand(2, 3, *model.preprocess.size), torch.rand(3, 3, *model.preprocess.size)
    program = torch.export.export(Predict(model), (example,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    for found, expected in zip(program.module()(other), model.predict(other)[:3], strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_state_dict_there_and_back(name, model):
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    twin = detzoo.get_model(name, num_classes=NUM_CLASSES).eval()
    batch = torch.rand(1, 3, *model.preprocess.size)
    twin.load_state_dict(torch.load(file, weights_only=True))
    for one, other in zip(twin.predict(batch)[:3], model.predict(batch)[:3], strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("name", "num_classes", "count"),
    [
        ("ssd300_vgg16", 91, 35_641_826),
        ("ssd512_vgg16", 81, 36_038_196),
        ("ssd512_vgg16", 21, 27_188_676),
        ("ssdlite320_mobilenet_v3_large", 91, 3_440_060),
        # NVIDIA DeepLearningExamples, SSD300 v1.1
        ("ssd300_resnet18", 81, 14_048_310),
        ("ssd300_resnet34", 81, 19_975_222),
        ("ssd300_resnet50", 81, 22_894_902),
        ("ssd300_resnet101", 81, 41_887_030),
        # pytorch-ssd: mb1-ssd, mb1-ssd-lite, mb2-ssd-lite
        ("ssd300_mobilenet_v1", 21, 9_468_996),
        ("ssdlite300_mobilenet_v1", 21, 4_312_388),
        ("ssdlite300_mobilenet_v2", 21, 3_388_228),
        # Dive into Deep Learning, one class
        ("tiny_ssd", 2, 1_010_376),
    ],
)
def test_parameter_counts(name, num_classes, count):
    with torch.device("meta"):
        model = detzoo.get_model(name, num_classes=num_classes)
    assert sum(parameter.numel() for parameter in model.parameters()) == count
    published = MODELS[name].weights
    if published is not None:
        assert published.DEFAULT.meta["num_params"] == count


@pytest.mark.parametrize("name", MODELS)
def test_default_boxes_fit_the_maps(name):
    with torch.device("meta"):
        model = detzoo.get_model(name).eval()
        logits, deltas, default_boxes, _ = model.predict(torch.empty(1, 3, *model.preprocess.size))
    assert logits.shape == (1, len(default_boxes), MODELS[name].config.num_classes)
    assert deltas.shape == (1, len(default_boxes), 4)


def test_names():
    assert detzoo.list_models() == sorted(MODELS)
    with pytest.raises(ValueError, match="unknown model 'ssd30_vgg16': did you mean 'ssd300_vgg16'"):
        detzoo.get_model("ssd30_vgg16")
    with pytest.raises(ValueError, match="no model 'ssd30_vgg16'.*did you mean 'ssd300_vgg16'"):
        detzoo.load("ssd30_vgg16")


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    "wrong", [{"score_treshold": 0.9}, {"size": (512, 512)}, {"num_classes": 0}, {"num_classes": 1}], ids=str
)
def test_what_an_entry_point_does_not_know_fails_at_once(name, wrong):
    """torchvision takes the first and ignores it, and warns of the second before it crashes."""
    with pytest.raises((TypeError, ValueError), match=next(iter(wrong))), torch.device("meta"):
        MODELS[name].build(**wrong)
