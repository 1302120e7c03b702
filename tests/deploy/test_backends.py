"""Engines that run a network: what they find is what the detector finds, and what they cannot do is said."""

import builtins
import copy
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace

import pytest
import torch

from detzoo.benchmark import AS_IT_IS, forms_of, measure, time_in_turn
from detzoo.categories import Categories
from detzoo.cli import main
from detzoo.data import SyntheticDataset, evaluation_loader
from detzoo.deploy import engines
from detzoo.deploy.backends import BACKENDS, Accelerated, accelerate
from detzoo.deploy.look_trained import look_trained
from detzoo.deploy.to_openvino import core
from detzoo.deploy.winograd import Winograd
from detzoo.engine.evaluate import evaluate
from detzoo.metrics import METRICS
from detzoo.models import SSD, build_ssd
from detzoo.models.checkpoint import model_record, save_checkpoint

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
NAMES = Categories(("circle", "square", "triangle"))
EXACT = [form for form in forms_of(CPU, calibrated=False) if form.endswith("float32")]


@pytest.fixture
def model(small_config):
    torch.manual_seed(0)
    return look_trained(build_ssd(small_config, categories=NAMES), candidates=200).requires_grad_(False)


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(0)
    sizes = [(70, 90), (96, 96), (120, 64)]
    return [torch.randint(256, (3, *size), dtype=torch.uint8, generator=generator) for size in sizes]


def accelerated(model, form, **options):
    backend, _, precision = form.partition(":")
    return accelerate(model, backend, precision, **options)


def test_exact_forms_are_all_backends_of_a_cpu():
    assert EXACT == ["eager:float32", "compiled:float32", "onnxruntime:float32", "openvino:float32"]


@pytest.mark.parametrize("form", [*(form for form in EXACT if "compiled" not in form), *[
    pytest.param("compiled:float32", marks=pytest.mark.slow),  # a compiler of C++ is started
]])  # fmt: skip
def test_what_an_engine_finds_is_what_the_detector_finds(model, images, form):
    fast = accelerated(model, form)
    for count in (3, 1, 2):  # another size of batch is another graph for some
        for found, expected in zip(fast.detect(images[:count]), model.detect(images[:count]), strict=True):
            assert len(expected["scores"]) > 10
            torch.testing.assert_close(found["scores"], expected["scores"], rtol=0, atol=1e-5)
            assert found["labels"].tolist() == expected["labels"].tolist()
            torch.testing.assert_close(found["boxes"], expected["boxes"], rtol=0, atol=1e-3)


@pytest.mark.parametrize("form", ["eager:bfloat16", "openvino:bfloat16", "openvino:int8"])
def test_fewer_bits_say_nearly_the_same(model, images, form):
    if form == "openvino:bfloat16" and not _has_bfloat16():
        pytest.skip("this processor has no bfloat16")
    calibration = images if form.endswith("int8") else None
    fast = accelerated(model, form, calibration=calibration)
    batch = model.preprocess(images)
    (boxes, scores), expected = fast.engine.run(batch), model.predict(batch)
    error = (scores.logit() - model.loss.scores(expected.logits).logit()).abs().mean()
    assert 1e-3 < error < 0.5, "rounded, and not to nothing"
    decoded = model.coder.decode(expected.deltas, expected.default_boxes)
    assert 1e-3 < (boxes - decoded).abs().mean() < 2, "pixels of 96"
    assert boxes.dtype == scores.dtype == torch.float32 and fast.levels == expected.levels


def test_boxes_are_decoded_in_full_precision(model, images):
    """The network's 8 bits are its own: boxes and scores are float32's of what it gave."""
    module = engines.Decoded(copy.deepcopy(model), "tensor").eval()
    network = engines.Network(module, (96, 96), "int8", [model.preprocess(images[:1])])
    batch = model.preprocess(images)
    boxes, scores = engines.run_openvino(network).run(batch)
    assert (scores.sum(dim=2) < 1).all() and len(boxes.flatten().unique()) > 5000, "256 steps would be seen"


def _has_bfloat16() -> bool:
    return "BF16" in core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def test_bfloat16_where_there_is_none_is_refused(model, monkeypatch):
    class Old:
        def get_property(self, device: str, name: str) -> list[str]:
            return ["FP32", "INT8"]

    monkeypatch.setattr(engines, "core", Old)
    with pytest.raises(ValueError, match="no bfloat16: choose float32 or int8"):
        accelerate(model, "openvino", "bfloat16")


