"""Files that leave PyTorch: what they say, what they say of themselves, and what is refused."""

import copy
import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import detzoo
from detzoo.categories import Categories
from detzoo.cli import main
from detzoo.components import Postprocess, SoftNMS
from detzoo.components.preprocess import Preprocess
from detzoo.deploy import INPUTS, LEVELS, TARGETS, ExportError, export
from detzoo.deploy.check import STRAY, Match, match
from detzoo.deploy.keep import keep_by_offsets
from detzoo.deploy.levels import Suppressed
from detzoo.deploy.look_trained import look_trained
from detzoo.deploy.program import EXACT
from detzoo.models import SSD, build_ssd
from detzoo.models.checkpoint import model_record, save_checkpoint

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def model(small_config):
    torch.manual_seed(0)
    built = build_ssd(small_config, categories=Categories(("cat", "dog", "owl")))
    return look_trained(built, candidates=300).requires_grad_(False)


@pytest.fixture
def images():
    return torch.randint(256, (3, 3, 96, 96), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def detections_of(outputs):
    boxes, scores, labels, counts = outputs
    return [
        {"boxes": boxes[k][:count], "scores": scores[k][:count], "labels": labels[k][:count]}
        for k, count in enumerate(counts.tolist())
    ]


def assert_same_detections(found, wanted, atol=1e-4):
    assert len(found) == len(wanted)
    for mine, theirs in zip(found, wanted, strict=True):
        assert len(theirs["labels"]) > 0
        for name, column in theirs.items():
            assert torch.allclose(mine[name].float(), column.float(), atol=atol), name


# ---- levels, without any engine ----


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"class_agnostic": True},
        {"clip": False},
        {"best_class_only": True},
        {"drop_empty": True},
        {"top_k": 7},
        {"top_k": 7, "class_agnostic": True},
        {"top_k": 20, "top_k_per": "level"},
        {"top_k": 30, "top_k_per": "image"},
        {"top_k": None, "detections_per_image": None},
        {"detections_per_image": 3},
        {"score_threshold": 0.9},
        {"iou_threshold": 0.0},
        {"iou_threshold": 1.0},
    ],
    ids=str,
)
def test_suppression_in_a_graph_is_the_detector_s(model, images, options):
    model.postprocess = Postprocess(**{"score_threshold": 0.02, **options})
    found = detections_of(Suppressed(copy.deepcopy(model), candidates=720 * 3)(images))
    assert_same_detections(found, model(images))


def test_too_few_candidates_find_less_and_never_something_else(model, images):
    few = detections_of(Suppressed(copy.deepcopy(model), candidates=20)(images))
    for mine, theirs in zip(few, model(images), strict=True):
        count = len(mine["labels"])
        assert 0 < count < len(theirs["labels"])
        assert torch.equal(mine["boxes"], theirs["boxes"][:count])


def test_candidates_that_are_missed_are_named(model, tmp_path):
    """Many boxes above the threshold, few of which survive: the detector goes back for more, a graph cannot."""
    model.postprocess = Postprocess(score_threshold=0.001, iou_threshold=0.1, top_k=None, detections_per_image=100)
    with pytest.raises(ExportError, match=r"(\d+) pairs .* threshold, and 30 enter suppression .* --candidates \1 "):
        export(model, tmp_path / "m.pt2", to="torch-export", candidates=30)
    export(model, tmp_path / "m.pt2", to="torch-export")


def test_candidates_are_not_asked_for_where_more_cannot_enter(model, tmp_path, monkeypatch):
    model.postprocess = Postprocess(score_threshold=0.001, top_k=50, top_k_per="image")
    monkeypatch.setattr("detzoo.deploy.check._unexplained", lambda *_: 10)
    monkeypatch.setattr("detzoo.deploy.check.match", lambda *_: Match(torch.arange(5), torch.arange(5), 0.0, 0.0))
    with pytest.raises(ExportError, match=r"scores within 0.0001\)$"):
        export(model, tmp_path / "m.pt2", to="torch-export")


