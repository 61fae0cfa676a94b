"""Text, melody and seed to samples: MusicGen without transformers' generate."""

from musicgen_bridge.engine.engine import Engine
from musicgen_bridge.engine.sampler import Sampling
from musicgen_bridge.engine.take import Melody, Row, Take
from musicgen_bridge.engine.windows import Span

__all__ = ["Engine", "Melody", "Row", "Sampling", "Span", "Take"]
