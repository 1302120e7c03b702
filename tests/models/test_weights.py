"""Published weights: the whole way from an address to a model, and every way it can go wrong, on a server of our own.

The files hold random weights that torchvision made, at torchvision's names.
"""

import hashlib
import json
import logging
import os
import pickle
import shutil
import socket
import tarfile
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
import torchvision.models.detection as theirs
from PIL import Image

import detzoo
from detzoo.backbones import BACKBONES
from detzoo.categories import COCO_91, Categories
from detzoo.engine.model import _found
from detzoo.files import unpack
from detzoo.hub import DownloadError
from detzoo.importers import ORIGINS
from detzoo.importers.torchvision import TRUNKS, convert_detector, convert_trunk
from detzoo.models import (
    MODELS,
    SSD300_VGG16_Weights,
    SSDLite320_MobileNet_V3_Large_Weights,
    build_ssd,
    ssd300_vgg16,
    ssd512_vgg16,
    tiny_ssd,
)
from detzoo.models import ssdlite320_mobilenet_v3_large as ssdlite
from detzoo.models.checkpoint import model_record, save_checkpoint
from detzoo.models.weights import load_backbone_weights, logits_mean_the_same

GOLDEN = Path(__file__).parents[1] / "origins" / "golden"
COCO_V1 = SSDLite320_MobileNet_V3_Large_Weights.COCO_V1
CATALOGUES = [entry.weights for entry in MODELS.values() if entry.weights is not None]
PUBLISHED = [member for catalogue in CATALOGUES for member in catalogue]


# The catalogue


@pytest.mark.parametrize("member", PUBLISHED, ids=str)
def test_card(member):
    weights, card = member.value, member.meta
    assert member.url.startswith("https://") and (weights.file or Path(member.url).suffix)
    assert {"categories", "metrics", "origin", "licence", "state"} <= card.keys()
    assert card["categories"] == ["__background__", *member.categories.names]
    assert weights.reading.partition("/")[0] in ORIGINS
    assert all(0 < value < 100 for metric in card["metrics"].values() for value in metric.values())
    digits = Path(member.url).stem.rpartition("-")[2]
    assert weights.sha256 is None or len(weights.sha256) == 64 or weights.sha256 == digits


@pytest.mark.parametrize("member", PUBLISHED, ids=str)
def test_what_is_said_to_be_verified_was(member):
    """By a golden file of the original's answers, or, torchvision's, beside torchvision itself."""
    card, known = member.meta, {path.stem for path in GOLDEN.glob("*.npz")}
    if card["state"] == "verified architecture" and card["origin"] != "torchvision":
        assert card["golden"] in known
    else:
        assert card["origin"] == "torchvision" or (card["state"] == "unverified" and "golden" not in card)


TORCHVISIONS = [SSD300_VGG16_Weights, SSDLite320_MobileNet_V3_Large_Weights]


@pytest.mark.parametrize("catalogue", TORCHVISIONS, ids=lambda catalogue: catalogue.__name__)
def test_card_says_what_torchvision_says(catalogue):
    ours, reference = catalogue.COCO_V1, getattr(theirs, catalogue.__name__).COCO_V1
    assert ours.url == reference.url
    assert ours.value.sha256 in Path(ours.url).name and len(ours.value.sha256) >= 8
    assert len(ours.meta["categories"]) == 91
    assert ours.meta["categories"] == reference.meta["categories"]
    assert ours.meta["num_params"] == reference.meta["num_params"]
    assert ours.meta["recipe"] == reference.meta["recipe"]
    assert ours.meta["metrics"]["COCO-val2017"]["AP"] == reference.meta["_metrics"]["COCO-val2017"]["box_map"]
    assert ours.meta["file_size"] == reference.meta["_file_size"]
    assert catalogue.DEFAULT is ours


def test_transforms_take_any_image():
    transforms = COCO_V1.transforms()
    array = np.full((4, 5, 3), 7, np.uint8)
    for image in (array, Image.fromarray(array), torch.from_numpy(array).permute(2, 0, 1)):
        assert torch.equal(transforms(image), torch.full((3, 4, 5), 7, dtype=torch.uint8))