def test_a_way_of_its_own_is_not_left_away(model, tmp_path):
    own = type("Mine", (SSD,), {"detect": lambda self, images: []})
    model.__class__ = own
    with pytest.raises(ValueError, match="Mine.detect is its own, and would be left away: change a part"):
        export(model, tmp_path / "m.pt2", to="torch-export")
    export(model, tmp_path / "m.pt2", to="torch-export", level="raw")


def test_rows_beyond_the_count_are_zero(model, images):
    model.postprocess = Postprocess(score_threshold=0.7)
    boxes, scores, labels, counts = Suppressed(model)(images)
    assert boxes.shape == (3, 200, 4) and scores.shape == labels.shape == (3, 200) and labels.dtype == torch.int64
    assert 0 < counts.max() < 200
    for k, count in enumerate(counts.tolist()):
        assert scores[k, :count].all() and labels[k, :count].all()
        assert not (boxes[k, count:].any() or scores[k, count:].any() or labels[k, count:].any())


def test_groups_far_apart_keep_their_fractions():
    """Two boxes that overlap by just less than the threshold, in the last of many groups."""
    width = 0.5 - 2**-14  # as fine as float32 is at 511
    boxes = torch.tensor([[0, 0, 1, 1], [0, 0, width, 1]], dtype=torch.float32) + torch.tensor([511.0, 0, 511, 0])
    boxes = boxes.expand(8, 2, 4)
    groups = torch.full((8, 2), 89)
    exact = (boxes[0, 1, 2] - 511).item()
    assert exact < 0.5
    assert keep_by_offsets(boxes, groups, 0.5, 90).all()
    assert keep_by_offsets(boxes, groups, exact - 1e-6, 90).tolist() == [[True, False]] * 8


@pytest.mark.parametrize("postprocess", [SoftNMS(), Postprocess(union_margin=1e-5)], ids=["soft", "margin"])
def test_suppression_that_no_graph_has_is_refused(model, tmp_path, postprocess):
    model.postprocess = postprocess
    with pytest.raises(ValueError, match="level 'decoded' works"):
        export(model, tmp_path / "model.pt2", to="torch-export")
    assert export(model, tmp_path / "model.pt2", to="torch-export", level="decoded").path.is_file()


# ---- torch.export: fast, and nothing else is needed ----


