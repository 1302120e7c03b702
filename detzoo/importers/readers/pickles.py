"""A reader of pickles that cannot run anything: each opcode stores data, and those that would not are unknown to it.

Read are the opcodes of protocols 2 to 5 that name globals, call them and fill containers; every global and every call
ends as a record (see `makers`). Unknown are the extension registry (EXT), instances and persistent ids in text (INST,
OBJ, PERSID), buffers from outside, and the text opcodes of protocol 0, which torch.save never writes.

Source: the opcodes as documented in Python's pickletools.
"""

import struct
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from .inert import Array, DataType, Global, Inert, Storage, TensorRecord
from .makers import admit, call, counts, is_known, put, storage
from .source import AGAIN, Source

_SIMPLE: dict[bytes, Callable[[], Any]] = {
    b"N": lambda: None,
    b"\x88": lambda: True,
    b"\x89": lambda: False,
    b")": tuple,
    b"]": list,
    b"}": dict,
    b"\x8f": list,  # a set
}
_NUMBERS = {b"J": "<i", b"K": "<B", b"M": "<H", b"G": ">d"}
# Opcodes with a length before their content: the form of the length, and what the content is.
_SIZED = {
    b"X": ("<I", "text"),
    b"\x8c": ("<B", "text"),
    b"\x8d": ("<Q", "text"),
    b"T": ("<i", "old text"),
    b"U": ("<B", "old text"),
    b"B": ("<I", "bytes"),
    b"C": ("<B", "bytes"),
    b"\x8e": ("<Q", "bytes"),
    b"\x96": ("<Q", "bytes"),
    b"\x8a": ("<B", "number"),
    b"\x8b": ("<i", "number"),
}
_DECODE: dict[str, Callable[[bytes], Any]] = {
    "text": lambda raw: raw.decode("utf-8", "surrogatepass"),
    "old text": lambda raw: raw.decode("latin-1"),  # what Python 2 called a str; also raw bytes of arrays
    "bytes": lambda raw: raw,
    "number": lambda raw: int.from_bytes(raw, "little", signed=True),
}
_MARK = object()
_GET = {b"h": "<B", b"j": "<I"}
_PUT = {b"q": "<B", b"r": "<I"}
_SKIP = {b"\x80": 1, b"\x95": 8}  # the protocol's number, the length of a frame


