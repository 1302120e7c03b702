"""Pickles that would run something: none of it runs, and what no checkpoint needs is refused by its name.

Each payload, if it runs, makes a file. Python's own unpickler shows that it would.
"""

import copyreg
import functools
import io
import operator
import os
import pathlib
import pickle
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
import torch
from torch import nn

from detzoo.importers.readers import read_container


class Calls:
    """Pickles as a call of a function."""

    def __init__(self, function, *args) -> None:
        self.call = function, args

    def __reduce__(self):
        return self.call


class Stateful:
    """Does its work when it gets its state."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __setstate__(self, state: dict) -> None:
        Path(state["path"]).touch()


class Items(dict):
    """Does its work when an item is set."""

    def __setitem__(self, key, value) -> None:
        Path(value).touch()


class Values(list):
    """Does its work when a value is appended."""

    def append(self, value) -> None:
        Path(value).touch()

    def extend(self, values) -> None:
        Path(next(iter(values))).touch()


class Module(nn.Module):
    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def __setstate__(self, state: dict) -> None:
        Path(state["path"]).touch()


def made_by_new(path: str) -> bytes:
    """NEWOBJ of a class that works in __new__."""
    return b"\x80\x02c" + f"{Made.__module__}\nMade\n".encode() + b"X" + text(path) + b"\x85\x81."


class Made:
    def __new__(cls, path: str) -> "Made":
        Path(path).touch()
        return super().__new__(cls)


def text(value: str) -> bytes:
    return struct.pack("<I", len(value)) + value.encode()


def dumps(thing) -> bytes:
    return pickle.dumps({"state_dict": {}, "thing": thing}, 2)


def filled(kind: type, value) -> bytes:
    thing = kind()
    dict.__setitem__(thing, "a", value) if kind is Items else list.append(thing, value)
    return dumps(thing)


def inst(path: str) -> bytes:
    return b"(S'" + f"touch {path}".encode() + b"'\nios\nsystem\n."


def obj(path: str) -> bytes:
    return b"(cos\nsystem\nX" + text(f"touch {path}") + b"o."


def stack_global(path: str) -> bytes:
    return b"\x80\x04\x8c\x05posix\x8c\x06system\x93X" + text(f"touch {path}") + b"\x85R."


def dotted(path: str) -> bytes:
    """A name with a dot, which protocol 4 follows from attribute to attribute."""
    return b"\x80\x04\x8c\x06shutil\x8c\x09os.system\x93X" + text(f"touch {path}") + b"\x85R."


def extension(path: str) -> bytes:
    """A code of the extension registry, which some other library has registered."""
    copyreg.remove_extension("os", "system", 0x7E) if ("os", "system") in copyreg._extension_registry else None
    copyreg.add_extension("os", "system", 0x7E)
    return b"\x80\x02\x82\x7eX" + text(f"touch {path}") + b"\x85R."


def chain(path: str) -> bytes:
    """getattr(getattr(pathlib, ...)): from a harmless class to a method of an object."""
    made = b"cpathlib\nPath\nX" + text(path) + b"\x85R"
    return b"\x80\x02c__builtin__\ngetattr\n(" + made + b"X" + text("touch") + b"tR)R."


def chain_from_torch(path: str) -> bytes:
    """From the module of a function that is allowed to the builtins, by attributes."""
    start = b"c__builtin__\ngetattr\n(ctorch._utils\n_rebuild_tensor_v2\nX" + text("__globals__") + b"tR"
    return b"\x80\x02" + start + b"."


def method_of_a_class(path: str) -> bytes:
    return (
        b"\x80\x02c__builtin__\ngetattr\n(cpathlib\nPath\nX" + text("touch") + b"tRcpathlib\nPath\nX" + text(path)
    ) + b"\x85R\x85R."


def build_slots(path: str) -> bytes:
    """Attributes set on a function that is allowed: they would outlive the reading."""
    return b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nN}X" + text("owned") + b"X" + text(path) + b"s\x86b."


LIVE = {
    "os.system": lambda p: dumps(Calls(os.system, f"touch {p}")),
    "subprocess": lambda p: dumps(Calls(subprocess.check_call, ["touch", p])),
    "builtins.eval": lambda p: dumps(Calls(eval, f"open({p!r}, 'w')")),
    "builtins.exec": lambda p: dumps(Calls(exec, f"open({p!r}, 'w')")),
    "io.open": lambda p: dumps(Calls(open, p, "w")),
    "shutil.copyfile": lambda p: dumps(Calls(shutil.copyfile, __file__, p)),
    "torch.save": lambda p: dumps(Calls(torch.save, 1, p)),
    "pickle.loads": lambda p: dumps(Calls(pickle.loads, pickle.dumps(Calls(os.mkdir, p)))),
    "functools.partial": lambda p: dumps(Calls(functools.partial(os.mkdir, p))),
    "operator.methodcaller": lambda p: dumps(Calls(operator.methodcaller("touch"), pathlib.Path(p))),
    "a class with __setstate__": lambda p: dumps(Stateful(p)),
    "a module with __setstate__": lambda p: dumps(Module(p)),
    "a dict with __setitem__": lambda p: filled(Items, p),
    "a list with append": lambda p: filled(Values, p),
    "a class with __new__": made_by_new,
    "INST": inst,
    "OBJ": obj,
    "STACK_GLOBAL": stack_global,
    "a dotted name": dotted,
    "EXT1": extension,
    "getattr of an object": chain,
    "getattr of a class": method_of_a_class,
}
INERT = {  # read, as their names are those of classes like any other: what they stand for is not there
    "a class with __setstate__",
    "a module with __setstate__",
    "a dict with __setitem__",
    "a list with append",
    "a class with __new__",
}
CONTAINERS = pytest.mark.parametrize("container", ["torch_zip", "torch_legacy"])


def wrapped(pickled: bytes) -> bytes:
    """A pickle of a thing as the pickle of a dict, which a checkpoint is."""
    return b"\x80\x02}X" + text("thing") + pickled.removesuffix(b".") + b"s."


@CONTAINERS
@pytest.mark.parametrize("name", LIVE)
def test_a_payload_does_not_run(tmp_path, write, container, name):
    marker = tmp_path / "ran"
    payload = wrapped(LIVE[name](str(marker)))
    try:
        pickle.loads(payload)
        assert marker.exists(), "Python's unpickler runs it"
        marker.rmdir() if marker.is_dir() else marker.unlink()
        path = getattr(write, container)(tmp_path / "evil.pth", payload)
        if name in INERT:
            assert read_container(path).metadata["inert"]
        else:
            with pytest.raises(ValueError, match="asks for '.+', which no weights need|opcode|calls Inert") as caught:
                read_container(path)
            assert str(path) in str(caught.value)
        assert not marker.exists()
    finally:
        if name == "EXT1":
            copyreg.remove_extension("os", "system", 0x7E)


REFUSED = {
    "torch.load": (b"\x80\x02ctorch\nload\n.", "'torch.load'"),
    "torch.serialization": (b"\x80\x02ctorch.serialization\nload\n.", "'torch.serialization.load'"),
    "torch.hub": (b"\x80\x02ctorch.hub\nload\n.", "'torch.hub.load'"),
    "bytes that are a file": (b"\x80\x02ctorch.storage\n_load_from_bytes\n.", "_load_from_bytes"),
    "numpy.load": (b"\x80\x02cnumpy\nload\n.", "'numpy.load'"),
    "builtins of Python 2": (b"\x80\x02c__builtin__\n__import__\n.", "'builtins.__import__'"),
    "commands of Python 2": (b"\x80\x02ccommands\ngetoutput\n.", "'commands.getoutput'"),
    "getattr of an allowed function": (chain_from_torch(""), "_rebuild_tensor_v2.__globals__"),
    "attributes of an allowed function": (build_slots("x"), "gives a state to Global"),
    "a persistent id in text": (b"\x80\x02Pstorage\n.", "opcode b'P'"),
    "a persistent id that is no storage": (b"\x80\x02X\x01\0\0\0aQ.", "no storage of torch"),
    "a storage of a type of its own": (
        b"\x80\x02(X\x07\0\0\0storagecevil\nStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x04tQ.",
        "a storage of type evil.Storage",
    ),
    "a call of what is no function": (b"\x80\x02X\x01\0\0\0a)R.", "nothing that can be called"),
    "a call of a result": (b"\x80\x02cevil\nmake\n)R)R.", "it calls Inert"),
    "an extension that is not registered": (b"\x80\x02\x84\x01\0\0\0.", "opcode"),
    "text opcodes": (b"I1\n.", "opcode b'I'"),
    "a quantised tensor": (b"\x80\x02ctorch._utils\n_rebuild_qtensor\n.", "_rebuild_qtensor"),
    "an array of objects": (
        b"\x80\x02cnumpy\ndtype\nX\x02\0\0\0O8\x85R(K\x03X\x01\0\0\0|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x3ftb"
        b"cnumpy.core.multiarray\nscalar\nh\0X\0\0\0\0\x86R.",
        "makes no sense",
    ),
    "text in a codec of its own": (b"\x80\x02c_codecs\nencode\nX\x01\0\0\0aX\x03\0\0\0rot\x86R.", "encoding"),
}


@CONTAINERS
@pytest.mark.parametrize("name", REFUSED)
def test_what_no_checkpoint_needs_is_refused(tmp_path, write, container, name):
    pickled, message = REFUSED[name]
    path = getattr(write, container)(tmp_path / "evil.pth", wrapped(pickled))
    with pytest.raises(ValueError, match=message) as caught:
        read_container(path)
    assert str(path) in str(caught.value)


def test_the_table_of_what_is_called_holds_nothing_of_others():
    from detzoo.importers.readers import makers

    assert {function.__module__ for function in makers.MAKERS.values()} == {makers.__name__}


def growing(step: bytes, start: bytes, times: int) -> bytes:
    return b"\x80\x02" + start + step * times + b"."


BOMBS = {
    "tuples of themselves": (growing(b"2\x86", b"K\x01", 100), "repeats itself|deeper"),
    "lists of themselves": (b"\x80\x02]q\0h\0a.", "deeper"),
    "nested for ever": (growing(b"\x85", b")", 50_000), "deeper"),
    "a key nested for ever": (
        b"\x80\x02}" + growing(b"\x85", b")", 50_000)[2:-1] + b"K\x01s.",
        None,
    ),
    "text that is copied": (
        b"\x80\x02]q\1(X" + text("a" * 20_000) + b"q\0" + b"c_codecs\nencode\nh\0\x85R" * 500 + b"e.",
        "copies more than it holds",
    ),
    "names that grow": (
        b"\x80\x02X" + text("a" * 200) + b"q\0ca\nb\n" + b"q\1c__builtin__\ngetattr\nh\1h\0\x86R" * 50 + b".",
        "characters",
    ),
    "names of tensors that grow": (
        b"\x80\x02}X" + text("a" * 2000) + b"cnumpy\nndarray\n)Rs.",
        "a name of",
    ),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_pickle_that_unfolds(tmp_path, write, name):
    pickled, message = BOMBS[name]
    path = write.torch_zip(tmp_path / "bomb.pth", wrapped(pickled))
    if message is None:
        assert read_container(path).tensors == {}
        return
    with pytest.raises(ValueError, match=message):
        read_container(path)


def test_the_shared_numbers_of_many_tensors_are_counted(tmp_path, write):
    one = write.tensor_pickle("1000", "1", 1000)[3:-2]  # from the key on, to the tensor
    names = b"".join(one.replace(b"X\x01\0\0\0w", b"X\x03\0\0\0%03d" % index, 1) for index in range(200))
    path = write.torch_zip(tmp_path / "many.pth", b"\x80\x02}(" + names + b"u.", {"0": bytes(4000)})
    assert path.stat().st_size < 50_000
    with pytest.raises(ValueError, match="times over"):
        read_container(path)


def test_io_is_not_what_makes_the_difference(tmp_path):
    """The module is not imported for what its names might do: a file that names it is read as any other."""
    torch.save({"a": torch.ones(1), "b": io.BytesIO}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match="_io.BytesIO"):
        read_container(tmp_path / "a.pth")