@pytest.mark.parametrize(
    "inputs", [pytest.param(name, marks=[pytest.mark.slow] * (name != "pixels")) for name in INPUTS]
)
def test_torch_export_is_loaded_without_detzoo(model, images, tmp_path, inputs):
    """In a process of its own; at this level torchvision's operator is asked for."""
    images = torch.cat((images, images), dim=-1) if inputs == "images" else images
    wanted = model(images)
    export(model, tmp_path / "model.pt2", to="torch-export", inputs=inputs)
    torch.save(model.preprocess(images) if inputs == "tensor" else images, tmp_path / "images.pt")
    program = (
        "import sys, torch, torchvision; torch.set_num_threads(1); "
        "run = torch.export.load('model.pt2').module(); torch.save(run(torch.load('images.pt')), 'found.pt'); "
        "assert 'detzoo' not in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], cwd=tmp_path, check=True)
    boxes, *rest = torch.load(tmp_path / "found.pt")
    if inputs == "tensor":  # it knows no other size than its own
        wanted = model(images)
    assert_same_detections(detections_of((boxes, *rest)), wanted)


def test_the_model_stays_as_it_was(model, tmp_path):
    model.train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    export(model, tmp_path / "model.pt2", to="torch-export", level="raw", precision="bfloat16")
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_fixed_batch_takes_that_one_only(model, images, tmp_path):
    export(model, tmp_path / "model.pt2", to="torch-export", level="raw", dynamic_batch=False, batch=3)
    run = torch.export.load(tmp_path / "model.pt2").module()
    assert len(run(images)[0]) == 3
    with pytest.raises(AssertionError):
        run(images[:2])


def test_a_file_says_what_it_is(model, tmp_path):
    export(model, tmp_path / "model.pt2", to="torch-export", level="raw", name="mine")
    facts = dict.fromkeys(("model", "level", "size", "classes", "mean", "std", "detzoo_version"), "")
    torch.export.load(tmp_path / "model.pt2", extra_files=facts)
    assert facts["model"] == "mine" and facts["level"] == "raw" and facts["detzoo_version"] == detzoo.__version__
    assert json.loads(facts["classes"]) == ["cat", "dog", "owl"] and json.loads(facts["size"]) == [96, 96]
    assert np.allclose(json.loads(facts["mean"]), model.preprocess.mean.flatten())


@pytest.mark.parametrize(
    ("level", "output", "moved"),
    [
        ("raw", "logits", "logits differs by"),
        ("decoded", "boxes", "boxes differs by"),
        ("nms", "scores", "not among those|rows beyond"),
        ("nms", "labels", "not among those of the detector"),
        ("nms", "counts", "not among those|rows beyond"),
    ],
)
def test_a_file_that_says_something_else_is_not_written(model, tmp_path, monkeypatch, level, output, moved):
    target = TARGETS["torch-export"]
    place = LEVELS[level].outputs.index(output)

    def open_wrong(path):
        run = target.open(path)

        def wrong(images):
            outputs = run(images)
            change = {"counts": -1, "labels": outputs[place] > 0}.get(output, 0.5)
            outputs[place] = outputs[place] + change
            return outputs

        return wrong

    monkeypatch.setitem(TARGETS, "torch-export", target._replace(open=open_wrong))
    with pytest.raises(ExportError, match=moved):
        export(model, tmp_path / "model.pt2", to="torch-export", level=level)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"to": "onxn"}, "did you mean 'onnx'"),
        ({"level": "row"}, "did you mean 'raw'"),
        ({"inputs": "pixel"}, "did you mean 'pixels'"),
        ({"precision": "float64"}, "torch-export has no precision 'float64': it has float32, bfloat16"),
        ({"to": "executorch", "level": "nms"}, "executorch has no level 'nms': it has raw, decoded"),
        ({"to": "executorch", "level": "raw", "file": "x.pte"}, "choose a number of images"),
        ({"file": "model.bin"}, "ends in .pt2"),
        ({"batch": 2}, "dynamic_batch is not"),
        ({"dynamic_batch": False, "batch": 0}, "at least 1"),
        ({"candidates": 0}, "at least 1"),
        ({"candidates": 9, "level": "raw"}, "which level 'raw' has not"),
        ({"to": "openvino", "file": "x.xml", "precision": "int8"}, "int8 is calibrated on images like those to come"),
        ({"images": []}, "no images"),
    ],
    ids=str,
)
def test_what_cannot_be_done_is_said_before(model, tmp_path, options, message):
    options = {"to": "torch-export", **options}
    with pytest.raises(ValueError, match=message):
        export(model, tmp_path / options.pop("file", "model.pt2"), **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("resize", ["opencv", "pillow"])
def test_a_resize_that_no_graph_has_is_named(model, tmp_path, resize):
    model.preprocess = Preprocess((96, 96), resize=resize)
    with pytest.raises(ValueError, match=f"resize='{resize}'.*choose inputs 'pixels'"):
        export(model, tmp_path / "model.pt2", to="torch-export", inputs="images")


def test_a_preprocessing_of_one_s_own_stays_outside(model, tmp_path):
    class Mine(Preprocess):
        pass

    model.preprocess = Mine((96, 96))
    with pytest.raises(ValueError, match="Mine is not known to export: choose inputs 'tensor'"):
        export(model, tmp_path / "model.pt2", to="torch-export")


def test_a_missing_package_is_named(model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ValueError, match=r"pip install 'detzoo\[onnx\]'"):
        export(model, tmp_path / "model.onnx")


# ---- other engines ----


@pytest.fixture
def onnx():
    pytest.importorskip("onnxruntime", reason="needs pip install detzoo[onnx]")
    return pytest.importorskip("onnx", reason="needs pip install detzoo[onnx]")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("inputs", "resize", "precision"),
    [
        ("pixels", "bilinear", "float32"),
        ("images", "bilinear", "float32"),
        ("images", "bilinear_antialias", "float32"),
        ("tensor", "bilinear", "float16"),
    ],
)
def test_onnx(onnx, small_config, model, tmp_path, inputs, resize, precision):
    model.preprocess.resize = resize
    path, differences = export(model, tmp_path / "model.onnx", inputs=inputs, precision=precision, name="mine")
    assert differences["boxes"] < 2 and differences[STRAY] <= (5 if precision == "float16" else 0)
    written = onnx.load(path)
    facts = {entry.key: entry.value for entry in written.metadata_props}
    assert facts["model"] == "mine" and facts["inputs"] == inputs and json.loads(facts["classes"])[2] == "owl"
    (taken,) = written.graph.input
    sizes = [size.dim_param or size.dim_value for size in taken.type.tensor_type.shape.dim]
    assert sizes == ["batch", 3, *(("height", "width") if inputs == "images" else (96, 96))]
    assert [output.name for output in written.graph.output] == ["boxes", "scores", "labels", "counts"]


