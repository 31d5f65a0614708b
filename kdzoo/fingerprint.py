"""Fingerprints of what a person hands over in Python: equal ones for what would do the same.

A function is its source, its defaults, what it closes over and what it refers to; a class is its
source and its bases; a module is its classes, settings, shapes and values. What belongs to Python,
torch, timm or kdzoo is known by its name alone.
"""

import dis
import functools
import hashlib
import inspect
import json
import re
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn

KNOWN = frozenset({"kdzoo", "numpy", "timm", "torch", "torchvision"}) | sys.stdlib_module_names
"""Packages whose code is known by its name."""
PLAIN = (str, bytes, int, float, complex, Path, np.generic, torch.dtype, torch.device, type(None))


def digest_of(value: Any) -> str:
    """Sixteen hexadecimal digits that stand for a value that JSON can hold."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def fingerprint(*things: Any) -> str:
    """What stands for functions, classes, modules or values of any kind."""
    return digest_of(_Describer()(things))


def pattern_fingerprint(network: nn.Module) -> str:
    """What stands for a module but for the values of its weights, which are drawn again."""
    return digest_of(_Describer().module(network, values=False))


def is_known(thing: Any) -> bool:
    """Whether its code is Python's, torch's, timm's or kdzoo's."""
    return (getattr(thing, "__module__", None) or "builtins").partition(".")[0] in KNOWN


def content(array: np.ndarray | torch.Tensor) -> str:
    """A digest of an array's type, shape and bytes."""
    form = f"{array.dtype} {list(array.shape)}"
    if isinstance(array, torch.Tensor):
        array = array.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
    return hashlib.sha256(form.encode() + np.ascontiguousarray(array).tobytes()).hexdigest()[:16]


class _Describer:
    """Nested lists of text that stand for things; what comes again is named by its number."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[int, Any]] = {}  # holding a thing keeps its id its own

    def __call__(self, thing: Any) -> Any:
        if isinstance(thing, PLAIN):
            return [type(thing).__name__, repr(thing)]
        if id(thing) in self._seen:
            return ["again", self._seen[id(thing)][0]]
        self._seen[id(thing)] = len(self._seen), thing
        match thing:
            case torch.Tensor() | np.ndarray():
                return ["array", list(thing.shape), content(thing)]
            case Mapping():
                return ["mapping", [[self(key), self(value)] for key, value in thing.items()]]
            case list() | tuple():
                return ["sequence", [self(one) for one in thing]]
            case set() | frozenset():
                return ["set", sorted(json.dumps(self(one)) for one in thing)]
            case functools.partial():
                return ["partial", self(thing.func), self(thing.args), self(thing.keywords)]
            case MethodType():
                return ["method", self(thing.__func__), self(thing.__self__)]
            case FunctionType():
                return self._function(thing)
            case type():
                return self._class(thing)
            case nn.Module():
                return self.module(thing, values=True)
            case ModuleType():
                return ["python module", thing.__name__]
        if is_known(type(thing)):  # a wrapped C function, a random generator, ...
            return [_name(type(thing)), _without_addresses(repr(thing))]
        return ["object", self(type(thing)), self(getattr(thing, "__dict__", {}))]

    def module(self, network: nn.Module, values: bool) -> Any:
        parts = list(network.named_modules())
        classes = {type(part): None for _, part in parts}
        settings = [
            [name, key, self(value)]
            for name, part in parts
            if not is_known(type(part))
            for key, value in vars(part).items()
            if key[0] != "_" and key != "training" and (values or not _is_state(value))
        ]
        state = {
            name: content(tensor) if values else _shape(tensor)
            for name, tensor in [*network.named_parameters(), *network.named_buffers()]
        }
        shown = _without_addresses(repr(network))
        return ["module", shown, state, settings, [self(one) for one in classes]]

    def _function(self, function: FunctionType) -> Any:
        if is_known(function):
            return ["function", _name(function)]
        cells = [cell.cell_contents for cell in function.__closure__ or () if _is_filled(cell)]
        return [
            "function",
            function.__qualname__,
            _source(function),
            self(function.__defaults__),
            self(function.__kwdefaults__),
            self(cells),
            self._referred(function),
        ]

    def _class(self, cls: type) -> Any:
        if is_known(cls):
            return ["class", _name(cls)]
        functions = [
            self._function(function)
            for value in vars(cls).values()
            for function in _functions_of(value)
        ]
        return ["class", cls.__qualname__, _source(cls), functions, [*map(self, cls.__bases__)]]

    def _referred(self, function: FunctionType) -> Any:
        """The functions, classes and plain values of a person's own files that it refers to."""
        if _is_installed(function):
            return []
        code = function.__code__
        found = {name: function.__globals__.get(name) for name in sorted(_globals_of(code))}
        attributes = sorted({name for one in _codes(code) for name in one.co_names})
        for module in [one for one in found.values() if isinstance(one, ModuleType)]:
            if module.__name__.partition(".")[0] not in KNOWN:
                found |= {f".{name}": getattr(module, name, None) for name in attributes}
        return [[name, self(value)] for name, value in found.items() if _is_code_or_plain(value)]


def _globals_of(code: CodeType) -> set[str]:
    """The names of globals that code, with the code inside it, looks up."""
    return {
        str(step.argval)
        for one in _codes(code)
        for step in dis.get_instructions(one)
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")
    }


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _source(thing: FunctionType | type) -> Any:
    """The text, or where there is none, as in an interpreter's prompt, what it was compiled to."""
    code = getattr(thing, "__code__", None)
    try:
        text = textwrap.dedent(inspect.getsource(thing))
    except (OSError, TypeError, SyntaxError):
        return [_compiled(one) for one in _codes(code)] if code else None
    # several lambdas may share a line
    return [text, _compiled(code)] if code and code.co_name == "<lambda>" else text


def _compiled(code: CodeType) -> list[str]:
    constants = [repr(one) for one in code.co_consts if not isinstance(one, CodeType)]
    return [code.co_code.hex(), *constants, *code.co_names]


def _functions_of(value: Any) -> list[FunctionType]:
    """The functions behind a class's attribute."""
    if isinstance(value, property):
        candidates = [value.fget, value.fset]
    elif isinstance(value, functools.cached_property):
        candidates = [value.func]
    else:
        candidates = [getattr(value, "__func__", value)]
    return [inspect.unwrap(one) for one in candidates if isinstance(one, FunctionType)]


def _is_code_or_plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(_is_code_or_plain(one) for pair in value.items() for one in pair)
    if isinstance(value, list | tuple | set | frozenset):
        return all(map(_is_code_or_plain, value))
    if value is None or isinstance(value, ModuleType):
        return False
    return isinstance(value, (*PLAIN, FunctionType, type, functools.partial))


def _is_state(value: Any) -> bool:
    return isinstance(value, torch.Tensor | np.ndarray)


def _is_filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True


def _is_installed(function: FunctionType) -> bool:
    """Whether it came with a package, whose own files are taken as they are."""
    return bool({"site-packages", "dist-packages"} & set(Path(function.__code__.co_filename).parts))


def _shape(tensor: torch.Tensor) -> str:
    return f"{list(tensor.shape)} {tensor.dtype}"


def _name(thing: Callable[..., Any]) -> str:
    return f"{thing.__module__}.{thing.__qualname__}"


def _without_addresses(text: str) -> str:
    return re.sub(r" at 0x[0-9a-fA-F]+", "", text)