@pytest.mark.parametrize("name", ["COCO_V1", "DEFAULT", "SSD300_VGG16_Weights.COCO_V1"])
def test_find(name):
    assert SSD300_VGG16_Weights.find(name) is SSD300_VGG16_Weights.COCO_V1


def test_find_a_misspelt_name():
    with pytest.raises(ValueError, match="unknown weights 'COCO_V2': did you mean 'COCO_V1'.*or the path of a file"):
        ssdlite(weights="COCO_V2")


@pytest.mark.parametrize(
    ("build", "asked", "message"),
    [
        (ssdlite, {"pretrained": True, "weights": "COCO_V1"}, "say two things"),
        (ssdlite, {"pretrained": True, "weights_backbone": "IMAGENET1K_V1"}, "exclude each other"),
        (ssdlite, {"weights": "COCO_V1", "weights_backbone": "IMAGENET1K_V1"}, "exclude each other"),
        (ssdlite, {"weights": SSD300_VGG16_Weights.COCO_V1}, "another model: expected SSDLite320"),
        (ssd512_vgg16, {"weights": SSD300_VGG16_Weights.COCO_V1}, "another model: expected SSD512_VGG16_Weights"),
        (tiny_ssd, {"weights": SSD300_VGG16_Weights.COCO_V1}, "another model: expected the path of a file"),
        (tiny_ssd, {"pretrained": True}, "no weights of this model are published"),
        (ssdlite, {"weights_backbone": "IMAGENET1K_V3"}, "unknown weights_backbone 'IMAGENET1K_V3': did you mean"),
    ],
    ids=str,
)
def test_contradictions(build, asked, message):
    with pytest.raises(ValueError, match=message):
        build(**asked)


# Files


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """torchvision's SSDlite with random weights, saved as torchvision publishes it."""
    torch.manual_seed(0)
    model = theirs.ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None)
    path = tmp_path_factory.mktemp("published") / "random.pth"
    torch.save(model.state_dict(), path)
    return path


CLASS_HEAD = sorted(f"head.classification.{level}.1.{kind}" for level in range(6) for kind in ("bias", "weight"))


def assert_holds(model: detzoo.SSD, path: Path, but: Sequence[str] = ()) -> None:
    """The model has exactly the tensors of torchvision's file, but for those named."""
    own, expected = model.state_dict(), convert_detector(torch.load(path, weights_only=True))
    assert own.keys() == expected.keys()
    assert [key for key in sorted(own) if not torch.equal(own[key], expected[key])] == list(but)


@pytest.mark.parametrize("form", [str, Path])
def test_path_of_torchvisions_file(checkpoint, form):
    model = ssdlite(weights=form(checkpoint))
    assert_holds(model, checkpoint)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_name_with_the_suffix_of_a_file_is_a_path(tmp_path):
    with pytest.raises(FileNotFoundError, match="no file at .*nothing.pth"):
        ssdlite(weights="nothing.pth")
    with pytest.raises(FileNotFoundError, match=r"is a folder with no best\.pt, last\.pt or model\.safetensors in it"):
        ssdlite(weights=tmp_path)


def test_another_class_count_keeps_all_but_the_class_head_and_lists_it(checkpoint, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("detzoo"), "propagate", True)  # a run in this process turns it off
    with caplog.at_level(logging.WARNING, logger="detzoo"):
        model = ssdlite(weights=checkpoint, num_classes=4)
    assert_holds(model, checkpoint, but=CLASS_HEAD)
    assert model.head.num_classes == 4 and model.categories is None
    assert len(caplog.messages) == 1 and "12 tensors" in caplog.text
    assert all(key in caplog.text for key in CLASS_HEAD)


