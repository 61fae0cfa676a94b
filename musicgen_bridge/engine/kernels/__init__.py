"""CUDA kernels of our own, compiled on the user's machine by NVRTC, which comes with torch's wheels."""

from musicgen_bridge.engine.kernels.compile import Kernel, architecture, available, compiled
from musicgen_bridge.engine.kernels.packing import pack, packable, unpack

__all__ = ["Kernel", "architecture", "available", "compiled", "pack", "packable", "unpack"]