class Unpickler:
    """Reads one pickle after the other from a part of a file.

    Attributes:
        position: in the file, of what comes next.
        storages: by key, those that were asked for.
        inert: the names of classes and functions that were asked for, and that records stand for.
    """

    def __init__(self, source: Source, start: int, end: int) -> None:
        self.source, self.position, self.end = source, start, end
        self.storages: dict[str, Storage] = {}
        self.inert: set[str] = set()

    def load(self) -> Any:
        """The content of the pickle that begins here.

        Raises:
            ValueError: for a pickle that breaks off, makes no sense, or asks for what no checkpoint needs.
        """
        self.begin, self.copied = self.position, 0
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        try:
            while (opcode := self._read(1)) != b".":
                self._step(opcode)
            return self._pop()
        except (IndexError, KeyError, TypeError, AttributeError, struct.error, UnicodeError, OverflowError) as error:
            raise ValueError(
                f"the pickle at byte {self.begin} makes no sense at byte {self.position} "
                f"({type(error).__name__}: {error}): {AGAIN}"
            ) from error

    def _step(self, opcode: bytes) -> None:
        if opcode in _SIMPLE:
            self.stack.append(_SIMPLE[opcode]())
        elif opcode in _NUMBERS:
            self.stack.append(self._number(_NUMBERS[opcode]))
        elif opcode in _SIZED:
            form, kind = _SIZED[opcode]
            self.stack.append(_DECODE[kind](self._read(self._number(form))))
        elif opcode in _GET:
            self.stack.append(self.memo[self._number(_GET[opcode])])
        elif opcode in _PUT:
            self.memo[self._number(_PUT[opcode])] = self._top()
        elif opcode in _SKIP:
            self._read(_SKIP[opcode])
        elif opcode in _ACTIONS:
            _ACTIONS[opcode](self)
        else:
            raise ValueError(f"an opcode {opcode!r} at byte {self.position - 1} that no checkpoint needs: {AGAIN}")

    def _read(self, size: int) -> bytes:
        if size < 0 or self.position + size > self.end:
            raise ValueError(
                f"its pickle claims {size} bytes at {self.position}, {self.end - self.position} are left: {AGAIN}"
            )
        self.position += size
        return self.source.bytes[self.position - size : self.position]

    def _number(self, form: str) -> Any:
        return struct.unpack(form, self._read(struct.calcsize(form)))[0]

    def _line(self) -> str:
        stop = self.source.bytes.find(b"\n", self.position, self.end)
        line = self._read((self.end if stop < 0 else stop) - self.position)
        self._read(1)
        return line.decode()

    def _top(self) -> Any:
        if self.stack[-1] is _MARK:
            raise IndexError("a mark in place of a value")
        return self.stack[-1]

    def _pop(self) -> Any:
        self._top()
        return self.stack.pop()

    def _since_mark(self) -> list[Any]:
        start = len(self.stack) - 1
        while self.stack[start] is not _MARK:
            start -= 1
            if start < 0:
                raise IndexError("no mark")
        values = self.stack[start + 1 :]
        del self.stack[start:]
        return values

    def _mark(self) -> None:
        self.stack.append(_MARK)

    def _drop(self) -> None:
        self.stack.pop()

    def _memoize(self) -> None:
        self.memo[len(self.memo)] = self._top()

    def _tuple(self, count: int) -> None:
        values = tuple(self._pop() for _ in range(count))[::-1]
        self.stack.append(values)

    def _name(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise ValueError("it asks for a class without a name")
        found = admit(module, name)
        if not is_known(found):
            self.inert.add(found.name)
        self.stack.append(found)

    def _global(self) -> None:
        module = self._line()
        self._name(module, self._line())

    def _stack_global(self) -> None:
        name = self._pop()
        self._name(self._pop(), name)

    def _call(self) -> None:
        args, function = self._pop(), self._pop()
        if not isinstance(function, Global) or not isinstance(args, tuple):
            raise ValueError(f"it calls {type(function).__name__}, which is nothing that can be called")
        self.copied += sum(len(arg) for arg in args if isinstance(arg, dict | list | tuple | str | bytes))
        if self.copied > 10_000 + self.position - self.begin:  # the same thing again and again
            raise ValueError("its pickle copies more than it holds: expected a dict of names and tensors")
        self.stack.append(call(function, args))

    def _call_with_options(self) -> None:
        options, args = self._pop(), self._pop()
        self.stack.append((*args, options))
        self._call()

    def _build(self) -> None:
        """Give an object its state; parameters' and containers' attributes are dropped."""
        state, target = self._pop(), self._top()
        if isinstance(target, Inert):
            target.state = state
        elif isinstance(target, Array):
            _, shape, target.dtype, target.fortran, target.raw = state
            target.shape = counts(shape)
        elif isinstance(target, DataType):
            target.order = str(state[1])
        elif not isinstance(target, dict | TensorRecord):
            raise ValueError(f"it gives a state to {type(target).__name__}")

    def _extend(self, values: list[Any]) -> None:
        target = self._top()
        if not isinstance(target, list | Inert):
            raise ValueError(f"it appends to {type(target).__name__}")
        (target.values if isinstance(target, Inert) else target).extend(values)

    def _set_items(self, values: list[Any]) -> None:
        target = self._top()
        if not isinstance(target, dict | Inert) or len(values) % 2:
            raise ValueError(f"it sets items of {type(target).__name__}")
        items = target.items if isinstance(target, Inert) else target
        for key, value in zip(values[::2], values[1::2]):
            put(items, key, value)

    def _persistent(self) -> None:
        record = self._pop()
        if isinstance(record, tuple) and len(record) == 4 and record[0] == "module":
            self.stack.append(record[1])  # a class, with its source, which is of no interest
            return
        if not isinstance(record, tuple):
            raise ValueError("a persistent id that is no storage of torch")
        found = storage(record)
        whole = replace(found, first=0, count=found.total)
        if self.storages.setdefault(found.key, whole) != whole:
            raise ValueError(f"storage {found.key!r} is asked for in two sizes or types: {AGAIN}")
        self.stack.append(found)


_ACTIONS: dict[bytes, Callable[[Unpickler], None]] = {
    b"(": Unpickler._mark,
    b"0": Unpickler._drop,
    b"1": lambda vm: vm._since_mark() and None,
    b"2": lambda vm: vm.stack.append(vm._top()),
    b"\x94": Unpickler._memoize,
    b"t": lambda vm: vm.stack.append(tuple(vm._since_mark())),
    b"\x85": lambda vm: vm._tuple(1),
    b"\x86": lambda vm: vm._tuple(2),
    b"\x87": lambda vm: vm._tuple(3),
    b"\x91": lambda vm: vm.stack.append(vm._since_mark()),  # a frozenset
    b"c": Unpickler._global,
    b"\x93": Unpickler._stack_global,
    b"R": Unpickler._call,
    b"\x81": Unpickler._call,
    b"\x92": Unpickler._call_with_options,
    b"b": Unpickler._build,
    b"a": lambda vm: vm._extend([vm._pop()]),
    b"e": lambda vm: vm._extend(vm._since_mark()),
    b"\x90": lambda vm: vm._extend(vm._since_mark()),
    b"s": lambda vm: vm._set_items([vm._pop(), vm._pop()][::-1]),
    b"u": lambda vm: vm._set_items(vm._since_mark()),
    b"Q": Unpickler._persistent,
}