def test_checkpoint_of_our_own(tmp_path):
    categories = Categories(("cat", "dog", "cow"))
    config = replace(MODELS["ssdlite320_mobilenet_v3_large"].config, num_classes=4)
    trained = build_ssd(config, categories=categories)
    save_checkpoint(tmp_path / "best.pt", model_record(trained, config))
    for model in (ssdlite(weights=tmp_path / "best.pt"), detzoo.load(tmp_path)):
        assert model.head.num_classes == 4
        assert model.categories == categories
        for key, tensor in trained.state_dict().items():
            assert torch.equal(model.state_dict()[key], tensor)
    other = ssdlite(weights=tmp_path / "best.pt", num_classes=7)
    assert other.head.num_classes == 7 and other.categories is None


def test_checkpoint_of_our_own_with_other_default_boxes_is_refused(tmp_path):
    """The shapes agree, so that nothing else would notice."""
    preset = MODELS["ssdlite320_mobilenet_v3_large"].config
    config = replace(preset, default_boxes={**preset.default_boxes, "clip": "none"})
    save_checkpoint(tmp_path / "best.pt", model_record(build_ssd(config), config))
    with pytest.raises(ValueError, match="trained with another default_boxes than this model"):
        ssdlite(weights=tmp_path / "best.pt")


def test_weights_of_another_model(tmp_path, small_config):
    model = build_ssd(replace(small_config, num_classes=4))
    torch.save(model.state_dict(), tmp_path / "small.pth")
    with pytest.raises(ValueError, match="not of this model:\n.*missing: backbone.trunk") as caught:
        ssdlite(weights=tmp_path / "small.pth")
    assert "more" in str(caught.value) and str(caught.value).count("\n") == 11, "not hundreds of lines"


def test_a_head_of_other_boxes_is_refused(checkpoint, tmp_path):
    state = torch.load(checkpoint, weights_only=True)
    state["head.regression_head.module_list.0.1.bias"] = torch.zeros(16)
    torch.save(state, tmp_path / "four boxes a cell.pth")
    with pytest.raises(ValueError, match=r"head.regression_head.module_list.0.1.bias has the shape \(16,\)"):
        ssdlite(weights=tmp_path / "four boxes a cell.pth")


class Payload:
    """Pickled, a call that makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("as_torch_file", [True, False], ids=["torch.save", "pickle"])
@pytest.mark.parametrize("asked", ["weights", "weights_backbone"])
def test_a_file_that_would_run_code_is_refused_and_runs_none(tmp_path, as_torch_file, asked):
    marker, path = tmp_path / "was here", tmp_path / "evil.pth"
    content = {"model": Payload(marker)}
    torch.save(content, path) if as_torch_file else path.write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(ValueError, match="may be a payload|not one that torch.save wrote") as caught:
        ssdlite(**{asked: path})
    assert str(path) in str(caught.value)
    assert not marker.exists()
    torch.load(path, weights_only=False) if as_torch_file else pickle.loads(path.read_bytes())
    assert marker.exists(), "the payload is none, so the test shows nothing"


@pytest.mark.parametrize("length", [0, 1, 1000, -1000])
def test_truncated_file(checkpoint, tmp_path, length):
    path = tmp_path / "cut.pth"
    path.write_bytes(checkpoint.read_bytes()[:length])
    with pytest.raises(ValueError, match="empty|damaged or incomplete") as caught:
        ssdlite(weights=path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("text", ["hello", "<html>404</html>", "{}"])
def test_file_of_something_else(tmp_path, text):
    path = tmp_path / "page.pth"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"{path.name}: this (is|looks like)"):
        ssdlite(weights=path)


@pytest.mark.parametrize("content", [{}, [torch.zeros(2)], torch.zeros(2), {"a": 1}, {"model": {}}, {1: torch.ones(1)}])
@pytest.mark.parametrize("asked", ["weights", "weights_backbone"])
def test_file_of_tensors_that_is_no_state_dict(tmp_path, asked, content):
    path = tmp_path / "thing.pth"
    torch.save(content, path)
    message = "holds no state dict|no tensor|fit no detector|without a name|unexpected tensor"
    with pytest.raises(ValueError, match=message) as caught:
        ssdlite(**{asked: path})
    assert str(path) in str(caught.value)


def test_foreign_tensor_in_torchvisions_layout_names_file_and_key(checkpoint, tmp_path):
    path = tmp_path / "new.pth"
    torch.save({**torch.load(checkpoint, weights_only=True), "neck.weight": torch.zeros(3)}, path)
    with pytest.raises(ValueError, match=r"new.pth, read as torchvision/.*: unexpected tensor 'neck.weight' \(3,\)"):
        ssdlite(weights=path)


# From a server


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        folder, name = self.path.split("/")[-2:]
        content = self.server.files.get(name)
        if content is None:
            self.send_error(404)
            return
        self.server.requests.append(name)
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if folder == "cut" else content)

    def log_message(self, *args):
        pass


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """Where downloads go in this test."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    return tmp_path / "torch" / "hub" / "checkpoints"


