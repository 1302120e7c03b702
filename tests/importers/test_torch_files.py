"""PyTorch's files in both forms: the same names and tensors as torch.load gives, and more files than it takes."""

import argparse
import datetime
import pickle
import subprocess
import sys
import types
from collections import Counter, OrderedDict, defaultdict, deque
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from detzoo.importers.readers import Container, read_container, state_dict_in

FORMS = pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])


def save(content, path: Path, legacy: bool) -> Container:
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    container = read_container(path)
    assert container.kind == "torch"
    assert container.metadata["format"] == ("legacy" if legacy else "zip")
    return container


def assert_same(mine: dict, theirs: dict) -> None:
    assert list(mine) == list(theirs)
    for name, tensor in theirs.items():
        assert mine[name].dtype == tensor.dtype and mine[name].stride() == tensor.stride(), name
        assert torch.equal(mine[name], tensor), name


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(OrderedDict(conv=nn.Conv2d(3, 4, 3), norm=nn.BatchNorm2d(4), more=nn.Sequential(nn.ReLU())))


@FORMS
def test_a_state_dict(tmp_path, legacy):
    state = network().state_dict()
    container = save(state, tmp_path / "net.pth", legacy)
    assert_same(container.tensors, torch.load(tmp_path / "net.pth", weights_only=True))
    assert container.metadata["content"] == {} and container.metadata["inert"] == []
    assert state_dict_in(container) == (container.tensors, ())


@FORMS
def test_every_type_and_layout(tmp_path, legacy):
    base = torch.arange(24.0)
    state = {
        "flag": torch.tensor([True, False, True]),  # an odd number of bytes, so that the next ones are not aligned
        "transposed": base.view(4, 6).t(),
        "part": base[3:7],
        "spread": torch.ones(1).expand(3, 4),
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 3),
        "parameter": nn.Parameter(torch.randn(3)),
        **{str(d): torch.arange(5).to(d) for d in (torch.float16, torch.bfloat16, torch.float64)},
        **{str(d): torch.arange(5).to(d) for d in (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)},
    }
    container = save(state, tmp_path / "types.pth", legacy)
    assert_same(container.tensors, {name: tensor.detach() for name, tensor in state.items()})
    part, whole = container.tensors["part"], container.tensors["transposed"]
    part[0] = -1
    assert whole[3, 0] == -1, "tensors that share their numbers go on sharing them"
    assert read_container(tmp_path / "types.pth").tensors["part"][0] == 3, "and the file stays as it is"


@FORMS
def test_a_training_state(tmp_path, legacy):
    net = network()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    net(torch.randn(2, 3, 5, 5)).sum().backward()
    optimizer.step()
    content = {"model": net.state_dict(), "optimizer": optimizer.state_dict(), "iteration": 120, "name": "lufficc"}
    container = save(content, tmp_path / "last.pth", legacy)
    found = state_dict_in(container)
    assert found.unwrapped == ("model",)
    assert_same(found.tensors, net.state_dict())
    assert torch.equal(
        container.tensors["optimizer/state/0/momentum_buffer"], optimizer.state_dict()["state"][0]["momentum_buffer"]
    )
    plain = container.metadata["content"]
    assert plain["iteration"] == 120 and plain["name"] == "lufficc" and plain["model"] == {}
    assert plain["optimizer"]["param_groups"][0]["momentum"] == 0.9


@FORMS
def test_a_pickled_module_and_its_pickled_optimiser(tmp_path, legacy):
    net = network()
    net.n_classes = 21
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    container = save({"epoch": 2, "model": net, "optimizer": optimizer}, tmp_path / "checkpoint.pth.tar", legacy)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "checkpoint.pth.tar", weights_only=True)
    found = state_dict_in(container)
    assert found.unwrapped == ("model",)
    assert_same(found.tensors, net.state_dict())
    plain = container.metadata["content"]
    assert plain["epoch"] == 2 and plain["model"]["n_classes"] == 21
    assert plain["model"]["__class__"] == "torch.nn.modules.container.Sequential"
    assert "torch.nn.modules.conv.Conv2d" in container.metadata["inert"]
    assert plain["optimizer"]["defaults"]["lr"] == 0.1


