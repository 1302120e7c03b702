"""What every model promises. Being in `MODELS` is what enrols one here.

The largest models take seconds for every step on a CPU, so theirs are slow tests; what needs no arithmetic is asked of
all.
"""

import importlib.util
import io
import math
from dataclasses import replace

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.flop_counter import FlopCounterMode

import detzoo
from detzoo.components import NECKS
from detzoo.components.default_boxes import STEP_SLACK
from detzoo.engine.sync_norm import synchronise_batch_norm
from detzoo.models import MODELS, SSD, SSDConfig, build_ssd
from detzoo.structures import pad_targets

NUM_CLASSES = 5
SLOW = {"ssd300_resnet34", "ssd300_resnet50", "ssd300_resnet101", "ssd300_vgg16", "ssd512_resnet50", "ssd512_vgg16"}
HAS_TIMM = importlib.util.find_spec("timm") is not None
NEEDS_TIMM = pytest.mark.skipif(not HAS_TIMM, reason="needs pip install detzoo[timm]")


def marks_of(name: str) -> list[pytest.MarkDecorator]:
    return [pytest.mark.slow] * (name in SLOW) + [NEEDS_TIMM] * ("timm" in name)


NAMES = [pytest.param(name, marks=marks_of(name)) for name in MODELS]
ALL_NAMES = [pytest.param(name, marks=[NEEDS_TIMM] * ("timm" in name)) for name in MODELS]  # where nothing is computed


@pytest.fixture(scope="module", params=NAMES)
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
        pytest.param(name, targets, id=f"{name}-{batch}", marks=marks_of(name))
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
        return tuple(self.model.predict(batch))


@pytest.mark.slow
@torch.no_grad()
def test_exported_with_a_dynamic_batch(model):
    example, other = torch.rand(2, 3, *model.preprocess.size), torch.rand(3, 3, *model.preprocess.size)
    program = torch.export.export(Predict(model), (example,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    for found, expected in zip(program.module()(other)[:3], model.predict(other)[:3], strict=True):
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
        ("ssd300_vgg16", 21, 26_285_486),
        ("ssdlite320_mobilenet_v3_large", 91, 3_440_060),
        # NVIDIA DeepLearningExamples, SSD300 v1.1
        ("ssd300_resnet18", 81, 14_048_310),
        ("ssd300_resnet34", 81, 19_975_222),
        ("ssd300_resnet50", 81, 22_894_902),
        ("ssd300_resnet101", 81, 41_887_030),
        # pytorch-ssd: mb1-ssd, mb1-ssd-lite, mb2-ssd-lite, sq-ssd-lite
        ("ssd300_mobilenet_v1", 21, 9_468_996),
        ("ssdlite300_mobilenet_v1", 21, 4_312_388),
        ("ssdlite300_mobilenet_v2", 21, 3_388_228),
        ("ssdlite300_squeezenet1_1", 21, 1_875_268),
        ("ssd300_efficientnet_b3", 21, 12_656_262),  # lufficc/SSD
        # Dive into Deep Learning, one class
        ("tiny_ssd", 2, 1_010_376),
    ],
)
def test_parameter_counts(name, num_classes, count):
    with torch.device("meta"):
        model = detzoo.get_model(name, num_classes=num_classes)
    assert sum(parameter.numel() for parameter in model.parameters()) == count
    for weights in MODELS[name].weights or ():
        if num_classes == weights.categories.num_classes and "num_params" in weights.meta:
            assert weights.meta["num_params"] == count


def on_meta(config: SSDConfig) -> SSD:
    """Without memory or arithmetic, in eval mode."""
    with torch.device("meta"):
        return build_ssd(config).eval()


def millions_and_gmacs(config: SSDConfig) -> tuple[float, float]:
    """Parameters, and multiplications with an addition each for one image at the model's input, in 10^6 and 10^9."""
    model = on_meta(config)
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.predict(torch.empty(1, 3, *config.size))
    return sum(p.numel() for p in model.parameters()) / 1e6, counter.get_total_flops() / 2e9


@pytest.mark.parametrize(
    ("name", "num_classes", "millions", "gmacs"),
    [
        # the cards of torchvision's weights, which say GFLOPS for what is counted here
        ("ssd300_vgg16", 91, 35.641826, 34.858),
        ("ssdlite320_mobilenet_v3_large", 91, 3.440060, 0.583),
    ],
)
def test_published_work(name, num_classes, millions, gmacs):
    found = millions_and_gmacs(replace(MODELS[name].config, num_classes=num_classes))
    assert found == (millions, pytest.approx(gmacs, abs=5e-4))