def test_it_is_a_detector_that_can_be_measured(model):
    shapes = SyntheticDataset(3, size=(96, 96))
    metric = METRICS["coco"](annotations=shapes.annotations)
    expected = evaluate(model, evaluation_loader(shapes), metric)
    found = evaluate(accelerate(model, "openvino"), evaluation_loader(shapes), metric)
    assert found == pytest.approx(expected, abs=1e-5, nan_ok=True) and expected["AP"] >= 0


def test_the_model_stays_as_it_is(model):
    before = copy.deepcopy(model.state_dict())
    fast = accelerate(model.train(), "eager", "bfloat16")
    assert fast.eval() is fast and not fast.training and all(part.training for part in model.modules())
    with pytest.raises(ValueError, match="train the model that it was made from"):
        fast.train()
    assert isinstance(fast, Accelerated) and fast.categories == NAMES
    for name, tensor in model.state_dict().items():
        assert tensor.dtype == before[name].dtype and torch.equal(tensor, before[name])
        assert tensor.stride() == before[name].stride()


def test_it_is_measured_where_a_model_has_losses(small_config):
    shapes = SyntheticDataset(2, size=(96, 96))
    named = build_ssd(small_config, categories=shapes.categories)
    metric = METRICS["coco"](annotations=shapes.annotations)
    assert "val_loss" in evaluate(named, evaluation_loader(shapes), metric)
    assert "val_loss" not in evaluate(accelerate(named, "eager"), evaluation_loader(shapes), metric)


def test_it_cannot_be_moved(model):
    fast = accelerate(model, "eager")
    for change in (fast.half, fast.cpu, lambda: fast.to("cpu")):
        with pytest.raises(ValueError, match="stays where and as it is"):
            change()
    assert next(model.parameters()).dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_a_model_of_another_type_is_taken(model, images, dtype):
    assert len(accelerate(copy.deepcopy(model).to(dtype), "eager").detect(images)[0]["scores"]) > 10


def test_another_size_is_refused(model, images):
    class Smaller(type(model.preprocess)):
        def forward(self, images):
            return super().forward(images)[..., :-4, :-4]

    model.preprocess.__class__ = Smaller
    with pytest.raises(ValueError, match="made ready for 96x96 pixels, and its preprocessing gave 92x92 pixels"):
        accelerate(model, "eager").detect(images)


def test_wrapped_detectors_are_refused(model):
    with pytest.raises(ValueError, match="got a OptimizedModule: expected an SSD itself, not compiled"):
        accelerate(torch.compile(model), "eager")


@pytest.mark.parametrize("name", ["detect", "detections"])
def test_a_way_of_its_own_is_not_left_away(model, name):
    model.__class__ = type("Mine", (SSD,), {name: lambda self, *_: []})
    with pytest.raises(ValueError, match=f"Mine.{name} is its own, and would be left away"):
        accelerate(model, "eager")


def test_winograd_is_for_float32_and_leaves_the_model(model, images, monkeypatch):
    monkeypatch.setattr(engines, "WORTH_IT", 1)
    made, in_torch = [], engines._in_torch
    monkeypatch.setattr(engines, "_in_torch", lambda module: made.append(module) or in_torch(module))
    found = accelerate(model, "eager").detect(images)
    accelerate(model, "eager", "bfloat16")
    replaced = [sum(isinstance(part, Winograd) for part in module.modules()) for module in made]
    assert replaced[0] > 3 and replaced[1] == 0
    assert not any(isinstance(part, Winograd) for part in model.modules())
    for mine, theirs in zip(found, model.detect(images), strict=True):
        torch.testing.assert_close(mine["boxes"], theirs["boxes"], rtol=0, atol=1e-2)


