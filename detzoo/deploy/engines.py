"""The engines themselves: a network in, and a function that computes it."""

from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock, get_ident
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .levels import Decoded
from .program import Program
from .quantise import quantise
from .to_onnx import write_onnx
from .to_openvino import core, halves, joined
from .winograd import WORTH_IT, with_winograd

Forward = Callable[[Tensor], tuple[Tensor, Tensor]]
SIZES, THREADS = 8, 4  # of batches that OpenVINO keeps graphs for, and threads that it keeps answers for
BATCH = {0: torch.export.Dim("batch")}  # the dimension that may be any


class Engine(NamedTuple):
    """A network that was made ready: `run` takes normalised images [B, 3, S, S] to boxes [B, A, 4], xyxy in their
    pixels, and scores [B, A, C - 1], both float32. They are to be used before the next call in the same thread, which
    may write where they lie.

    `size` is in bytes, of its own form of the network; None where that is PyTorch's. `own_threads` says that PyTorch's
    threads are not its own: for milliseconds after their work they wait for more, busily, on the processors that the
    engine wants.
    """

    run: Forward
    size: int | None = None
    own_threads: bool = False


class Network(NamedTuple):
    """What an engine is given: the network, normalised images to boxes and scores; the images' `size`; the name of the
    precision to compute in; batches of such images for engines that calibrate.
    """

    module: Decoded
    size: tuple[int, int]
    precision: str
    calibration: Iterable[Tensor] | None = None

    def program(self) -> Program:
        """What exporters want of it, for batches of any size."""
        return Program(self.module, self.example(), BATCH, {})

    def example(self) -> Tensor:
        """Two images: one would be taken for a constant."""
        return torch.zeros(2, 3, *self.size)


def run_eager(network: Network) -> Engine:
    """PyTorch, with channels last in memory: what the kernels of CPUs and of half precision on GPUs are made for."""
    return Engine(_in_torch(_for_torch(network)))


def run_compiled(network: Network) -> Engine:
    """`torch.compile`, weights taken for constants; the first batches take minutes."""
    module = _for_torch(network)
    return Engine(_in_torch(torch.compile(module, options={"freezing": True})))


def run_cuda_graphs(network: Network) -> Engine:
    """`torch.compile` with CUDA graphs: no time between kernels, which is most of it for small batches."""
    compiled = torch.compile(_for_torch(network), mode="reduce-overhead")

    def run(batch: Tensor) -> tuple[Tensor, Tensor]:
        torch.compiler.cudagraph_mark_step_begin()
        return compiled(batch.contiguous(memory_format=torch.channels_last))

    return Engine(run)


def _for_torch(network: Network) -> nn.Module:
    """The network as PyTorch computes it soonest, see `with_winograd`; kernels of other types and devices are their
    own matter.
    """
    if network.precision == "float32" and network.module.default_boxes.device.type == "cpu":
        with_winograd(network.module, WORTH_IT)
    return network.module.to(memory_format=torch.channels_last)


def _in_torch(module: nn.Module | Callable[..., Any]) -> Forward:
    return lambda batch: module(batch.contiguous(memory_format=torch.channels_last))


def run_onnxruntime(network: Network) -> Engine:
    """ONNX Runtime on the CPU, with as many threads as PyTorch."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    with TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        write_onnx(network.program(), path)
        size = path.stat().st_size
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    (images,) = session.get_inputs()
    wanted = list(network.module.outputs)

    def run(batch: Tensor) -> tuple[Tensor, Tensor]:
        boxes, scores = session.run(wanted, {images.name: batch.numpy()})
        return torch.from_numpy(boxes), torch.from_numpy(scores)

    return Engine(run, size, own_threads=True)


def run_openvino(network: Network) -> Engine:
    """OpenVINO on the CPU, with as many threads as PyTorch.

    Raises:
        ValueError: where the processor does not compute in bfloat16: OpenVINO would take float32 without a word.
    """
    if network.precision == "bfloat16" and "BF16" not in core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise ValueError("this processor has no bfloat16: choose float32 or int8")
    core()  # before those that quantisation makes for itself
    model = _openvino_of(network)
    options = {
        "INFERENCE_PRECISION_HINT": "bf16" if network.precision == "bfloat16" else "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }

    size, lock = network.size, Lock()

    @lru_cache(SIZES)
    def ready(batch: int) -> Any:
        """For batches of one size: a fifth faster than for any, with weights as that size wants them."""
        fixed = model.clone()
        fixed.reshape([batch, 3, *size])
        return core().compile_model(fixed, "CPU", options)

    @lru_cache(SIZES * THREADS)
    def request(batch: int, thread: int) -> Any:
        """Memory for what goes in and comes out; two threads cannot share it."""
        return ready(batch).create_infer_request()

    def run(batch: Tensor) -> tuple[Tensor, Tensor]:
        with lock:
            mine = request(len(batch), get_ident())
        found = mine.infer([batch.numpy()], share_inputs=True, share_outputs=True)
        return torch.from_numpy(found[0]), torch.from_numpy(found[1])

    bytes_ = sum(node.get_byte_size() for node in model.get_ops() if node.get_type_name() == "Constant")
    return Engine(run, bytes_, own_threads=True)


def _openvino_of(network: Network) -> Any:
    """An `openvino.Model` for batches of any size, in 8 bits where there is something to calibrate on."""
    import openvino

    first, last = map(openvino.convert_model, halves(network.module, network.example(), BATCH))
    first.reshape([-1, 3, *network.size])
    if network.calibration is not None:
        first = quantise(first, network.calibration)
    return joined(first, last)
