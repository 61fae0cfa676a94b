"""CUDA C++ to a kernel that runs: NVRTC for the device at hand, a cache on disk, and a cooperative launch."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import tempfile
from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from platformdirs import user_cache_path

from musicgen_bridge.errors import InternalError


@cache
def available(device: torch.device) -> bool:
    """Whether kernels can be compiled for the device and run: CUDA, Ampere or later, with NVIDIA's bindings."""
    if device.type != "cuda" or torch.version.hip or torch.cuda.get_device_capability(device) < (8, 0):
        return False
    try:
        from cuda.bindings import driver, nvrtc  # noqa: F401
    except ImportError:
        return False
    major, minor = torch.cuda.get_device_capability(device)
    known: list[int] = _checked(nvrtc.nvrtcGetSupportedArchs())
    return 10 * major + minor in known


def architecture(device: torch.device) -> str:
    """Return what NVRTC calls the device, with all that it has, such as "sm_86" or "sm_90a"."""
    major, minor = torch.cuda.get_device_capability(device)
    return f"sm_{major}{minor}{'a' if major in (9, 10) else ''}"


class Kernel:
    """A kernel of one device, launched with all of its blocks at once."""

    def __init__(self, binary: bytes, name: str, device: torch.device, blocks: int, threads: int, shared: int) -> None:
        """`binary` is for the device's architecture; `shared` are the bytes of a block's dynamic shared memory."""
        from cuda.bindings import driver

        self._driver = driver
        self._blocks = blocks
        self._threads = threads
        self._shared = shared
        self._device = device
        largest = driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
        with torch.cuda.device(device):  # the driver takes the context of the device that is current
            torch.cuda.synchronize()  # there is one now
            self._module = _checked(driver.cuModuleLoadData(binary))
            self._function = _checked(driver.cuModuleGetFunction(self._module, name.encode()))
            _checked(driver.cuFuncSetAttribute(self._function, largest, shared))

    def __call__(self, parameters: ctypes.Structure) -> None:
        """Launch it on the current stream with one parameter, a struct that is copied. Raises InternalError."""
        pointers = (ctypes.c_void_p * 1)(ctypes.addressof(parameters))
        stream = torch.cuda.current_stream(self._device).cuda_stream
        grid, block = (self._blocks, 1, 1), (self._threads, 1, 1)
        launch = self._driver.cuLaunchCooperativeKernel
        with torch.cuda.device(self._device):
            _checked(launch(self._function, *grid, *block, self._shared, stream, ctypes.addressof(pointers)))


def compiled(source: str, constants: Mapping[str, int], architecture: str) -> bytes:
    """Return the machine code of a `.cu` file beside this one, with `constants` defined; from the cache if it is there.

    For an architecture of PTX, such as "compute_80", it is that, of which the driver makes machine code. Raises
    InternalError, with the compiler's words, where it does not compile.
    """
    from cuda.bindings import nvrtc

    folder = resources.files(__package__)
    headers = {file.name: file.read_text("utf-8") for file in folder.iterdir() if file.name.endswith(".cuh")}
    text = folder.joinpath(source).read_text("utf-8")
    options = [f"--gpu-architecture={architecture}", "--std=c++17", "-default-device"]
    options += [f"-D{name}={value}" for name, value in constants.items()]
    version = _checked(nvrtc.nvrtcVersion())
    key = hashlib.sha256("\0".join([text, *sorted(headers.values()), *options, str(version)]).encode()).hexdigest()
    path = user_cache_path("musicgen-bridge", appauthor=False) / "kernels" / f"{Path(source).stem}-{key[:32]}.cubin"
    with contextlib.suppress(OSError):
        return path.read_bytes()
    binary = _compile(text, source, headers, options)
    _keep(path, binary)
    return binary


def _compile(text: str, name: str, headers: Mapping[str, str], options: list[str]) -> bytes:
    from cuda.bindings import nvrtc

    texts, names = ([part.encode() for part in parts] for parts in (headers.values(), headers.keys()))
    program = _checked(nvrtc.nvrtcCreateProgram(text.encode(), name.encode(), len(headers), texts, names))
    (code,) = nvrtc.nvrtcCompileProgram(program, len(options), [option.encode() for option in options])
    if int(code):
        log = bytearray(_checked(nvrtc.nvrtcGetProgramLogSize(program)))
        nvrtc.nvrtcGetProgramLog(program, log)
        words = bytes(log).decode(errors="replace").strip("\0")
        raise InternalError(f"{name} does not compile here; set kernels to off until this is mended. {words}")
    if any("compute_" in option for option in options):
        binary = bytearray(_checked(nvrtc.nvrtcGetPTXSize(program)))
        _checked(nvrtc.nvrtcGetPTX(program, binary))
    else:
        binary = bytearray(_checked(nvrtc.nvrtcGetCUBINSize(program)))
        _checked(nvrtc.nvrtcGetCUBIN(program, binary))
    nvrtc.nvrtcDestroyProgram(program)
    return bytes(binary)


def _keep(path: Path, binary: bytes) -> None:
    """Write a file whole or not at all; a cache that can't be written is no error."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(binary)
        Path(temporary).replace(path)


def _checked(result: tuple[Any, ...]) -> Any:
    code, *values = result
    if int(code):
        raise InternalError(f"CUDA refused: {code!r}; set kernels to off if it does so again.")
    return values[0] if len(values) == 1 else tuple(values)
