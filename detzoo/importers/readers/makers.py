"""What a pickle asks for, and what it gets: records. None of the classes and functions that it names is ever looked up.

Every name in a pickle is a `Global`, which is text. Calling one makes an `Inert` record, but for the few that tensors,
arrays and plain containers are made of: these are in `MAKERS`, which are functions of this module that only store their
arguments. A name that no checkpoint needs and that payloads are made of (`os.system`, `builtins.eval`, `torch.load`,
...) refuses the file, so that it is noticed; it would be just as inert.
"""

import re
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from .inert import Array, DataType, Global, Inert, Storage, TensorRecord
from .source import AGAIN

STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "UntypedStorage": torch.uint8,
}
DTYPES = {
    f"torch.{name}": getattr(torch, name)
    for name in ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")
}
LONGEST_NAME = 300  # characters
OLD_NAMES = {"__builtin__": "builtins", "copy_reg": "copyreg"}  # of modules, in the pickles of Python 2
# Of the standard library and torch, what stands in honest checkpoints: classes of data, modules, optimisers. The rest
# of them refuses the file. Names of other packages are unknown, and inert as well.
HARMLESS = re.compile(
    r"builtins\.(object|int|float|str|bool|bytes|range|slice|bytearray|complex)"
    r"|argparse\.Namespace|types\.SimpleNamespace|pathlib\.\w+|datetime\.\w+|collections\.\w+|enum\.\w+|uuid\.UUID"
    r"|decimal\.Decimal|fractions\.Fraction|copyreg\._reconstructor"
    r"|numpy\.(float|int|uint|bool|str|bytes)\w*|numpy\.dtypes\.\w+"
    r"|torch\.(nn|optim|amp|cuda\.amp|torch_version|backends\.cudnn|distributed\.fsdp)\.[\w.]+"
    r"|torch\.(device|layout|memory_format|strided|contiguous_format|preserve_format|channels_last)"
)
GUARDED = {*sys.stdlib_module_names, "torch", "numpy", "commands", "cPickle", "dill", "cloudpickle", "joblib"}


def admit(module: str, name: str) -> Global:
    """The global of this name.

    Raises:
        ValueError: for one that payloads are made of.
    """
    found = Global(f"{OLD_NAMES.get(module, module)}.{name}")
    if len(found.name) > LONGEST_NAME:
        raise ValueError(f"it asks for a class with a name of {len(found.name)} characters: {AGAIN}")
    if not is_known(found) and found.name.split(".")[0] in GUARDED and not HARMLESS.fullmatch(found.name):
        raise ValueError(
            f"it asks for {found.name!r}, which no weights need: it may be a payload. Nothing of it was run. Expected "
            "tensors, containers, modules; take the file from its origin, or have its maker save the state dict only"
        )
    return found


def is_known(found: Global) -> bool:
    """Whether this is one of the names that tensors and plain containers are made of."""
    return found.name in MAKERS or found.name in DTYPES or _storage_dtype(found) is not None


def call(function: Global, args: tuple[Any, ...]) -> Any:
    """What takes the place of what `function(*args)` would have given."""
    make = MAKERS.get(function.name)
    return Inert(function.name, args) if make is None else make(*args)


def storage(record: tuple[Any, ...]) -> Storage:
    """The storage that a persistent id stands for: ("storage", type, key, place, count), at times (key, first, n)."""
    if not 5 <= len(record) <= 6 or record[0] != "storage" or not isinstance(record[1], Global):
        raise ValueError("a persistent id that is no storage of torch")
    dtype, key, total = _storage_dtype(record[1]), record[2], _count(record[4])
    if dtype is None or not isinstance(key, str):
        raise ValueError(f"a storage of type {record[1].name}, which holds no plain numbers")
    view = record[5] if len(record) == 6 else None
    first, count = (0, total) if view is None else (_count(view[1]), _count(view[2]))
    if first + count > total:
        raise ValueError(f"a part of storage {key!r} that reaches to {first + count} of {total} numbers")
    return Storage(dtype, key, total, first, count)


def _storage_dtype(name: Global) -> torch.dtype | None:
    """Of `torch.FloatStorage`, `torch.cuda.FloatStorage`, `torch.storage.UntypedStorage`."""
    package, _, kind = name.name.rpartition(".")
    return STORAGES.get(kind) if package in ("torch", "torch.cuda", "torch.storage") else None


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**63:
        raise ValueError(f"{type(value).__name__} that is no count, where one was expected: {AGAIN}")
    return value


def counts(values: Any) -> tuple[int, ...]:
    """A shape or strides, if they are such."""
    if not isinstance(values, tuple | list):
        raise ValueError(f"{type(values).__name__} where a shape was expected")
    return tuple(_count(value) for value in values)


def _tensor(held: Any, offset: Any, size: Any, stride: Any, *flags: Any) -> TensorRecord:
    """torch._utils._rebuild_tensor and _v2: the flags are requires_grad, hooks, and metadata that must be empty."""
    if not isinstance(held, Storage) or len(flags) > 3 or (len(flags) == 3 and flags[2]):
        raise ValueError("a tensor of a kind that holds no plain numbers")
    size, stride = counts(size), counts(stride)
    if len(size) != len(stride):
        raise ValueError(f"a tensor of shape {size} with the strides {stride}")
    return TensorRecord(held, _count(offset), size, stride)