def test_threads_are_those_of_before(model, images):
    fast = accelerate(model, "onnxruntime")
    assert fast.engine.own_threads
    seen = []
    fast.preprocess.register_forward_hook(lambda *_: seen.append(torch.get_num_threads()))
    torch.set_num_threads(2)
    fast.detect(images)
    with pytest.raises(ValueError, match="got no images"):
        fast.detect([])
    assert torch.get_num_threads() == 2 and seen == [1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backend": "opnvino"}, "unknown backend 'opnvino': did you mean 'openvino'"),
        ({"backend": "onnxruntime", "precision": "int8"}, "in float32, not in 'int8'; int8 is one of openvino"),
        ({"backend": "eager", "precision": "int4"}, "eager computes in float32, bfloat16, float16, not in 'int4'"),
        ({"backend": "openvino", "device": "cuda"}, "openvino runs on cpu, not on cuda"),
        ({"backend": "cudagraphs"}, "cudagraphs runs on cuda, not on cpu"),
        ({"backend": "openvino", "precision": "int8"}, "int8 is calibrated on images like those to come"),
        ({"backend": "openvino", "precision": "int8", "calibration": []}, "got no images to calibrate on"),
        ({"backend": "eager", "calibration": [torch.zeros(3, 9, 9)]}, "images to calibrate on are for int8"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said(model, options, message):
    with pytest.raises(ValueError, match=message):
        accelerate(model, **options)


def test_logits_are_asked_of_the_model_itself(model):
    fast = accelerate(model, "eager")
    with pytest.raises(ValueError, match="gives boxes and scores, no logits: call detect, or predict of the model"):
        fast.predict(torch.zeros(1, 3, 96, 96))


SIGNALLED = """
import faulthandler, gc, os, signal, torch
from detzoo.deploy.backends import accelerate
from detzoo.deploy.look_trained import look_trained
from detzoo.models import SSDConfig, build_ssd

faulthandler.enable()  # it, too, wants a stack of its own for signals
model = look_trained(build_ssd(SSDConfig(**CONFIG)), candidates=50)
first = accelerate(model, "openvino")
first.detect([torch.zeros(3, 96, 96, dtype=torch.uint8)])
second = accelerate(model, "openvino")
second.detect([torch.zeros(3, 96, 96, dtype=torch.uint8)])
del first
gc.collect()
del second
gc.collect()
signal.signal(signal.SIGCHLD, lambda *arguments: print("alive"))
os.kill(os.getpid(), signal.SIGCHLD)
"""


def test_signals_arrive_after_detectors_went(small_config):
    program = SIGNALLED.replace("CONFIG", repr(asdict(replace(small_config, num_classes=4))))
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ended.returncode == 0 and "alive" in ended.stdout, ended.stderr


def test_two_threads_do_not_share_an_answer(model, images):
    fast = accelerate(model, "openvino")
    batches = [model.preprocess([image]) for image in images[:2]]
    first = fast.engine.run(batches[0])[1]
    wanted = first.clone()
    with ThreadPoolExecutor(1) as other:
        other.submit(fast.engine.run, batches[1]).result()
    assert torch.equal(first, wanted)


def test_a_missing_package_is_named_with_its_extra(model, monkeypatch):
    def without(name, *arguments, **options):
        if name.partition(".")[0] == "nncf":
            raise ModuleNotFoundError("No module named 'nncf'", name="nncf")
        return real(name, *arguments, **options)

    real = builtins.__import__
    monkeypatch.setattr("detzoo.packages.import_module", without)
    with pytest.raises(ValueError, match=r"needs the package nncf: pip install 'detzoo\[int8\]'"):
        accelerate(model, "openvino", "int8", calibration=[torch.zeros(3, 9, 9)])


def test_every_backend_says_what_it_can():
    for name, backend in BACKENDS.items():
        assert "float32" in backend.precisions and set(backend.devices) <= {"cpu", "cuda"}, name
    assert "openvino:int8" in forms_of(CPU, calibrated=True)
    assert forms_of(torch.device("cuda"), calibrated=True)[-1].startswith("cudagraphs")


def test_openvino_keeps_a_graph_for_each_size_of_batch(model):
    network = engines.Network(accelerated_module(model), (96, 96), "float32")
    run = engines.run_openvino(network).run
    for count in (2, 5, 2):
        assert run(torch.zeros(count, 3, 96, 96))[0].shape[0] == count


def accelerated_module(model):
    return engines.Decoded(copy.deepcopy(model), "tensor").eval()


def test_a_table_of_forms(model, images):
    shapes = SyntheticDataset(2, size=(96, 96))
    rows = measure(model, ["eager:float32", "openvino:float32"], images, [1, 3], rounds=1, data=shapes)
    assert [row.form for row in rows] == [AS_IT_IS, "eager:float32", "openvino:float32"]
    assert all(set(row.milliseconds) == {1, 3} and min(row.milliseconds.values()) > 0 for row in rows)
    assert len({round(row.metrics["AP"], 5) for row in rows}) == 1
    assert rows[0].megabytes == pytest.approx(rows[2].megabytes, rel=0.2)


def test_forms_run_in_turn():
    calls = []
    seconds = time_in_turn({name: lambda name=name: calls.append(name) for name in "ab"}, 3, CPU, warm_up=1)
    assert calls == list("ab") * 4 and [len(times) for times in seconds.values()] == [3, 3]


def test_benchmark_on_the_command_line(model, small_config, tmp_path, capsys):
    path, shapes = tmp_path / "model.pt", SyntheticDataset(4, size=(96, 96))
    save_checkpoint(path, model_record(model, small_config))
    shapes.write(tmp_path / "shapes")
    folder = ["--images", str(tmp_path / "shapes" / "images")]
    data = [*folder, "--annotations", str(tmp_path / "shapes" / "annotations.json")]
    options = ["--batch", "2", "--rounds", "1", "--forms", "openvino:float32", "openvino:int8"]
    calibrated = ["--calibration", str(tmp_path / "shapes" / "images")]
    assert main(["benchmark", str(path), *options, *data, *calibrated]) == 0
    head, candidates, columns, *rows = capsys.readouterr().out.splitlines()
    assert "an image of 96x96 bytes to boxes" in head and columns.split()[:2] == ["MB", "AP"]
    assert int(candidates.split()[0]) > 20 and "above the threshold" in candidates
    assert [row.split()[0] for row in rows] == ["as", "openvino:float32", "openvino:int8"]
    assert float(rows[2].split()[1]) < 0.6 * float(rows[1].split()[1]), "megabytes"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--images", "x"], "--images FOLDER and --annotations FILE go together"),
        (["--limit", "3"], "--limit is of a data set"),
        (["--random-weights", "--images", "x", "--annotations", "y"], "--random-weights have no accuracy"),
        (["--own-data", "--images", "x", "--annotations", "y"], "name two data sets"),
        (["--batch", "0"], "expected --batch and --rounds of 1 or more"),
        (["--forms", "openvino"], "unknown form 'openvino': did you mean 'openvino:"),
        (["--calibration", "nowhere"], "no such file, folder or pattern"),
        (["--calibration", "x", "--forms", "eager:float32"], "--calibration is for int8, and none of --forms is"),
        (["--device", "gpu"], "no device 'gpu': expected auto, cpu, cuda or cuda:N"),
    ],
)
def test_what_cannot_be_benchmarked_is_said(model, small_config, tmp_path, capsys, monkeypatch, options, message):
    path = tmp_path / "model.pt"
    save_checkpoint(path, model_record(model, small_config))
    monkeypatch.setattr("detzoo.benchmark.build_part", lambda *arguments, **derived: None)
    assert main(["benchmark", str(path), *options]) == 2
    assert message in capsys.readouterr().err