@pytest.fixture
def server(cache, monkeypatch):
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.files, server.requests = {}, []
    server.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def publish(monkeypatch, url: str, sha256: str) -> None:
    """Have the enum say that its file is at `url`."""
    monkeypatch.setattr(COCO_V1, "_value_", replace(COCO_V1.value, url=url, sha256=sha256))


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def published(server, checkpoint, monkeypatch):
    server.files["random.pth"] = checkpoint.read_bytes()
    publish(monkeypatch, f"{server.url}/good/random.pth", sha256_of(checkpoint)[:8])
    return server


def test_pretrained(published, checkpoint, cache):
    model = ssdlite(pretrained=True)
    assert_holds(model, checkpoint)
    assert model.categories == COCO_91
    assert [path.name for path in cache.iterdir()] == ["random.pth"]
    assert_holds(detzoo.load("ssdlite320_mobilenet_v3_large"), checkpoint)
    assert published.requests == ["random.pth"], "once"


@pytest.mark.parametrize(
    "weights", ["DEFAULT", "COCO_V1", "SSDLite320_MobileNet_V3_Large_Weights.COCO_V1", COCO_V1], ids=str
)
def test_all_names_of_the_same_weights(published, checkpoint, weights):
    assert_holds(detzoo.get_model("ssdlite320_mobilenet_v3_large", weights=weights), checkpoint)


def test_pretrained_with_classes_of_your_own(published, checkpoint):
    model = ssdlite(pretrained=True, num_classes=3, trainable_layers=2)
    assert model.head.num_classes == 3 and model.categories is None
    assert_holds(model, checkpoint, but=CLASS_HEAD)
    assert model.backbone.frozen_stages == 4


def failure(cache: Path, name: str = "random.pth") -> str:
    """What `pretrained=True` says when it fails: the address, where to put the file, the other way; nothing stays."""
    with pytest.raises(DownloadError) as caught:
        ssdlite(pretrained=True)
    message = str(caught.value)
    assert COCO_V1.url in message
    assert f"put the file at {cache / name} by hand" in message
    assert "weights=PATH" in message
    assert not list(cache.iterdir())
    return message


def test_wrong_hash(published, checkpoint, cache, monkeypatch):
    publish(monkeypatch, COCO_V1.url, "0" * 8)
    assert sha256_of(checkpoint) in failure(cache)


def test_cut_connection(published, checkpoint, cache, monkeypatch):
    publish(monkeypatch, f"{published.url}/cut/random.pth", "0" * 8)
    size = checkpoint.stat().st_size
    assert f"cut after {size // 2} of {size} bytes" in failure(cache)


def test_not_found_then_put_there_by_hand(server, checkpoint, cache, monkeypatch):
    publish(monkeypatch, f"{server.url}/good/random.pth", sha256_of(checkpoint)[:8])
    assert "404 Not Found" in failure(cache)
    (cache / "random.pth").write_bytes(checkpoint.read_bytes())
    assert_holds(ssdlite(pretrained=True), checkpoint)
    (cache / "random.pth").write_bytes(b"something else")
    with pytest.raises(DownloadError, match="damaged or another file"):
        ssdlite(pretrained=True)