def _tensor_v3(held: Any, offset: Any, size: Any, stride: Any, grad: Any, hooks: Any, dtype: Any, *rest: Any) -> Any:
    """torch._utils._rebuild_tensor_v3: the storage is of bytes, the type said apart."""
    if not isinstance(held, Storage) or not isinstance(dtype, Global) or dtype.name not in DTYPES:
        raise ValueError("a tensor of an unknown type")
    own = DTYPES[dtype.name]
    sizes = [number * held.dtype.itemsize // own.itemsize for number in (held.total, held.first, held.count)]
    return _tensor(Storage(own, held.key, *sizes), offset, size, stride, grad, hooks, *rest)


def _first(held: Any = None, *_: Any) -> Any:
    """A parameter or variable is its tensor."""
    return held


def _from_type(function: Any, _kind: Any, args: Any, _state: Any) -> Any:
    """torch._tensor._rebuild_from_type_v2: a tensor with attributes of its own."""
    if not isinstance(function, Global) or function.name not in MAKERS:
        raise ValueError("a tensor of a class of its own")
    return MAKERS[function.name](*args)


def _dict(pairs: Any = (), *_: Any) -> dict[Any, Any]:
    """OrderedDict from nothing, a list of pairs or a dict; defaultdict from the global that makes its values."""
    if isinstance(pairs, dict):
        return dict(pairs)
    found: dict[Any, Any] = {}
    for pair in pairs if isinstance(pairs, list) else ():
        put(found, pair[0], pair[1])
    return found


def _list(values: Any = (), *_: Any) -> list[Any]:
    """Sets become lists as well: nothing of a file is hashed that may be nested without end."""
    return values if isinstance(values, list) else []


def _tuple(values: Any = (), *_: Any) -> tuple[Any, ...]:
    return values if isinstance(values, tuple) else ()


def _encoded(value: Any = "", encoding: Any = "latin1") -> bytes:
    """_codecs.encode, by which Python 3 writes bytes in protocol 2."""
    if not isinstance(value, str) or encoding not in ("latin1", "latin-1"):
        raise ValueError("text in another encoding than latin1")
    return value.encode("latin-1")


def _attribute(owner: Any, name: Any) -> Global | Inert:
    """getattr, by which protocol 2 names what stands within a class (mmengine's buffers hold such methods)."""
    if isinstance(owner, Global) and isinstance(name, str):
        return admit(owner.name, name)
    return Inert("builtins.getattr", (owner, name))


def _datatype(code: Any, *_: Any) -> DataType:
    if not isinstance(code, str):
        raise ValueError("a NumPy dtype without a code")
    return DataType(code)


def _scalar(kind: Any, raw: Any = b"", *_: Any) -> Any:
    """A NumPy number, as Python's."""
    values = numpy_values(kind, raw)
    if len(values) != 1:
        raise ValueError(f"a NumPy number of {len(values)} values")
    return values[0].item()


def numpy_values(kind: Any, raw: Any) -> np.ndarray:
    """The numbers in the bytes of a NumPy array."""
    raw = raw.encode("latin-1") if isinstance(raw, str) else raw  # pickled by Python 2
    if not isinstance(kind, DataType) or not isinstance(raw, bytes | bytearray):
        raise ValueError("a NumPy array of objects")
    return np.frombuffer(raw, kind.numpy())


def put(target: dict[Any, Any], key: Any, value: Any) -> None:
    """Set an item. Keys that may be nested are not hashed: the item gets the number of items as its key."""
    plain = isinstance(key, str | int | float | bytes | None)
    target[key if plain else str(len(target))] = value


MAKERS: dict[str, Callable[..., Any]] = {
    "builtins.getattr": _attribute,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_v3,
    "torch._utils._rebuild_parameter": _first,
    "torch._utils._rebuild_parameter_with_state": _first,
    "torch._tensor._rebuild_from_type_v2": _from_type,
    "torch.nn.parameter.Parameter": _first,
    "torch.nn.parameter.Buffer": _first,
    "torch.autograd.variable.Variable": _first,
    "torch.Size": _tuple,
    "torch.serialization._get_layout": _first,
    "collections.OrderedDict": _dict,
    "collections.defaultdict": _dict,
    "collections.Counter": _dict,
    "builtins.dict": _dict,
    "builtins.set": _list,
    "builtins.frozenset": _list,
    "builtins.list": _list,
    "builtins.tuple": _tuple,
    "_codecs.encode": _encoded,
    "numpy.dtype": _datatype,
    "numpy.ndarray": lambda *_: Array(),
}
for _core in ("numpy.core.multiarray", "numpy._core.multiarray"):
    MAKERS[f"{_core}._reconstruct"] = lambda *_: Array()
    MAKERS[f"{_core}.scalar"] = _scalar
