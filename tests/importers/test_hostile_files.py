"""Files that are no checkpoints, or broken ones: each a clear error that names the file; never anything but that."""

import io
import random
import struct
import tarfile
import zipfile

import numpy as np
import pytest
import torch

from detzoo.importers.readers import KINDS, read_container, state_dict_in

HTML = b"<!DOCTYPE html>\n<html><head><title>Google Drive - Virus scan warning</title></head></html>\n"
LFS = (
    b"version https://git-lfs.github.com/spec/v1\n"
    b"oid sha256:3d147eb48c8f3771101e12ff14d8105b935d2e4e08fa471e2ee5a2426c20d61e\nsize 105151288\n"
)


def tar() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("checkpoint.pth"), io.BytesIO())
    return out.getvalue()


def archive_of(**files: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


WHOLE = {  # what: (content, message)
    "a web page": (HTML, "a web page, not a file of weights.*sign-in"),
    "a web page after blanks": (b"\xef\xbb\xbf \r\n" + HTML.lower(), "a web page"),
    "an error in XML": (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "a web page"),
    "an error in JSON": (b'{"error": "not found"}', "a text that begins"),
    "a text": (b"Not Found, whatever it was that you asked for\n", "a text that begins 'Not Found"),
    "a prototxt": (b'name: "VGG"\nlayer { name: "data" }\n', "a text that begins 'name"),
    "a Git-LFS pointer": (LFS, r"a Git-LFS pointer.*105151288 bytes.*sha256:3d147eb4\w+; fetch it with `git lfs pull`"),
    "a Git-LFS pointer cut short": (LFS[:45], "a Git-LFS pointer.*an unknown number of bytes"),
    "nothing": (b"", "the file is empty"),
    "a byte": (b"\x0a", "no known format"),
    "constants": (b"\xff" * 4096, "no known format"),
    "zeros": (bytes(4096), "no known format"),
    "noise": (random.Random(0).randbytes(4096), "no known format|damaged"),
    "a tar archive": (tar(), "a tar archive.*unpack it"),
    "a gzip archive": (b"\x1f\x8b" + bytes(100), "a gzip archive"),
    "an HDF5 file": (b"\x89HDF\r\n\x1a\n" + bytes(100), "an HDF5 file"),
    "an image": (b"\xff\xd8\xff\xe0" + bytes(100), "an image"),
    "an ONNX model": (b"\x08\x07\x12\x07pytorch" + bytes([0x3A, 2, 0x12, 0]), "an ONNX model"),
    "a TensorFlow Lite model": (b"\x1c\0\0\0TFL3" + bytes(100), "a TensorFlow Lite model"),
    "a NumPy array": (b"\x93NUMPY\x01\0" + bytes(100), "a NumPy array"),
    "a zip of arrays": (archive_of(**{"a.npy": b"\x93NUMPY"}), "a zip archive with a.npy in it, not a PyTorch file"),
    "a zip of a checkpoint": (archive_of(**{"model.pth": b"x"}), "with model.pth in it.*unpack it"),
    "an empty zip": (archive_of(), "an empty, damaged or split zip archive"),
    "a TorchScript program": (
        archive_of(**{"net/data.pkl": b"x", "net/constants.pkl": b"x", "net/code/a.py": b""}),
        "a TorchScript program",
    ),
    "a big-endian PyTorch file": (archive_of(**{"a/data.pkl": b"\x80\x02}.", "a/byteorder": b"big"}), "big-endian"),
    "a pickle of its own": (b"\x80\x04\x95\x0b\0\0\0\0\0\0\0}\x94\x8c\x01a\x94K\x01s.", "a pickle, but not one"),
    "a safetensors header without end": (struct.pack("<Q", 10**9) + b'{"a', "its header claims 1000000000 bytes"),
    "a safetensors header longer than the file": (struct.pack("<Q", 500) + b'{"a": {}}', "claims 500 bytes"),
    "a safetensors header that is no JSON": (struct.pack("<Q", 4) + b"{abc", "safetensors file that cannot be read"),
    "safetensors that claim too much": (
        struct.pack("<Q", 62) + b'{"a":{"dtype":"F32","shape":[1000000],"data_offsets":[0,4000000]}}'[:62],
        "cannot be read",
    ),
}


@pytest.mark.parametrize("what", WHOLE)
def test_what_is_no_checkpoint(tmp_path, what):
    content, message = WHOLE[what]
    path = tmp_path / "weights.caffemodel"  # the name says nothing
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_container(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_folder_and_nothing_at_all(tmp_path):
    with pytest.raises(ValueError, match="this is a folder"):
        read_container(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"missing\.pth"):
        read_container(tmp_path / "missing.pth")


SHAPES = {  # what: (size, stride, numbers in the pickle, offset, bytes in the file, message)
    "more than the storage": ("5", "1", 4, 0, 16, "does not fit into the 4 numbers"),
    "an offset beyond": ("2 2", "2 1", 4, 1, 16, "does not fit"),
    "strides beyond": ("2 2", "3 1", 4, 0, 16, "does not fit"),
    "a negative size": ("-1", "1", 4, 0, 16, "no count, where one was expected"),
    "negative strides": ("2 2", "-2 1", 4, 3, 16, "no count, where one"),
    "sizes and strides of two ranks": ("2 2", "1", 4, 0, 16, "with the strides"),
    "a storage longer than the record": ("4", "1", 4, 0, 12, "should have 4 numbers|announced"),
    "a storage beyond all bounds": ("4", "1", 2**31 - 1, 0, 16, "should have 2147483647 numbers|announced"),
    "numbers repeated without end": ("1000000 1000000", "0 0", 4, 0, 16, "times over"),
    "a size beyond 64 bits": (f"1 {2**70}", f"{2**70} 0", 4, 0, 16, "no count, where one"),
    "a stride beyond 64 bits": ("1", f"{2**70}", 4, 0, 16, "no count, where one"),
}


@pytest.mark.parametrize("container", ["torch_zip", "torch_legacy"])
@pytest.mark.parametrize("what", SHAPES)
def test_tensors_that_claim_too_much(tmp_path, write, container, what):
    size, stride, count, offset, nbytes, message = SHAPES[what]
    pickled = write.tensor_pickle(size, stride, count, offset)
    path = getattr(write, container)(tmp_path / "a.pth", pickled, {"0": bytes(nbytes)})
    with pytest.raises(ValueError, match=message) as caught:
        read_container(path)
    assert str(path) in str(caught.value)


def test_the_writers_write_what_can_be_read(tmp_path, write):
    raw = np.arange(4, dtype="<f4").tobytes()
    for container in (write.torch_zip, write.torch_legacy):
        path = container(tmp_path / "a.pth", write.tensor_pickle("2 2", "2 1"), {"0": raw})
        assert read_container(path).tensors["w"].tolist() == [[0, 1], [2, 3]]
        assert torch.equal(read_container(path).tensors["w"], torch.load(path, weights_only=True)["w"])


def test_a_zip_bomb(tmp_path, write):
    """10 MB of zeros in 10 kB: nothing is inflated."""
    pickled = write.tensor_pickle("2500000", "1", 2_500_000)
    path = write.torch_zip(tmp_path / "a.pth", pickled, {"0": bytes(10_000_000)}, write.DEFLATED)
    assert path.stat().st_size < 20_000
    with pytest.raises(ValueError, match="compressed or encrypted"):
        read_container(path)


def test_a_zip_whose_directory_lies(tmp_path, write):
    """The size of a record, in the directory of the archive, is made larger than the file."""
    path = write.torch_zip(tmp_path / "a.pth", write.tensor_pickle("4", "1"), {"0": bytes(16)})
    content = bytearray(path.read_bytes())
    entry = content.index(b"PK\1\2", content.index(b"PK\1\2") + 1)  # of the storage
    content[entry + 20 : entry + 28] = struct.pack("<II", 10**8, 10**8)
    path.write_bytes(content)
    with pytest.raises(ValueError, match="'archive/data/0' should be 100000000 bytes"):
        read_container(path)


def test_a_storage_that_is_not_there(tmp_path, write):
    path = write.torch_zip(tmp_path / "a.pth", write.tensor_pickle("4", "1"), {"1": bytes(16)})
    with pytest.raises(ValueError, match="tensor 'w': its storage '0' is not in the file"):
        read_container(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_numbers_that_are_none(tmp_path, value, legacy):
    good, bad = torch.ones(1000), torch.ones(1000)
    bad[517] = value
    path = tmp_path / "a.pth"
    for state, name in (({"good": good, "bad": bad}, "bad"), ({"model": {"a.weight": bad.half()}}, "model/a.weight")):
        torch.save(state, path, _use_new_zipfile_serialization=not legacy)
        with pytest.raises(ValueError, match=f"NaN or infinity in 1 of .* tensors: {name}. Finite weights") as caught:
            read_container(path)
        assert str(path) in str(caught.value)


def test_numbers_that_are_none_in_other_files(tmp_path, write):
    from safetensors.torch import save_file

    save_file({"w": torch.tensor([1, float("nan")])}, tmp_path / "a.safetensors")
    blob = write.field(7, write.blob([1, float("inf")], (2,)))
    (tmp_path / "a.caffemodel").write_bytes(write.caffe_layer("w", "Scale", blob))
    nan = write.tensor_proto(np.array([1, np.nan], "<f4"))
    write.graph(tmp_path / "a.pb", [write.graph_node("w", "Const", nan)])
    index = write.bundle(tmp_path / "a.ckpt", [("w", write.entry(1, (2,), 0, 8))])
    (tmp_path / "a.ckpt.data-00000-of-00001").write_bytes(np.array([np.nan, 1], "<f4").tobytes())
    for path in (tmp_path / "a.safetensors", tmp_path / "a.caffemodel", tmp_path / "a.pb", index):
        with pytest.raises(ValueError, match=r"NaN or infinity in 1 of \d tensors: w"):
            read_container(path)


def test_a_name_does_not_reach_the_terminal(tmp_path):
    torch.save({"\x1b[2J" + "w" * 900: torch.tensor([float("nan")])}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"tensors: \?\[2Jww") as caught:
        read_container(tmp_path / "a.pth")
    assert "\x1b" not in str(caught.value) and len(str(caught.value)) < 1000 + len(str(tmp_path)) + 20


def test_what_lies_beside_the_weights_may_be_infinite(tmp_path):
    state = {"w": torch.ones(2), "steps": torch.tensor(3)}
    torch.save({"model": state, "optimizer": {"momentum": torch.tensor([float("inf")])}}, tmp_path / "a.pth")
    assert list(state_dict_in(read_container(tmp_path / "a.pth")).tensors) == ["w", "steps"]


def test_every_kind_can_be_read(one_of_each):
    containers = [read_container(path) for path in one_of_each.values()]
    assert {container.kind for container in containers} == set(KINDS)
    for container, path in zip(containers, one_of_each.values()):
        assert container.path == path and state_dict_in(container).tensors


@pytest.mark.parametrize("start", [b"PK\0\0", b"{\0\0\0", b"\x80\x02\0\0", b"\x1f\x8b\0\0"])
def test_the_length_of_a_header_looks_like_another_format(tmp_path, start):
    """The first bytes of safetensors are a number."""
    size = int.from_bytes(start, "little")
    header = b'{"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}'.ljust(size)
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", size) + header + np.array([1, 2], "<f4").tobytes())
    container = read_container(path)
    assert container.kind == "safetensors" and container.tensors["w"].tolist() == [1, 2]


def test_the_name_of_a_file_says_nothing(one_of_each, tmp_path):
    for form, path in one_of_each.items():
        if form != "tensorflow-bundle":  # which is more than one file
            renamed = path.rename(tmp_path / f"{form}.bin".replace(" ", "-"))
            assert read_container(renamed).kind in form.replace(" ", "-") or form.startswith("torch")


FORMS = ["torch zip", "torch legacy", "safetensors", "caffe", "tensorflow-bundle", "tensorflow-graph"]


@pytest.mark.parametrize("form", FORMS)
def test_truncated(one_of_each, form):
    """Cut at some hundred places: an error that names the file, but where only padding or a whole field was cut off."""
    path = one_of_each[form]
    content = path.read_bytes()
    read = 0
    for size in range(1, len(content), max(1, len(content) // 150)):
        path.write_bytes(content[:size])
        read += _reads(path)
    assert read <= (8 if form in ("caffe", "tensorflow-graph") else 0)


@pytest.mark.parametrize("form", FORMS)
def test_damaged(one_of_each, form):
    """Bytes changed at random: weights or an error that names the file, never anything else."""
    path, draw = one_of_each[form], random.Random(form)
    content = path.read_bytes()
    for _ in range(300):
        damaged = bytearray(content)
        for _ in range(draw.choice([1, 1, 2, 8])):
            damaged[draw.randrange(len(damaged))] = draw.choice([0, 1, 0x7F, 0x80, 0xFF, draw.randrange(256)])
        path.write_bytes(damaged)
        _reads(path)


def _reads(path) -> bool:
    try:
        read_container(path)
        return True
    except ValueError as error:
        assert str(error).startswith(f"{path}: ") and len(str(error)) < 800
        return False
