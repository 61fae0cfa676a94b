"""The growing set of tokenized clips on the accelerator: reads rendered shards as they appear and draws batches."""

from __future__ import annotations

import queue
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import EncodecModel

from training.model import BOOKS, CODES
from training.prompts import WORDS
from training.render import CAPTIONS, CHROMA_FRAMES, CLIP_FRAMES

HELD_OUT = 50
"""Every fiftieth clip is kept for the validation loss."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Codes [B, K, T], ids and their presence [B, W], chroma classes [B, C] and four properties of each row [B]."""

    codes: torch.Tensor
    words: torch.Tensor
    present: torch.Tensor
    chroma: torch.Tensor
    text: torch.Tensor
    """1 where the text is heard, 0 where it is zeros."""
    dropped: torch.Tensor
    """How many leading text states are left out."""
    adrift: torch.Tensor
    """Rows that don't start on a downbeat: what comes first is context, only the rest is learned."""


class Pool:
    """Clips as codes, captions, chroma and bar lengths; `fill` is called between training steps."""

    def __init__(
        self, codec: EncodecModel, folder: Path, capacity: int, device: torch.device, keep_files: bool
    ) -> None:
        self.codec, self.device, self.capacity, self.size = codec.to(device), device, capacity, 0
        self.codes = torch.zeros(capacity, BOOKS, CLIP_FRAMES, dtype=torch.int16, device=device)
        self.words = torch.zeros(capacity, CAPTIONS, WORDS + 1, dtype=torch.int16, device=device)
        self.chroma = torch.zeros(capacity, CHROMA_FRAMES, dtype=torch.uint8, device=device)
        self.bars = torch.zeros(capacity, dtype=torch.int64, device=device)
        self._shards: queue.Queue[dict[str, torch.Tensor]] = queue.Queue(maxsize=4)
        threading.Thread(target=self._read, args=(folder, keep_files), daemon=True).start()

    def _read(self, folder: Path, keep_files: bool) -> None:
        seen: set[Path] = set()
        while True:
            fresh = sorted(set(folder.glob("*.npz")) - seen)
            for path in fresh:
                with np.load(path) as shard:
                    names = ("audio", "words", "chroma", "bars")
                    arrays = {name: torch.from_numpy(shard[name]) for name in names}
                pinned = self.device.type == "cuda"
                self._shards.put({name: array.pin_memory() if pinned else array for name, array in arrays.items()})
                seen.add(path)
                if not keep_files:
                    path.unlink()
            time.sleep(0.05 if fresh else 0.5)

    @torch.inference_mode()
    def fill(self, wait: bool = False) -> bool:
        """Tokenize one waiting shard, if there is one and room for it; return whether it did."""
        if self.size >= self.capacity or (not wait and self._shards.empty()):
            return False
        shard = self._shards.get()
        n = min(len(shard["bars"]), self.capacity - self.size)
        here = slice(self.size, self.size + n)
        audio = shard["audio"][:n].to(self.device, non_blocking=True)
        for part in range(0, n, 24):
            codes = self._encode(audio[part : part + 24].float()[:, None] / 32768)
            self.codes[self.size + part : self.size + part + len(codes)] = codes.to(torch.int16)
        self.words[here], self.chroma[here] = shard["words"][:n].to(self.device), shard["chroma"][:n].to(self.device)
        self.bars[here] = shard["bars"][:n].to(self.device)
        self.size += n
        return True

    def _encode(self, audio: torch.Tensor) -> torch.Tensor:
        """Return codes [B, K, T] of [B, 1, N]; half precision in the convolutions is as exact as TF32."""
        with torch.autocast(self.device.type, torch.float16, enabled=audio.is_cuda):
            latents = self.codec.encoder(audio)
        return self.codec.quantizer.encode(latents.float(), self.codec.config.target_bandwidths[0]).transpose(0, 1)

    def perplexity(self) -> list[float]:
        """Return each book's perplexity over all clips so far."""
        counts = [torch.bincount(self.codes[: self.size, k].flatten().long(), minlength=CODES) for k in range(BOOKS)]
        shares = [c / c.sum() for c in counts]
        return [float((-(p * (p + 1e-12).log()).sum()).exp()) for p in shares]

    def blank(self, count: int, frames: int) -> Batch:
        """Return a batch of zeros, for the compiler."""
        zeros = torch.zeros(count, BOOKS, frames, dtype=torch.long, device=self.device)
        words, row = zeros[:, 0, : WORDS + 1], zeros[:, 0, 0]
        return Batch(zeros, words, torch.ones_like(words), zeros[:, 0, :CHROMA_FRAMES], row.float(), row, row > 0)

    def draw(self, count: int, frames: int, held_out: bool = False, adrift: float = 0.0) -> Batch:
        """Draw crops of `frames` frames that start on a downbeat, but for a share `adrift`.

        With `held_out`, kept clips with all their conditions from the first downbeat on.
        """
        device = self.device
        if held_out:
            rows = torch.arange(0, self.size, HELD_OUT, device=device)
            rows = rows[torch.linspace(0, len(rows) - 1, min(count, len(rows)), device=device).long()]
        else:
            rows = torch.randint(self.size - 1, (count,), device=device)
            rows = rows + (rows % HELD_OUT == 0)
        count = len(rows)

        def chance(p: float) -> torch.Tensor:
            return torch.rand(count, device=device) < (0.0 if held_out else p)

        bars, room = self.bars[rows], CLIP_FRAMES - frames
        downbeat = (torch.rand(count, device=device) * (room // bars + 1)).long() * bars
        drifting = chance(adrift)
        start = torch.where(chance(0.4), downbeat, 0)
        start = torch.where(drifting, torch.randint(room + 1, (count,), device=device), start)
        span = torch.arange(frames, device=device)
        books = torch.arange(BOOKS, device=device)[None, :, None]
        codes = self.codes[rows[:, None, None], books, (start[:, None] + span)[:, None]].long()
        hops = (start.float() * 640 / 4096).round().long()[:, None] + torch.arange(CHROMA_FRAMES, device=device)
        chroma = self.chroma[rows[:, None], hops.clamp(max=CHROMA_FRAMES - 1)].long()
        null, empty = chance(0.1), chance(0.06)
        empty = empty | (null & chance(0.2))
        chroma = torch.where((chance(0.3) | null)[:, None], 0, chroma)
        words = self.words[rows, torch.randint(CAPTIONS, (count,), device=device)].long()
        present = (~empty[:, None] | (torch.arange(WORDS + 1, device=device) == WORDS)).long()
        heard = ~null & ~(empty & chance(0.6))
        return Batch(codes, words, present, chroma, heard.float(), torch.where(empty, WORDS, 0), drifting)