def test_no_network(cache, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as closed:  # bound but not listening: nobody else gets this port, nobody answers
        closed.bind(("127.0.0.1", 0))
        publish(monkeypatch, f"http://127.0.0.1:{closed.getsockname()[1]}/random.pth", "0" * 8)
        assert "refused" in failure(cache)


def test_a_payload_with_the_right_hash_is_refused_as_well(server, tmp_path, monkeypatch):
    content = pickle.dumps({"model": Payload(tmp_path / "was here")}, protocol=2)
    server.files["evil.pth"] = content
    publish(monkeypatch, f"{server.url}/good/evil.pth", hashlib.sha256(content).hexdigest())
    with pytest.raises(ValueError, match="not one that torch.save wrote"):
        ssdlite(pretrained=True)
    assert not (tmp_path / "was here").exists()


# Files that come in archives, or from a page that wants a person


@pytest.fixture
def archived(server, checkpoint, tmp_path, monkeypatch):
    """The enum says that its file is in an archive."""
    with tarfile.open(tmp_path / "lite.tar.gz", "w:gz") as archive:
        archive.add(checkpoint, "lite_2020/model.pth")
    content = (tmp_path / "lite.tar.gz").read_bytes()
    server.files["lite.tar.gz"] = content
    weights = replace(
        COCO_V1.value, url=f"{server.url}/good/lite.tar.gz", sha256=hashlib.sha256(content).hexdigest(),
        member="lite_2020/model.pth",
    )  # fmt: skip
    monkeypatch.setattr(COCO_V1, "_value_", weights)
    return server


def test_a_file_in_an_archive_is_unpacked_once(archived, checkpoint, cache):
    for _ in range(2):
        assert_holds(ssdlite(pretrained=True), checkpoint)
    assert archived.requests == ["lite.tar.gz"]
    assert sorted(path.name for path in cache.iterdir()) == ["lite.tar.gz", "lite_2020"]


def test_processes_that_unpack_it_at_the_same_time(archived, checkpoint, cache, monkeypatch):
    """Both begin before either has ended."""
    COCO_V1.value.fetch()
    shutil.rmtree(cache / "lite_2020")
    begun = threading.Barrier(2, timeout=20)

    def together(*args):
        begun.wait()
        unpack(*args)
        begun.wait()

    monkeypatch.setattr("detzoo.models.weights.unpack", together)
    with ThreadPoolExecutor(2) as pool:
        paths = [work.result() for work in [pool.submit(COCO_V1.value.fetch) for _ in range(2)]]
    assert [path.read_bytes() for path in paths] == [checkpoint.read_bytes()] * 2
    assert sorted(path.name for path in cache.iterdir()) == ["lite.tar.gz", "lite_2020"]


def test_what_a_killed_process_has_left_of_unpacking_is_in_nobodys_way(archived, checkpoint, cache):
    (cache / ".lite_2020.part").mkdir(parents=True)
    assert COCO_V1.value.fetch().read_bytes() == checkpoint.read_bytes()


@pytest.fixture
def by_hand(cache, checkpoint, monkeypatch):
    """The enum says that its file is to be had from a page."""
    weights = replace(COCO_V1.value, url="https://example.org/page", sha256=sha256_of(checkpoint), file="mine.pth")
    monkeypatch.setattr(COCO_V1, "_value_", weights)
    return cache / "mine.pth"


def test_a_file_from_a_page_is_asked_for(by_hand, checkpoint):
    with pytest.raises(
        DownloadError, match="https://example.org/page: this page has to be opened in a browser"
    ) as caught:
        ssdlite(pretrained=True)
    assert str(by_hand) in str(caught.value)
    by_hand.parent.mkdir(parents=True)
    by_hand.write_bytes(checkpoint.read_bytes())
    assert_holds(ssdlite(pretrained=True), checkpoint)


def test_a_file_from_a_page_has_a_hash_as_well(by_hand):
    by_hand.parent.mkdir(parents=True)
    by_hand.write_bytes(b"<!DOCTYPE html>")
    with pytest.raises(DownloadError, match="mine.pth is in the cache already, but its sha256 is"):
        ssdlite(pretrained=True)


# Trunks


@pytest.fixture(scope="module")
def mobilenet(tmp_path_factory) -> tuple[torch.nn.Module, Path]:
    """torchvision's classifier with random weights and batch statistics, and the file of it."""
    torch.manual_seed(0)
    model = torchvision.models.mobilenet_v3_large(weights=None)
    for name, buffer in model.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer.uniform_(0.5, 1.5)
    path = tmp_path_factory.mktemp("trunk") / "mobilenet.pth"
    torch.save(model.state_dict(), path)
    return model.eval(), path


@torch.no_grad()
def assert_same_trunk(backbone: torch.nn.Module, classifier: torch.nn.Module) -> None:
    batch = torch.rand(1, 3, 272, 272)
    # not equal to the last bit: detzoo has the constants of SSDlite's batch norm, as torchvision's detector has
    for layer in classifier.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.eps = 1e-3
    torch.testing.assert_close(backbone.eval()(batch)[1], classifier.features(batch))


def test_trunk_from_a_file(mobilenet):
    classifier, path = mobilenet
    model = ssdlite(weights_backbone=str(path), num_classes=3, trainable_layers=1)
    assert_same_trunk(model.backbone, classifier)
    assert model.backbone.frozen_stages == 5
    assert model.backbone.channels[1] == 960, "the full tail, which ImageNet weights belong to"


@pytest.mark.parametrize("weights", ["IMAGENET1K_V1", torchvision.models.MobileNet_V3_Large_Weights.IMAGENET1K_V1])
def test_trunk_from_the_net(server, mobilenet, monkeypatch, weights):
    classifier, path = mobilenet
    member = torchvision.models.MobileNet_V3_Large_Weights.IMAGENET1K_V1
    name = f"mobilenet_v3_large-{sha256_of(path)[:8]}.pth"
    server.files[name] = path.read_bytes()
    monkeypatch.setattr(member, "_value_", replace(member.value, url=f"{server.url}/good/{name}"))
    assert_same_trunk(ssdlite(weights_backbone=weights).backbone, classifier)


def test_a_trunk_that_cannot_be_fetched(cache, monkeypatch):
    """The advice is the option that a trunk is asked for in."""
    monkeypatch.setattr("detzoo.hub._open", lambda *args: (_ for _ in ()).throw(OSError("no network")))
    with pytest.raises(DownloadError, match="or name a file of your own with weights_backbone=PATH"):
        ssdlite(weights_backbone="IMAGENET1K_V1")


def test_trunk_that_does_not_fit(tmp_path):
    path = tmp_path / "reduced.pth"
    torch.save(torchvision.models.mobilenet_v3_large(weights=None, reduced_tail=True).state_dict(), path)
    with pytest.raises(ValueError, match=r"reduced.pth.*do not fit the trunk of 'mobilenet_v3_large': \d+ tensors"):
        ssdlite(weights_backbone=path)


def test_trunk_of_another_architecture(tmp_path):
    path = tmp_path / "resnet.pth"
    torch.save({"layer1.0.conv1.weight": torch.zeros(64, 64, 1, 1)}, path)
    with pytest.raises(ValueError, match="resnet.pth: unexpected tensor 'layer1.0.conv1.weight'"):
        ssdlite(weights_backbone=path)


@pytest.mark.parametrize("name", TRUNKS)
def test_every_tensor_of_a_trunk_has_a_place(name):
    assert "IMAGENET1K_V1" in torchvision.models.get_model_weights(name).__members__
    with torch.device("meta"):
        state = getattr(torchvision.models, name)(weights=None).state_dict()
        own = BACKBONES[name](**({"reduced_tail": False} if "mobilenet_v3" in name else {})).state_dict()
    found = {key: tensor.shape for key, tensor in convert_trunk(state, name).items()}
    assert found == {key: tensor.shape for key, tensor in own.items() if key.startswith("trunk.")}


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "side"),  # one where rounding of halves makes no difference: torchvision rounds otherwise in poolings
    [("vgg11_bn", 64), ("squeezenet1_1", 63), ("mobilenet_v3_small", 64)],
)
def test_trunks_that_compute_what_torchvisions_classifier_does(name, side, tmp_path):
    torch.manual_seed(0)
    with torch.device("meta"):  # VGG's classifier, half a gigabyte, is not needed
        features = getattr(torchvision.models, name)(weights=None).features
    features = features.to_empty(device="cpu").eval()
    for tensor in features.state_dict().values():
        if tensor.ndim:
            tensor.uniform_(0.0, 0.1)
    torch.save(features.state_dict(prefix="features."), tmp_path / "trunk.pth")
    backbone = BACKBONES[name](**({"reduced_tail": False} if "mobilenet_v3" in name else {}))
    load_backbone_weights(backbone, name, tmp_path / "trunk.pth")
    batch, layers = torch.rand(1, 3, side, side), list(backbone.eval().trunk)
    expected = features[: len(layers)](batch) if "mobilenet" not in name else features(batch)
    found = torch.nn.Sequential(*layers)(batch)
    assert found.std() > 0
    torch.testing.assert_close(found, expected)