CODE = """
import torch
from torch import nn
class SSD300(nn.Module):
    def __init__(self):
        super().__init__()
        self.base = nn.Conv2d(3, 2, 1)
        self.rescale_factors = nn.Parameter(torch.full((1, 2, 1, 1), 20.0))
        self.register_buffer("fleeting", torch.ones(3), persistent=False)
        self.priors_cxcy = torch.ones(4, 4)
"""


@FORMS
@pytest.mark.filterwarnings("ignore:Couldn.t retrieve source code")
def test_a_module_whose_class_is_nowhere(tmp_path, legacy, monkeypatch):
    """As in the tutorial's checkpoint: its code is not there when the file is read."""
    module = types.ModuleType("model")
    exec(
        CODE.replace("class SSD300(nn.Module):", "class SSD300(nn.Module):\n    __module__ = 'model'"), module.__dict__
    )
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "model", module)
        torch.save({"model": module.SSD300()}, tmp_path / "a.pth", _use_new_zipfile_serialization=not legacy)
        torch.save(nn.DataParallel(module.SSD300()), tmp_path / "b.pth", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(ModuleNotFoundError):
        torch.load(tmp_path / "a.pth", weights_only=False)
    container = read_container(tmp_path / "a.pth")
    names = ["rescale_factors", "base.weight", "base.bias"]
    assert list(state_dict_in(container).tensors) == names
    assert "model.SSD300" in container.metadata["inert"]
    parallel = state_dict_in(read_container(tmp_path / "b.pth"))
    assert list(parallel.tensors) == names and parallel.unwrapped == ("module.",)


class Config(dict):
    """Like mmengine's ConfigDict."""


class HistoryBuffer:
    """Like mmengine's, which holds its own methods: protocol 2 writes these as calls of getattr."""

    def __init__(self) -> None:
        self.history = np.array([1.5, np.nan, 2.5])
        self.methods = {"min": HistoryBuffer.minimum}

    def minimum(self) -> float:
        return self.history.min()


@FORMS
def test_metadata_of_any_class(tmp_path, legacy):
    meta = {
        "CLASSES": ("person", "car"),
        "config": Config(lr=0.1, nested=Config(steps=[1, 2])),
        "best": np.float64(25.5),
        "palette": np.array([[220, 20, 60]], dtype=np.uint8),
        "strided": np.asfortranarray(np.arange(6.0).reshape(2, 3)).astype(">f8"),
        "args": argparse.Namespace(epochs=3, path=Path("data")),
        "when": datetime.datetime(2021, 8, 3),
        "counts": Counter(a=2),
        "by_name": defaultdict(list, a=[1]),
        "recent": deque([1, 2], maxlen=5),
        "few": {1, 2},
        "raw": b"\xff\0",
        "size": torch.Size([1, 2]),
        "device": torch.device("cpu"),
        "dtype": torch.float32,
        "hub": HistoryBuffer(),
    }
    container = save({"meta": meta, "state_dict": {"a.weight": torch.ones(2)}}, tmp_path / "mm.pth", legacy)
    plain = container.metadata["content"]["meta"]
    assert state_dict_in(container).unwrapped == ("state_dict",)
    assert plain["CLASSES"] == ("person", "car")
    config = plain["config"]
    assert config["__class__"].endswith("Config") and config["lr"] == 0.1 and config["nested"]["steps"] == [1, 2]
    assert plain["best"] == 25.5 and type(plain["best"]) is float
    assert container.tensors["meta/palette"].tolist() == [[220, 20, 60]]
    assert container.tensors["meta/strided"].tolist() == meta["strided"].tolist()
    assert plain["args"]["epochs"] == 3 and plain["args"]["path"]["__class__"].startswith("pathlib.")
    assert plain["counts"] == {"a": 2} and plain["by_name"] == {"a": [1]} and plain["few"] == [1, 2]
    assert plain["raw"] == b"\xff\0" and plain["size"] == (1, 2) and plain["dtype"] == "torch.float32"
    assert plain["recent"]["__values__"] == [1, 2]
    assert plain["hub"]["methods"]["min"].endswith("HistoryBuffer.minimum")


@pytest.mark.parametrize(
    ("content", "unwrapped"),
    [
        ({"w": torch.ones(1)}, ()),
        ({"model": {"w": torch.ones(1)}}, ("model",)),
        ({"state_dict": {"w": torch.ones(1)}, "meta": {}}, ("state_dict",)),
        ({"model_state_dict": {"w": torch.ones(1)}}, ("model_state_dict",)),
        ({"model": {"state_dict": {"w": torch.ones(1)}}}, ("model", "state_dict")),
        ({"module.w": torch.ones(1)}, ("module.",)),
        ({"model": {"module.1.w": torch.ones(1)}}, ("model", "module.1.")),
        ({"_orig_mod.module.w": torch.ones(1)}, ("_orig_mod.", "module.")),
        ({"net": {"w": torch.ones(1)}, "ema": {"w": torch.zeros(1)}, "epoch": 3}, ("net",)),
    ],
)
def test_what_is_unwrapped_is_told(tmp_path, content, unwrapped):
    torch.save(content, tmp_path / "a.pth")
    found = state_dict_in(read_container(tmp_path / "a.pth"))
    assert found.unwrapped == unwrapped
    assert list(found.tensors) == ["w"] and found.tensors["w"] == 1


def test_names_with_a_slash_are_no_nesting(tmp_path):
    torch.save({"model/a": torch.ones(1), "model/b": torch.ones(2), "module.c": torch.ones(3)}, tmp_path / "a.pth")
    found = state_dict_in(read_container(tmp_path / "a.pth"))
    assert list(found.tensors) == ["model/a", "model/b", "module.c"] and found.unwrapped == ()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"model": {"w": torch.ones(1)}, "state_dict": {"w": torch.ones(1)}}, "'state_dict' and 'model'"),
        ({"ema": {"w": torch.ones(1)}}, "found 'ema'"),
        ({"epoch": 3}, "no tensor at all"),
        ({"model": [torch.ones(1)]}, "found 'model'"),
    ],
)
def test_weights_that_cannot_be_told(tmp_path, content, message):
    torch.save(content, tmp_path / "a.pth")
    container = read_container(tmp_path / "a.pth")
    with pytest.raises(ValueError, match=message) as caught:
        state_dict_in(container)
    assert str(tmp_path / "a.pth") in str(caught.value)


