"""TensorFlow's checkpoints and frozen graphs.

The files in `golden` were written by TensorFlow 2.21 (`tf.compat.v1.train.Saver`, `Graph.as_graph_def`). Their numbers
are those of `ramp`, so that what is expected can be seen here.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from detzoo.importers.readers import read_container, state_dict_in

GOLDEN = Path(__file__).parent / "golden"
FORMS = ["bundle.ckpt", "bundle.ckpt.index", "bundle.ckpt.data-00000-of-00001"]


def ramp(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return (torch.arange(np.prod(shape)) * 0.25 - 1).view(shape).to(dtype)


def assert_same(mine: dict, expected: dict) -> None:
    assert set(mine) == set(expected)
    for name, tensor in expected.items():
        assert mine[name].dtype == tensor.dtype, name
        assert torch.equal(mine[name], tensor), name


@pytest.mark.parametrize("name", FORMS)
def test_a_checkpoint_of_tensorflow(name):
    container = read_container(GOLDEN / name)
    assert container.kind == "tensorflow-bundle" and container.path == GOLDEN / "bundle.ckpt.index"
    assert_same(
        container.tensors,
        {
            "ssd_300_vgg/conv1/conv1_1/weights": ramp(3, 3, 1, 2),
            "ssd_300_vgg/conv1/conv1_1/biases": ramp(2),
            "flag": torch.tensor([True, False, True]),
            "after_flag": ramp(3),
            "half": ramp(2, 3, dtype=torch.float16),
            "global_step": torch.tensor(120000),
        },
    )
    assert container.metadata == {
        "format": "tensorflow bundle",
        "shards": 1,
        "skipped": {"label": "of type string", "parts": "in parts (a partitioned variable)"},
    }
    assert state_dict_in(container) == (container.tensors, ())


def test_a_graph_of_tensorflow():
    container = read_container(GOLDEN / "graph.pb")
    assert container.kind == "tensorflow-graph"
    assert_same(
        container.tensors,
        {
            "conv/weights": ramp(3, 3, 1, 2),
            "filled": torch.full((2, 3), 1.5),  # written as a single number
            "zeros": torch.zeros(2, 2),
            "half": ramp(2, 3, dtype=torch.float16),
            "scalar": torch.tensor(3.0),
            "ints": torch.tensor([-1, 5], dtype=torch.int32),
            "flags": torch.tensor([True, False]),
            "threshold": torch.tensor(float("inf")),  # a single number may be
        },
    )
    assert container.metadata["ops"] == {"Placeholder": 1, "Const": 9, "Conv2D": 1, "Relu": 1}
    assert container.metadata["inputs"] == ["image_tensor"]
    assert container.metadata["skipped"] == {"label": "of type string"}


def test_many_blocks_and_shards(tmp_path, write):
    """More than TensorFlow writes for a small net: an index of two blocks, data in two files."""
    names = [f"ssd/block{index:02}/weights" for index in range(20)]
    entries = [(name, write.entry(1, (2,), 8 * (index // 2), 8, index % 2)) for index, name in enumerate(names)]
    index = write.bundle(tmp_path / "a.ckpt", entries, write.field(1, 2))
    for shard in range(2):
        values = np.arange(20, dtype="<f4") + 100 * shard
        (tmp_path / f"a.ckpt.data-{shard:05}-of-00002").write_bytes(values.tobytes())
    container = read_container(index)
    assert list(container.tensors) == names and container.metadata["shards"] == 2
    assert container.tensors[names[5]].tolist() == [104, 105]


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([("a", (1, (2,), 20, 8))], "20.*24 bytes altogether"),
        ([("a", (1, (3,), 0, 8))], "'a' has 8 bytes, its shape .3,. of torch.float32 12"),
        ([("a", (1, (2**40, 2**40), 0, 8))], "has 8 bytes"),
        ([("a", (1, (-1,), 0, 8))], "unknown shape"),
        ([("a", (1, (2,), 0, 8, 1))], "data file 1 of 1"),
        ([("a", (1, (2,), -4, 8))], "bytes at -4"),
        ([(f"a{index:03}", (1, (6,), 0, 24)) for index in range(100)], "more than 8 times over"),
        ([("a", (1, (2,), 0, 8)), ("b", (1, (2,), 8, 8)), ("\xff", (1, (2,), 8, 8))], None),
    ],
)
def test_entries_that_claim_too_much(tmp_path, write, entries, message):
    index = write.bundle(tmp_path / "a.ckpt", [(name, write.entry(*one)) for name, one in entries])
    if message is None:
        assert len(read_container(index).tensors) == len(entries)
        return
    with pytest.raises(ValueError, match=message) as caught:
        read_container(index)
    assert str(index) in str(caught.value)


def test_headers(tmp_path, write):
    def refused(header: bytes, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            read_container(write.bundle(tmp_path / "a.ckpt", header=header))

    refused(write.field(1, 1) + write.field(2, 1), "big-endian")
    refused(write.field(1, b"meta"), "version 1")
    refused(write.field(1, 10**6), "1000000 data files")


def test_files_that_are_missing(tmp_path, write):
    write.bundle(tmp_path / "a.ckpt")
    data = tmp_path / "a.ckpt.data-00000-of-00001"
    content = data.read_bytes()
    data.unlink()
    with pytest.raises(ValueError, match="expected in a.ckpt.data-00000-of-00001 beside it"):
        read_container(tmp_path / "a.ckpt")
    data.write_bytes(content)
    (tmp_path / "a.ckpt.index").rename(tmp_path / "b.index")
    with pytest.raises(ValueError, match="its index a.ckpt.index is expected beside it"):
        read_container(data)
    with pytest.raises(FileNotFoundError, match="a.ckpt"):
        read_container(tmp_path / "a.ckpt")


def test_tables(tmp_path, write):
    path = tmp_path / "a.index"

    def refused(content: bytes, message: str) -> None:
        path.write_bytes(content)
        with pytest.raises(ValueError, match=message):
            read_container(path)

    header, pair = (b"", write.field(1, 1)), (b"key", b"value")
    compressed = bytearray(write.table([write.block([header])]))
    compressed[len(write.block([header]))] = 1  # Snappy
    refused(bytes(compressed), "a compressed table")
    refused(write.table([write.block([pair])]), "without the header")
    refused(write.table([b"abc"]), "an empty block")
    refused(write.table([b"abc" + b"\xff" * 4]), "claims 4294967295 restarts")
    refused(write.table([b"\x05\x01\x01kv" + b"\0" * 8]), "reaches beyond its block")
    refused(
        write.table([write.block([header])], write.block([(b"0", write.varint(0) + write.varint(9999))])),
        "10004 bytes at 0",
    )
    long = write.block([header, *((b"k" * 3000 + b"%05d" % index, b"") for index in range(2000))])
    refused(write.table([long]), "20 times as long")


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (("huge", (2**20, 2**20)), "in all more than"),
        (("short", (3,), b"\0" * 8), "of shape .3,. has 2 numbers"),
        (("odd", (3,), b"\0" * 7), "no multiple of 4"),
        (("weights", (1,), b"\0" * 4), "two constants are called 'weights'"),
    ],
)
def test_constants_that_claim_too_much(tmp_path, write, node, message):
    name, shape, *content = node
    dims = b"".join(write.field(2, write.field(1, size)) for size in shape)
    proto = write.field(1, 1) + write.field(2, dims) + b"".join(write.field(4, one) for one in content)
    path = write.graph(tmp_path / "a.pb", [write.graph_node(name, "Const", proto)])
    with pytest.raises(ValueError, match=message):
        read_container(path)
    write.graph(tmp_path / "a.pb", [write.graph_node("none", "Const")])
    with pytest.raises(ValueError, match="'none' has no value"):
        read_container(path)
