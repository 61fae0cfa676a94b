"""CUDA kernels of our own, compiled on the user's machine by NVRTC, which comes with torch's wheels."""

from musicgen_bridge.engine.kernels.compile import Kernel, architecture, available, compiled
from musicgen_bridge.engine.kernels.packing import pack, pack_int8, packable, unpack, unpack_int8

__all__ = [
    "Kernel",
    "architecture",
    "available",
    "compiled",
    "pack",
    "pack_int8",
    "packable",
    "unpack",
    "unpack_int8",
]
