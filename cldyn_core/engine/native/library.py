"""The compiled library: where it is, and its functions."""

from __future__ import annotations

import ctypes
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

_NAME = "_cldyn"
_POINTER, _INT, _SIZE = ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t
_FUNCTIONS: dict[str, list[Any]] = {
    "cldyn_vfn_new": [_POINTER, _SIZE, _INT, _INT, ctypes.POINTER(ctypes.c_void_p)],
    "cldyn_vfn_encode": [_POINTER, _POINTER, _POINTER, _INT, _INT],
    "cldyn_vfn_encoded": [_POINTER, _INT, _POINTER],
    "cldyn_vfn_finish": [_POINTER, _INT, _POINTER, _POINTER, _POINTER],
    "cldyn_description_new": [_POINTER, _SIZE, _INT, ctypes.POINTER(ctypes.c_void_p)],
    "cldyn_describe": [_POINTER, _POINTER, _INT, _INT, _INT, _POINTER],
    "cldyn_luma": [_POINTER, _SIZE, _INT, _POINTER],
    "cldyn_recolor": [_POINTER, _POINTER, _SIZE, _INT, _POINTER],
    "cldyn_to_bytes": [_POINTER, _SIZE, _INT, _POINTER],
}
_INSTRUCTIONS = {16: "AVX-512", 8: "AVX2"}


@cache
def library_path() -> Path | None:
    """The library beside this file; None where it was not built."""
    candidates = (Path(__file__).parent / f"{_NAME}{suffix}" for suffix in EXTENSION_SUFFIXES)
    return next((path for path in candidates if path.is_file()), None)


@cache
def load() -> ctypes.CDLL:
    """The library. Raises OSError where there is none, or one that does not load."""
    path = library_path()
    if path is None:
        raise OSError("the C++ engine was not built. Remedy: install g++, then `pip install` the package again")
    library = ctypes.CDLL(str(path))
    for name, arguments in _FUNCTIONS.items():
        function = getattr(library, name)
        function.argtypes, function.restype = arguments, ctypes.c_int
    for name in ("cldyn_vfn_delete", "cldyn_description_delete"):
        getattr(library, name).argtypes, getattr(library, name).restype = [_POINTER], None
    return library


def call(name: str, *arguments: Any) -> None:
    """One function; tensors are passed as pointers. Raises MemoryError."""
    converted = [a.data_ptr() if isinstance(a, Tensor) else a for a in arguments]
    if getattr(load(), name)(*converted):
        raise MemoryError(f"the C++ engine ran out of memory ({name})")


def create(name: str, weights: Tensor, *arguments: Any) -> int:
    """An object of the library's, made from its weights (float32, which it copies)."""
    made = ctypes.c_void_p()
    call(name, weights, weights.numel(), *arguments, ctypes.byref(made))
    assert made.value is not None, "a function that succeeds makes something"
    return made.value


def instructions() -> str:
    """The vector instructions that it uses here."""
    return _INSTRUCTIONS.get(load().cldyn_lanes(), "baseline instructions")


def floats(*parts: Tensor) -> Tensor:
    """Weights one after the other, contiguous float32 on the CPU."""
    return torch.cat([part.detach().float().cpu().flatten() for part in parts])
