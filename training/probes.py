"""Linear probes on clip features: what a render sounds like, told by what real renders sound like."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from training import measures

Samples = npt.NDArray[np.float32]


def features(x: Samples) -> npt.NDArray[np.float64]:
    """Return clip features for the probes: statistics of 40 log mel bands, of their changes, and of chroma."""
    logs = measures.mel_decibels(x, 1024, 320, 40).numpy()
    flux = np.maximum(np.diff(logs, axis=1), 0)
    low, high = flux[:8].sum(0), flux[24:].sum(0)
    rhythm = [np.percentile(band, (50, 80, 90, 97)) for band in (low, high)]
    shape = 40 * np.sort(measures.chroma(x).mean(1))
    return np.concatenate([logs.mean(1), logs.std(1), flux.mean(1), flux.std(1), *rhythm, shape]).astype(np.float64)


class Probe:
    """Ridge regression, one against the rest."""

    def __init__(self, x: npt.NDArray[np.float64], labels: Sequence[str]) -> None:
        self.names = sorted(set(labels))
        self.mean, self.deviation = x.mean(0), x.std(0) + 1e-6
        wanted = np.array([[1.0 if label == name else -1.0 for name in self.names] for label in labels])
        z = self._scale(x)
        self.weights = np.linalg.solve(z.T @ z + 30 * np.eye(z.shape[1]), z.T @ wanted)

    def _scale(self, x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.c_[(x - self.mean) / self.deviation, np.ones(len(x))]

    def accuracy(self, x: npt.NDArray[np.float64], labels: Sequence[str]) -> float:
        """Return the share of rows told right."""
        found = (self._scale(x) @ self.weights).argmax(1)
        return float(np.mean([self.names[i] == label for i, label in zip(found, labels, strict=True)]))
