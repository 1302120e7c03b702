"""Engines that run a detector's network: the same detections, sooner."""

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from threading import Lock
from typing import NamedTuple

import torch
from torch import Tensor

from ..components.preprocess import Images
from ..lookup import suggest
from ..models import SSD
from ..packages import package
from ..structures import Detection, Predictions
from .engines import Engine, Network, run_compiled, run_cuda_graphs, run_eager, run_onnxruntime, run_openvino
from .levels import Decoded, check_detects_by_parts


class Backend(NamedTuple):
    """What runs networks: the type that a network is in for each precision, the devices, and the packages it needs by
    the extra of detzoo that brings them.
    """

    start: Callable[[Network], Engine]
    precisions: Mapping[str, torch.dtype]
    devices: tuple[str, ...] = ("cpu",)
    packages: Mapping[str, str] = {}


_FLOATS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_TOLD = {"float32": torch.float32, "bfloat16": torch.float32, "int8": torch.float32}  # it converts by itself
BACKENDS = {
    "eager": Backend(run_eager, _FLOATS, ("cpu", "cuda")),
    "compiled": Backend(run_compiled, _FLOATS, ("cpu", "cuda")),
    "cudagraphs": Backend(run_cuda_graphs, _FLOATS, ("cuda",)),
    "onnxruntime": Backend(
        run_onnxruntime,
        {"float32": torch.float32},
        packages={"onnx": "onnx", "onnxscript": "onnx", "onnxruntime": "onnx"},
    ),
    "openvino": Backend(run_openvino, _TOLD, packages={"openvino": "openvino"}),
}


class Accelerated(SSD):
    """A detector whose network, boxes and scores are computed in another engine; pixels and suppression stay its own.

    It is not trained: what the engine computes is what the network was. That one is here as it was given, for those who
    want to know what it is; pixels and suppression are copies, on the engine's device.

    Args:
        model: whose parts these are.
        engine: normalised images to boxes and scores.
        device: where the engine is.
        levels: how many of the default boxes each feature map has.
    """

    def __init__(self, model: SSD, engine: Engine, device: torch.device, levels: tuple[int, ...]) -> None:
        around = {
            name: copy.deepcopy(getattr(model, name)).eval().to(device, torch.float32)
            for name in ("matcher", "coder", "loss", "preprocess", "postprocess")
        }
        network = {name: getattr(model, name) for name in ("backbone", "neck", "default_boxes", "head")}
        super().__init__(**network, **around, categories=model.categories)
        self.engine, self.levels = engine, levels
        self.size = tuple(model.preprocess.size)  # default boxes were computed for it
        self.training = False

    gives_losses = False

    def _apply(self, function: Callable[[Tensor], Tensor], recurse: bool = True) -> "Accelerated":
        """Nothing: `to`, `half` and the like would change the network it was made from, and not the engine.

        Raises:
            ValueError: always.
        """
        raise ValueError("a network in another engine stays where and as it is: accelerate(model, device=...) anew")

    def train(self, mode: bool = True) -> "Accelerated":
        """Nothing, for False; the network is somebody else's.

        Raises:
            ValueError: for True.
        """
        if mode:
            raise ValueError("a network in another engine cannot be trained: train the model that it was made from")
        return self

    @torch.no_grad()
    def detect(self, images: Images) -> list[Detection]:
        """See `SSD.detect`."""
        with _ONE_THREAD if self.engine.own_threads else nullcontext():
            batch = self.preprocess(images)
            if tuple(batch.shape[-2:]) != self.size:
                raise ValueError(
                    f"this network was made ready for {_pixels(self.size)}, and its preprocessing gave "
                    f"{_pixels(batch.shape[-2:])}"
                )
            boxes, scores = self.engine.run(batch)
            found = self.postprocess(scores, boxes, tuple(batch.shape[-2:]), self.levels)
            return self.preprocess.undo(found, images)

    def predict(self, batch: Tensor) -> Predictions:
        """Nothing: an engine gives boxes and scores.

        Raises:
            ValueError: always.
        """
        raise ValueError(
            "a network in another engine gives boxes and scores, no logits: call detect, or predict of the model that "
            "it was made from"
        )


class _OneThread:
    """PyTorch in this thread without others, see `Engine.own_threads`.

    Their number is the process's: where several are inside, each puts back what the first one found.
    """

    def __init__(self) -> None:
        self.lock, self.inside, self.threads = Lock(), 0, 1

    def __enter__(self) -> None:
        with self.lock:
            if self.inside == 0:
                self.threads = torch.get_num_threads()
            self.inside += 1
            torch.set_num_threads(1)

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.inside -= 1
            torch.set_num_threads(self.threads)


_ONE_THREAD = _OneThread()


def _pixels(size: Sequence[int]) -> str:
    return f"{size[0]}x{size[1]} pixels"


def accelerate(
    model: SSD,
    backend: str = "openvino",
    precision: str = "float32",
    *,
    device: torch.device | str = "cpu",
    calibration: Iterable[Tensor] | None = None,
) -> Accelerated:
    """A detector whose network runs in another engine.

    Args:
        model: stays as it is.
        backend: a name in `BACKENDS`.
        precision: of those of the backend.
        device: on which it runs.
        calibration: images [3, H, W] like those to come, some hundred of them: int8 chooses its steps by what the
            network makes of these.

    Raises:
        ValueError: for an unknown backend, a precision or device it does not have, a package that is not installed,
            int8 without images, and a model that detects in a way of its own.
    """
    device = torch.device(device)
    check_detects_by_parts(model)
    chosen = _choose(backend, precision, device, calibrated=calibration is not None)
    whole = copy.deepcopy(model).eval().to("cpu", torch.float32)
    batches = None if calibration is None else (whole.preprocess([image.cpu()]) for image in calibration)
    module = Decoded(whole, "tensor", chosen.precisions[precision]).eval().to(device)
    engine = chosen.start(Network(module, tuple(model.preprocess.size), precision, batches))
    return Accelerated(model, engine, device, module.level_sizes)


def _choose(name: str, precision: str, device: torch.device, calibrated: bool) -> Backend:
    if name not in BACKENDS:
        raise ValueError(f"unknown backend {name!r}: {suggest(name, BACKENDS)}")
    backend = BACKENDS[name]
    if precision not in backend.precisions:
        elsewhere = [other for other, its in BACKENDS.items() if precision in its.precisions]
        hint = f"; {precision} is one of {', '.join(elsewhere)}" if elsewhere else ""
        raise ValueError(f"backend {name} computes in {', '.join(backend.precisions)}, not in {precision!r}{hint}")
    if device.type not in backend.devices:
        raise ValueError(f"backend {name} runs on {' or '.join(backend.devices)}, not on {device}")
    if calibrated and precision != "int8":
        raise ValueError(f"images to calibrate on are for int8, and the precision is {precision}")
    if precision == "int8" and not calibrated:
        raise ValueError(
            "int8 is calibrated on images like those to come: pass some hundred (calibration=, --calibration)"
        )
    for module, extra in {**backend.packages, **({"nncf": "int8"} if precision == "int8" else {})}.items():
        package(module, extra)
    return backend
