"""Residual vector quantization: each codebook takes what the ones before it left over (Défossez et al. 2022, 3.2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from musicgen_bridge.errors import InternalError


class ResidualQuantizer(nn.Module):
    """K codebooks of S entries in D dimensions, kept as one tensor `embed` [K, S, D]."""

    embed: Tensor

    def __init__(self, codebooks: int, size: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("embed", torch.zeros(codebooks, size, dim))

    def encode(self, latents: Tensor) -> Tensor:
        """Return the codes [B, K, T], int64, of `latents` [B, D, T]."""
        batch, dim, frames = latents.shape
        rest = latents.transpose(1, 2).reshape(-1, dim)  # [B * T, D]
        codes = []
        for book in self.embed:
            # -|x - e|^2, summed in the reference's order so that near ties fall as they do there
            square = rest.pow(2).sum(1, keepdim=True)
            nearness = -(square - 2 * rest @ book.t() + book.t().pow(2).sum(0, keepdim=True))  # [B * T, S]
            index = nearness.max(dim=-1).indices
            rest = rest - book[index]
            codes.append(index.view(batch, frames))
        return torch.stack(codes, dim=1)

    def decode(self, codes: Tensor) -> Tensor:
        """Return the latents [B, D, T] of `codes` [B, K, T].

        Raises InternalError where a code lies outside its codebook: on a GPU the look-up itself would end the process.
        """
        codes, size = codes.to(self.embed.device), self.embed.shape[1]
        if bool(((codes < 0) | (codes >= size)).any()):
            raise InternalError(f"A code lies outside 0 to {size - 1}: please report this with the log.")
        return self.latents(codes)

    def latents(self, codes: Tensor) -> Tensor:
        """Return what `decode` does, of codes that are known to lie within their codebooks: nothing waits for them."""
        books, size, dim = self.embed.shape
        shelf = torch.arange(books, device=codes.device).mul(size).view(1, books, 1)
        entries = F.embedding(codes + shelf, self.embed.view(books * size, dim))  # [B, K, T, D]
        return entries.sum(1).transpose(1, 2)