def nothing_in_it(model) -> torch.Tensor:
    """An image [1, 3, 96, 96] none of whose scores is above the threshold, which is moved for it."""
    plain = torch.full((1, 3, 96, 96), 127, dtype=torch.uint8)
    scores = model.loss.scores(model.predict(model.preprocess(plain)).logits)
    model.postprocess.score_threshold = float(scores.max()) + 1e-4
    return plain


@pytest.mark.slow
def test_onnx_of_an_image_with_nothing_in_it(onnx, model, tmp_path):
    plain = nothing_in_it(model)
    path, _ = export(model, tmp_path / "model.onnx")
    boxes, _, _, counts = TARGETS["onnx"].open(path)(plain.expand(2, -1, -1, -1).contiguous())
    assert counts.tolist() == [0, 0] and boxes.shape == (2, 200, 4) and not boxes.any()


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_openvino(onnx, model, images, tmp_path, precision):
    openvino = pytest.importorskip("openvino", reason="needs pip install detzoo[openvino]")
    path, _ = export(model, tmp_path / "model.xml", to="openvino", precision=precision, name="mine")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model.bin", "model.xml"]
    assert openvino.Core().read_model(path).get_rt_info(["detzoo", "model"]).astype(str) == "mine"
    if precision == "float32":
        found, wanted = detections_of(TARGETS["openvino"].open(path)(images)), model(images)
        for mine, theirs in zip(found, wanted, strict=True):  # of scores equal to six digits, either may come first
            pair = match(mine, theirs, EXACT)
            assert len(mine["labels"]) == len(theirs["labels"]) > 10 and len(pair.found) == len(pair.wanted) == 0


@pytest.mark.slow
@pytest.mark.parametrize(("level", "inputs"), [("raw", "tensor"), ("decoded", "images"), ("nms", "pixels")])
def test_openvino_in_integers(onnx, model, images, tmp_path, level, inputs):
    pytest.importorskip("nncf", reason="needs pip install detzoo[int8]")
    options = {"to": "openvino", "level": level, "inputs": inputs, "images": list(images)}
    whole, eighth = tmp_path / "whole.xml", tmp_path / "int8.xml"
    exact = export(model, whole, **options).differences
    rounded = export(model, eighth, precision="int8", **options).differences
    assert rounded.keys() == exact.keys() and any(rounded[name] > 10 * exact[name] for name in exact)
    assert "i8" in eighth.read_text() and "i8" not in whole.read_text(), "weights are in 8 bits"


@pytest.mark.slow
@pytest.mark.parametrize("level", ["raw", "decoded"])
def test_executorch(model, tmp_path, level):
    pytest.importorskip("executorch", reason="needs pip install detzoo[executorch]")
    path, differences = export(
        model, tmp_path / "model.pte", to="executorch", level=level, dynamic_batch=False, batch=2
    )
    assert path.stat().st_size > 1000 and differences.keys() == set(LEVELS[level].outputs)


# ---- the command ----