@pytest.mark.slow
def test_vgg_trunk_from_a_file(tmp_path):
    with torch.device("meta"):  # the classifier's half gigabyte is not needed
        shapes = torchvision.models.vgg16(weights=None).features.state_dict(prefix="features.")
    state = {key: torch.rand(tensor.shape) for key, tensor in shapes.items()}
    torch.save({**state, "classifier.6.bias": torch.zeros(1000)}, tmp_path / "vgg.pth")
    model = ssd300_vgg16(weights_backbone=tmp_path / "vgg.pth", num_classes=3)
    own = model.backbone.state_dict()
    assert len(state) == 26
    for key, tensor in state.items():
        assert torch.equal(own[key.replace("features", "trunk")], tensor)
    assert model.backbone.frozen_stages == 1, "the first stage keeps its ImageNet weights"


# What is trained


@pytest.mark.parametrize("name", MODELS)
def test_trainable_layers(name):
    with torch.device("meta"):
        assert detzoo.get_model(name).backbone.frozen_stages == 0, "from scratch, all is trained"
        some = detzoo.get_model(name, trainable_layers=2)
        with pytest.raises(ValueError, match=r"trainable_layers must lie in 0\.\.\d.*got 9"):
            detzoo.get_model(name, trainable_layers=9)
    stages = some.backbone.stages
    for index, stage in enumerate(stages):
        parameters = [p for layer in some.backbone.trunk[stage] for p in layer.parameters()]
        assert parameters and all(p.requires_grad == (index >= len(stages) - 2) for p in parameters)
    assert all(p.requires_grad for part in (some.head, some.backbone.extras) for p in part.parameters())


