"""Trains the residual vector quantizer of a stock EncodecModel: straight-through, codebooks as moving averages."""

from __future__ import annotations

import torch
from torch.nn import functional
from transformers.models.encodec.modeling_encodec import EncodecEuclideanCodebook, EncodecResidualVectorQuantizer


class ResidualQuantizer:
    """Moving-average codebooks (van den Oord et al. 2017, appendix A) on transformers' own buffers; no host syncs."""

    def __init__(self, quantizer: EncodecResidualVectorQuantizer, decay: float = 0.99, dead: float = 0.1) -> None:
        self.books: list[EncodecEuclideanCodebook] = [layer.codebook for layer in quantizer.layers]
        self.decay, self.dead = decay, dead

    @torch.no_grad()
    def start(self, latents: torch.Tensor, batch_frames: int) -> None:
        """Set every book by k-means on warmed-up latents [B, D, T]; an untrained encoder's would collapse the books."""
        residual = latents.float().permute(0, 2, 1).flatten(0, 1)
        for book in self.books:
            centres = _kmeans(residual, book.codebook_size)
            count = batch_frames / book.codebook_size
            self._set(book, centres, centres * count, torch.full_like(book.cluster_size, count))
            residual = residual - functional.embedding(torch.cdist(residual, centres).argmin(1), centres)

    @torch.no_grad()
    def resume(self, batch_frames: int) -> None:
        """Take the books as they are, each code as often used as any other."""
        for book in self.books:
            count = batch_frames / book.codebook_size
            self._set(book, book.embed.clone(), book.embed * count, torch.full_like(book.cluster_size, count))

    @staticmethod
    def _set(book: EncodecEuclideanCodebook, embed: torch.Tensor, total: torch.Tensor, counts: torch.Tensor) -> None:
        book.embed.copy_(embed)
        book.embed_avg.copy_(total)
        book.cluster_size.copy_(counts)

    def __call__(self, latents: torch.Tensor, train: bool) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return quantized latents [B, D, T] with straight gradients, the commitment loss and perplexities [K]."""
        batch, width, frames = latents.shape
        flat = latents.float().permute(0, 2, 1).flatten(0, 1)
        total, commitment, perplexities = torch.zeros_like(flat), flat.new_zeros(()), []
        for book in self.books:
            residual = (flat - total).detach()
            codes = (book.embed.pow(2).sum(1) - 2 * residual @ book.embed.t()).argmin(1)
            chosen = functional.embedding(codes, book.embed)
            counts = torch.zeros_like(book.cluster_size).index_add_(0, codes, torch.ones_like(codes, dtype=flat.dtype))
            if train:
                self._update(book, residual, codes, counts)
            shares = counts / counts.sum()
            perplexities.append((-(shares * (shares + 1e-10).log()).sum()).exp())
            total = total + chosen
            commitment = commitment + functional.mse_loss(flat, total.detach())
        straight = flat + (total - flat).detach()
        quantized = straight.view(batch, frames, width).permute(0, 2, 1)
        return quantized, commitment / len(self.books), torch.stack(perplexities)

    @torch.no_grad()
    def _update(
        self, book: EncodecEuclideanCodebook, residual: torch.Tensor, codes: torch.Tensor, counts: torch.Tensor
    ) -> None:
        """Move the averages; a code that is hardly used is set to a random latent."""
        book.cluster_size.lerp_(counts, 1 - self.decay)
        book.embed_avg.lerp_(torch.zeros_like(book.embed).index_add_(0, codes, residual), 1 - self.decay)
        usual = len(residual) / len(counts)
        dead = book.cluster_size < self.dead * usual
        fresh = residual[torch.randint(len(residual), (len(counts),), device=residual.device)]
        embed = torch.where(dead[:, None], fresh, book.embed_avg / book.cluster_size.clamp(min=1e-3)[:, None])
        total = torch.where(dead[:, None], fresh * usual, book.embed_avg)
        self._set(book, embed, total, torch.where(dead, torch.full_like(counts, usual), book.cluster_size))


def _kmeans(points: torch.Tensor, count: int, rounds: int = 15) -> torch.Tensor:
    centres = points[torch.randint(len(points), (count,), device=points.device)]
    centres = centres + 0.01 * points.std() * torch.randn_like(centres)
    for _ in range(rounds):
        nearest = torch.cdist(points, centres).argmin(1)
        members = torch.zeros(count, device=points.device).index_add_(
            0, nearest, torch.ones_like(nearest, dtype=points.dtype)
        )
        sums = torch.zeros_like(centres).index_add_(0, nearest, points)
        spare = points[torch.randint(len(points), (count,), device=points.device)]
        centres = torch.where(members[:, None] > 0, sums / members.clamp(min=1)[:, None], spare)
    return centres