THREE_ON_THE_FIRST_LEVEL = {"name": "shapes", "shapes": [[(0.2, 0.2)] * 3, *[[(0.2, 0.2)] * 6] * 5]}
FIRST_MAP_OF_MMDETECTION = {"name": "mobilenet_v2", "extras": "ssdlite", "first_map": "block"}


@pytest.mark.parametrize(
    ("changes", "millions", "gmacs"),
    [
        ({"num_classes": 81}, 4.484148, 0.848),
        # The paper (arXiv:1801.04381, table 6) has 4.3 M and 0.8 G: there a cell of the first level has three default
        # boxes, ours six as on the others.
        ({"num_classes": 81, "default_boxes": THREE_ON_THE_FIRST_LEVEL}, 4.337013, 0.789),
        # So it is as published with COCO's 91 slots for 300 pixels. OpenVINO's model zoo has 4.475 M and 1.525 / 2 G:
        # the 25,376 factors of the batch norms are gone into the convolutions there, and additions of biases counted.
        (
            {"num_classes": 91, "default_boxes": THREE_ON_THE_FIRST_LEVEL, "size": (300, 300)},
            4.475 + 0.025376 + 0.000167,
            0.750,
        ),
        # MMDetection's ssdlite_mobilenetv2_scratch_600e_coco: 4,228,788; its first map has a sixth of the channels
        ({"num_classes": 81, "backbone": FIRST_MAP_OF_MMDETECTION}, 4.228788, 0.746),
    ],
    ids=["ours", "TensorFlow's", "TensorFlow's at 300", "MMDetection's"],
)
def test_work_of_ssdlite_with_mobilenet_v2_and_what_others_publish(changes, millions, gmacs):
    found = millions_and_gmacs(replace(MODELS["ssdlite320_mobilenet_v2"].config, **changes))
    assert found == (pytest.approx(millions, abs=5e-7), pytest.approx(gmacs, abs=5e-4))


@pytest.mark.parametrize("name", ALL_NAMES)
def test_default_boxes_fit_the_maps(name):
    with torch.device("meta"):
        model = detzoo.get_model(name).eval()
        logits, deltas, default_boxes, _ = model.predict(torch.empty(1, 3, *model.preprocess.size))
    assert logits.shape == (1, len(default_boxes), MODELS[name].config.num_classes)
    assert deltas.shape == (1, len(default_boxes), 4)


# ---- where boxes are ----


def maps_of(model: SSD, size: tuple[int, int]) -> list[torch.Size]:
    with torch.device("meta"), torch.no_grad():
        return [x.shape for x in model.backbone(torch.empty(1, 3, *size))]


def head_that_looks_at_single_cells(model: SSD) -> nn.Module:
    """The head with random weights, of whose 3x3 convolutions only the middle is left."""
    head = model.head.to_empty(device="cpu")
    for layer in head.modules():
        if isinstance(layer, nn.Conv2d):
            layer.reset_parameters()
            if layer.kernel_size == (3, 3):
                layer.weight.data *= torch.tensor([[0, 0, 0], [0, 1, 0], [0, 0, 0]])
        if isinstance(layer, nn.BatchNorm2d):
            layer.reset_parameters()
    return head


@torch.no_grad()
@pytest.mark.parametrize("name", ALL_NAMES)
def test_a_lit_cell_fires_its_own_default_boxes(name):
    torch.manual_seed(0)
    config = replace(MODELS[name].config, num_classes=2)
    model, (height, width) = on_meta(config), config.size
    maps = [torch.rand(shape) for shape in maps_of(model, config.size)]
    grids = [tuple(x.shape[-2:]) for x in maps]
    head, default_boxes = head_that_looks_at_single_cells(model), model.default_boxes(grids, config.size)
    dark = head(maps)
    for level, (rows, columns) in enumerate(grids):
        row, column = rows // 4, columns // 3
        lit = list(maps)
        lit[level] = maps[level].clone()
        lit[level][..., row, column] += 1
        for before, after in zip(dark, head(lit), strict=True):
            fired = (before != after).any(dim=-1)[0].nonzero().flatten()
            assert len(fired) == model.default_boxes.boxes_per_cell[level]
            x1, y1, x2, y2 = default_boxes[fired].unbind(dim=1)
            # a published step may be off the real one (squeezenet: 16 pixels where cells are 17.6 apart)
            x, y = (x1 + x2) / 2 / width * columns, (y1 + y2) / 2 / height * rows
            assert ((x - column - 0.5).abs() < 0.75).all() and ((y - row - 0.5).abs() < 0.75).all()