def test_a_checkpoint_cannot_have_code_run_by_naming_a_part(tmp_path, small_config):
    record = model_record(build_ssd(replace(small_config, num_classes=3)), small_config)
    record["config"]["matcher"] = {"name": "os.system", "command": f"touch {tmp_path / 'owned'}"}
    save_checkpoint(tmp_path / "evil.pt", record)
    with pytest.raises(ValueError, match="matcher: os.system.*trust_parts=True"):
        detzoo.load(tmp_path / "evil.pt")
    assert not (tmp_path / "owned").exists()


def test_a_checkpoint_with_parts_of_ones_own_is_built_if_trusted(tmp_path, small_config):
    config = replace(small_config, num_classes=3, matcher="detzoo.components.matcher.SSDMatcher")
    save_checkpoint(tmp_path / "own.pt", model_record(build_ssd(config), config))
    with pytest.raises(ValueError, match="trust_parts"):
        detzoo.load(tmp_path / "own.pt")
    assert detzoo.load(tmp_path / "own.pt", trust_parts=True).matcher.iou_threshold == 0.5


def test_torchvisions_file_fetched_by_hand_is_recognised(tmp_path):
    reference = torchvision.models.detection.ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None)
    torch.save(reference.state_dict(), tmp_path / "by_hand.pth")
    model = detzoo.load(tmp_path / "by_hand.pth")
    assert model.categories.names[0] == "person" and not model.training