def test_a_broken_image_to_calibrate_on_is_an_error(model, small_config, tmp_path, capsys):
    save_checkpoint(tmp_path / "model.pt", model_record(model, small_config))
    (tmp_path / "broken.jpg").write_bytes(b"broken")
    assert main(["benchmark", str(tmp_path / "model.pt"), "--calibration", str(tmp_path)]) == 2
    assert "broken.jpg cannot be read as an image" in capsys.readouterr().err


def test_a_form_without_its_package_is_a_row_that_says_so(model, images, monkeypatch):
    def missing(name, extra):
        raise ValueError(f"this needs the package {name}: pip install 'detzoo[{extra}]'")

    monkeypatch.setattr("detzoo.deploy.backends.package", missing)
    _, row = measure(model, ["openvino:float32"], images, [1], rounds=1)
    assert row.milliseconds == {} and "pip install 'detzoo[openvino]'" in row.problem
    with pytest.raises(ValueError, match="unknown form 'openvin:float32': did you mean 'openvino:float32'"):
        measure(model, ["openvin:float32"], images, [1], rounds=1)


def test_a_form_that_fails_when_it_is_used_is_a_row_that_says_so(model, images, monkeypatch):
    def no_compiler(self, images):
        raise RuntimeError("no C++ compiler\nand many lines more")

    monkeypatch.setattr(Accelerated, "detect", no_compiler)
    _, row = measure(model, ["eager:float32"], images, [1], rounds=1)
    assert row.problem == "no C++ compiler"