@pytest.mark.parametrize("name", ALL_NAMES)
def test_wide_images(name):
    """At 300x512, default boxes follow the real grid: one for each row of logits, and more of them to the right."""
    model, size = on_meta(replace(MODELS[name].config, size=(300, 512))), (300, 512)
    with torch.device("meta"):
        logits, deltas, *_ = model.predict(torch.empty(1, 3, *size))
    boxes, x, y = boxes_and_first_centres(model, size)
    assert len(boxes) == logits.shape[1] == deltas.shape[1]
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    assert (centres > 0).all() and (centres < torch.tensor([512, 300]) * (1 + STEP_SLACK)).all(), "on every level"
    assert (x.diff(dim=1) > 0).all() and (y.diff(dim=1).abs() < 1e-3).all()
    assert (y.diff(dim=0) > 0).all() and (x.diff(dim=0).abs() < 1e-3).all()
    assert x[:, -1].min() > 512 * 0.85 and x.max() <= 512 and y[-1].min() > 300 * 0.85 and y.max() <= 300
    _, square_x, square_y = boxes_and_first_centres(on_meta(replace(MODELS[name].config, size=(300, 300))), (300, 300))
    assert x.max() > square_x.max() + 150 and y.max().item() == pytest.approx(square_y.max().item())


def boxes_and_first_centres(model: SSD, size: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """All default boxes, then x and y of the centres of the first level's, [rows, columns, K]."""
    grids = [tuple(shape[-2:]) for shape in maps_of(model, size)]
    boxes = model.default_boxes(grids, size)
    centres = ((boxes[:, :2] + boxes[:, 2:]) / 2)[: math.prod(grids[0]) * model.default_boxes.boxes_per_cell[0]]
    return boxes, *centres.reshape(*grids[0], -1, 2).unbind(dim=-1)


# ---- with a neck ----


@pytest.mark.parametrize("neck", NECKS)
@pytest.mark.parametrize("name", ALL_NAMES)
def test_a_neck_goes_with_every_model(name, neck):
    """Without arithmetic: shapes as declared, and a gradient finds its way to every parameter."""
    model = on_meta(replace(MODELS[name].config, neck=neck)).train()
    size = model.preprocess.size
    with torch.device("meta"):
        maps = model.neck(model.backbone(torch.empty(2, 3, *size)))
        logits, deltas, default_boxes, _ = model.predict(torch.empty(2, 3, *size))
    assert [x.shape[1] for x in maps] == model.neck.channels
    assert logits.shape[:2] == deltas.shape[:2] == (2, len(default_boxes))
    (logits.sum() + deltas.sum()).backward()
    assert [key for key, parameter in model.named_parameters() if parameter.grad is None] == []


# ---- on two processes ----


def step_of_every_model(rank: int, names: list[str], folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    torch.set_num_threads(1)
    found = {name: step_of_a_model(name, rank) for name in names}
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def step_of_a_model(name: str, rank: int) -> dict[str, torch.Tensor]:
    """Length of every gradient of one training step; each process has an image of its own."""
    torch.manual_seed(0)
    model = synchronise_batch_norm(detzoo.get_model(name, num_classes=NUM_CLASSES), torch.device("cpu")).train()
    trainee = DistributedDataParallel(model)
    losses = trainee(pictures((300, 300 + rank)), [(ONE, TWO)[rank]])
    sum(losses.values()).backward()
    return {key: parameter.grad.norm() for key, parameter in model.named_parameters()}


@pytest.mark.slow
def test_a_training_step_of_every_model_on_two_processes(tmp_path):
    names = [name for name in MODELS if HAS_TIMM or "timm" not in name]
    torch.multiprocessing.spawn(step_of_every_model, (names, str(tmp_path)), nprocs=2)
    one, other = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    for name in names:
        assert one[name] == other[name], f"{name}: gradients are those of both processes' images, and the same in both"
        assert all(length.isfinite() for length in one[name].values()), name
        assert sum(length for key, length in one[name].items() if key.startswith("head.regression")) > 0, name


def test_names():
    assert detzoo.list_models() == sorted(MODELS)
    with pytest.raises(ValueError, match="unknown model 'ssd30_vgg16': did you mean 'ssd300_vgg16'"):
        detzoo.get_model("ssd30_vgg16")
    with pytest.raises(ValueError, match="no model 'ssd30_vgg16'.*did you mean 'ssd300_vgg16'"):
        detzoo.load("ssd30_vgg16")


@pytest.mark.parametrize("name", ALL_NAMES)
@pytest.mark.parametrize(
    "wrong", [{"score_treshold": 0.9}, {"size": (512, 512)}, {"num_classes": 0}, {"num_classes": 1}], ids=str
)
def test_what_an_entry_point_does_not_know_fails_at_once(name, wrong):
    """torchvision takes the first and ignores it, and warns of the second before it crashes."""
    with pytest.raises((TypeError, ValueError), match=next(iter(wrong))), torch.device("meta"):
        MODELS[name].build(**wrong)