@pytest.fixture
def checkpoint(model, small_config, tmp_path):
    config = replace(small_config, num_classes=4)
    save_checkpoint(tmp_path / "last.pt", model_record(model, config))
    return tmp_path / "last.pt"


def test_the_command_writes_and_prints_differences(checkpoint, tmp_path, capsys):
    Image.fromarray(np.full((50, 70, 3), 90, np.uint8)).save(tmp_path / "grey.png")
    output = tmp_path / "out" / "model.pt2"
    options = ["--to", "torch-export", "--level", "decoded", "--images", str(tmp_path / "grey.png")]
    assert main(["export", str(checkpoint), "-o", str(output), *options]) == 0
    first, _, *rows = capsys.readouterr().out.splitlines()
    assert first == f"written: {output}" and [row.split()[0] for row in rows] == ["boxes", "scores"]
    assert [float(row.split()[1]) < 1 for row in rows] == [True, True]
    assert main(["export", str(checkpoint), "-o", str(output), *options]) == 2
    assert "is there already" in capsys.readouterr().err


@pytest.mark.parametrize(("options", "count"), [([], None), (["--dynamic-batch"], None), (["--batch", "2"], 2)])
def test_batches_of_the_command(checkpoint, tmp_path, options, count):
    output = tmp_path / "model.pt2"
    arguments = ["export", str(checkpoint), "-o", str(output), "--to", "torch-export", "--level", "raw"]
    assert main([*arguments, *options]) == 0
    (images,) = (node for node in torch.export.load(output).graph.nodes if node.name == "images")
    assert (images.meta["val"].shape[0] == count) if count else not isinstance(images.meta["val"].shape[0], int)


def test_batch_is_one_or_the_other(checkpoint, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["export", str(checkpoint), "-o", str(tmp_path / "m.onnx"), "--dynamic-batch", "--batch", "2"])
    assert "not allowed with argument" in capsys.readouterr().err


def test_images_of_the_command_may_be_a_folder(checkpoint, tmp_path, capsys):
    (tmp_path / "grey").mkdir()
    output = ["-o", str(tmp_path / "model.pt2"), "--to", "torch-export", "--level", "raw"]
    assert main(["export", str(checkpoint), *output, "--images", str(tmp_path / "grey")]) == 2
    assert "there is no image in" in capsys.readouterr().err
    Image.fromarray(np.full((50, 70, 3), 90, np.uint8)).save(tmp_path / "grey" / "one.png")
    assert main(["export", str(checkpoint), *output, "--images", str(tmp_path / "grey")]) == 0


def test_the_command_says_what_was_wrong_in_one_line(checkpoint, tmp_path, capsys):
    arguments = ["export", str(checkpoint), "-o", str(tmp_path / "model.onnx"), "--precision", "int3"]
    assert main(arguments) == 2
    assert capsys.readouterr().err.startswith("detzoo: onnx has no precision 'int3': it has float32")


def test_a_check_that_finds_nothing_is_no_check(model, tmp_path):
    model.postprocess.score_threshold = 0.999999
    with pytest.raises(ExportError, match="nothing is found in any of 6 images, so nothing was compared"):
        export(model, tmp_path / "m.pt2", to="torch-export")
    assert list(tmp_path.iterdir()) == []


def test_a_torch_program_takes_an_image_with_nothing_in_it(model, tmp_path):
    plain = nothing_in_it(model)
    export(model, tmp_path / "m.pt2", to="torch-export")
    program = torch.export.load(tmp_path / "m.pt2").module()
    boxes, _, _, counts = program(plain)
    assert counts.tolist() == [0] and not boxes.any()


def test_the_file_beside_another_is_not_overwritten(model, small_config, tmp_path, capsys):
    save_checkpoint(tmp_path / "model.pt", model_record(model, small_config))
    (tmp_path / "m.bin").write_text("mine")
    assert main(["export", str(tmp_path / "model.pt"), "-o", str(tmp_path / "m.xml"), "--to", "openvino"]) == 2
    assert "m.bin is there already" in capsys.readouterr().err and (tmp_path / "m.bin").read_text() == "mine"