def test_a_file_of_another_trunk_is_refused(checkpoint):
    match = "with the trunk mobilenet_v3_large .*, this model has the trunk mobilenet_v3_small"
    with pytest.raises(ValueError, match=match):
        detzoo.models.ssdlite320_mobilenet_v3_small(weights=checkpoint)


def test_a_file_of_another_size_is_refused(tmp_path):
    """An SSD512 has the trunk of an SSD300."""
    with np.load(GOLDEN / "lufficc-vgg_ssd512_voc.npz") as golden:
        layout = json.loads(str(golden["words"]))["layout"]
    state = {name: torch.zeros((), dtype=torch.float16).expand(shape).clone() for name, (shape, _) in layout.items()}
    path = tmp_path / "vgg_ssd512_voc0712.pth"
    torch.save({"model": state}, path)
    with pytest.raises(ValueError, match="512 x 512 pixels, this model has .* 300 x 300 pixels: detzoo.load"):
        ssd300_vgg16(weights=path)


@pytest.mark.parametrize("weights", ["SSD512_VGG16_Weights.COCO_V1", "x.SSD300_VGG16_Weights.COCO_V1"])
def test_a_name_of_another_models_weights(weights):
    """Members of two models may be called the same."""
    with pytest.raises(ValueError, match=f"'{weights}' are weights of another model: .*SSD300_VGG16_Weights"):
        SSD300_VGG16_Weights.find(weights)


def test_a_catalogue_file_takes_no_prototxt_of_its_neighbours(cache, tmp_path, monkeypatch):
    """By hand, many nets are put into one folder."""
    asked = []
    monkeypatch.setattr("detzoo.models.weights.read_container", lambda path, **options: asked.append(options))
    monkeypatch.setattr("detzoo.models.weights.foreign_in", lambda _: 1 / 0)
    monkeypatch.setattr(type(COCO_V1.value), "fetch", lambda *args, **options: tmp_path)
    with pytest.raises(ZeroDivisionError):
        COCO_V1.read()
    assert asked == [{"own_only": True}]


def test_what_logits_mean_follows_from_the_loss():
    assert logits_mean_the_same("multibox", {"name": "multibox", "box": "giou"})
    assert logits_mean_the_same("focal", {"name": "quality_focal"})
    assert not logits_mean_the_same("multibox", "focal")
    assert logits_mean_the_same("mine.Loss", "mine.Loss") and not logits_mean_the_same("mine.Loss", "multibox")


def test_an_address_is_fetched(server, checkpoint, cache):
    """As detzoo.load does it; it is no path of a file that is missing."""
    server.files["theirs.pth"] = checkpoint.read_bytes()
    address = f"{server.url}/good/theirs.pth"
    assert_holds(ssdlite(weights=address), checkpoint)
    assert _found(address).config.num_classes == 91
    assert server.requests == ["theirs.pth"]


@pytest.mark.parametrize("read", [_found, lambda path: tiny_ssd(weights=path)], ids=["training", "entry point"])
def test_a_class_head_that_contradicts_its_own_names_is_refused(tmp_path, small_config, read):
    """It would start from scratch, as if the classes were other ones."""
    config = replace(small_config, num_classes=3)
    record = model_record(build_ssd(config, categories=Categories(("a", "b"))), config)
    record["model"] = build_ssd(replace(config, num_classes=5)).state_dict()
    save_checkpoint(tmp_path / "mine.pt", record)
    with pytest.raises(ValueError, match="mine.pt: these weights are not of this model:\n.*head.classification"):
        read(str(tmp_path / "mine.pt"))
