"""The engines themselves: a network in, and a function that computes it."""

from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .levels import Raw
from .program import Program
from .quantise import quantise
from .to_onnx import write_onnx

Run = Callable[[Tensor], tuple[Tensor, Tensor]]


class Engine(NamedTuple):
    """A network that was made ready: `run` takes normalised images [B, 3, S, S] to logits and deltas, float32.

    `size` is in bytes, of its own form of the network; None where that is PyTorch's. `own_threads` says that PyTorch's
    threads are not its own: for milliseconds after their work they wait for more, busily, on the processors that the
    engine wants.
    """

    run: Run
    size: int | None = None
    own_threads: bool = False


class Network(NamedTuple):
    """What an engine is given: the network, normalised images to logits, deltas and default boxes; the images' `size`;
    the name of the precision to compute in; batches of such images for engines that calibrate.
    """

    module: Raw
    size: tuple[int, int]
    precision: str
    calibration: Iterable[Tensor] | None = None

    def program(self) -> Program:
        """What exporters want of it, for batches of any size."""
        example = torch.zeros(2, 3, *self.size)
        return Program(self.module, example, {0: torch.export.Dim("batch")}, {}, ())


def run_eager(network: Network) -> Engine:
    """PyTorch, with channels last in memory: what the kernels of CPUs and of half precision on GPUs are made for."""
    return Engine(_in_torch(network.module.to(memory_format=torch.channels_last)))


def run_compiled(network: Network) -> Engine:
    """`torch.compile`, weights taken for constants; the first batches take minutes."""
    module = network.module.to(memory_format=torch.channels_last)
    return Engine(_in_torch(torch.compile(module, options={"freezing": True})))


def run_cuda_graphs(network: Network) -> Engine:
    """`torch.compile` with CUDA graphs: no time between kernels, which is most of it for small batches."""
    compiled = torch.compile(network.module.to(memory_format=torch.channels_last), mode="reduce-overhead")

    def run(batch: Tensor) -> tuple[Tensor, Tensor]:
        torch.compiler.cudagraph_mark_step_begin()
        logits, deltas, _ = compiled(batch.contiguous(memory_format=torch.channels_last))
        return logits.clone(), deltas.clone()  # the next call writes where they lie

    return Engine(run)


def _in_torch(module: nn.Module | Callable[..., Any]) -> Run:
    def run(batch: Tensor) -> tuple[Tensor, Tensor]:
        logits, deltas, _ = module(batch.contiguous(memory_format=torch.channels_last))
        return logits, deltas

    return run


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
    wanted = list(network.module.outputs[:2])

    def run(batch: Tensor) -> tuple[Tensor, Tensor]:
        logits, deltas = session.run(wanted, {images.name: batch.numpy()})
        return torch.from_numpy(logits), torch.from_numpy(deltas)

    return Engine(run, size, own_threads=True)


def run_openvino(network: Network) -> Engine:
    """OpenVINO on the CPU, with as many threads as PyTorch.

    Raises:
        ValueError: where the processor does not compute in bfloat16: OpenVINO would take float32 without a word.
    """
    import openvino

    core = openvino.Core()
    if network.precision == "bfloat16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise ValueError("this processor has no bfloat16: choose float32 or int8")
    model = openvino.convert_model(network.program().trace())
    model.reshape([-1, 3, *network.size])
    if network.calibration is not None:
        model = quantise(model, network.calibration)
    options = {
        "INFERENCE_PRECISION_HINT": "bf16" if network.precision == "bfloat16" else "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }

    @cache
    def ready(batch: int) -> Any:
        """For batches of one size: a fifth faster than for any. Weights are shared."""
        fixed = model.clone()
        fixed.reshape([batch, 3, *network.size])
        return core.compile_model(fixed, "CPU", options)

    def run(batch: Tensor) -> tuple[Tensor, Tensor]:
        found = ready(len(batch))(batch.numpy(), share_inputs=True)
        return torch.from_numpy(found[0]), torch.from_numpy(found[1])

    size = sum(node.get_byte_size() for node in model.get_ops() if node.get_type_name() == "Constant")
    return Engine(run, size, own_threads=True)