PEAK = """
import sys, torch
from detzoo.importers.readers import read_container
def kilobytes(key):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(key))
torch.ones(100).aminmax()
for path in sys.argv[1:]:
    open("/proc/self/clear_refs", "w").write("5")  # resets the peak
    before = kilobytes("VmRSS")
    read_container(path)
    print(kilobytes("VmHWM") - before)
"""


@pytest.mark.slow
def test_nothing_is_copied_twice(tmp_path):
    """The peak of the memory while files of 24 MB are read, in a process of its own."""
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("needs Linux: /proc/self/clear_refs resets the peak of a process")
    state = {f"layer{index}.weight": torch.full((1_000_000,), float(index)) for index in range(6)}
    torch.save(state, tmp_path / "zip.pth")
    torch.save(state, tmp_path / "legacy.pth", _use_new_zipfile_serialization=False)
    files = [str(tmp_path / "zip.pth"), str(tmp_path / "legacy.pth")]
    run = subprocess.run([sys.executable, "-c", PEAK, *files], capture_output=True, text=True, check=True)
    in_zip, in_legacy = (int(line) * 1024 / 24e6 for line in run.stdout.split())
    assert in_zip < 0.8, "mapped, and given back tensor by tensor"
    assert in_legacy < 1.7, "copied once, as its numbers are not aligned"


def test_a_number_beside_the_weights_does_not_hide_them(tmp_path):
    torch.save({"best_loss": torch.tensor(0.5), "model": {"w": torch.ones(2)}}, tmp_path / "a.pth")
    assert list(state_dict_in(read_container(tmp_path / "a.pth")).tensors) == ["w"]


def test_a_number_alone_is_the_weights(tmp_path):
    torch.save({"scale": torch.tensor(0.5)}, tmp_path / "a.pth")
    assert list(state_dict_in(read_container(tmp_path / "a.pth")).tensors) == ["scale"]
