"""Which requests may be drawn together: what the daemon hands on ahead, and the worker then does."""

from __future__ import annotations

from musicgen_bridge.request import RenderRequest

MOST_ROWS = 4
"""Stems that are drawn together at most, over all requests."""
_FIRST = ("text", "unconditional", "melody", "continue")
_RIDES = ("text", "unconditional")
_DRAWN_ALIKE = ("model", "temperature", "top_k", "top_p", "guidance")


def rides(request: RenderRequest, first: RenderRequest) -> bool:
    """Whether `request` may be drawn with `first`, which began before it.

    Who rides along has no recording to read, for which the first would have to wait; and what is heard while it grows
    is slowed by nobody.
    """
    alike = all(getattr(request, name) == getattr(first, name) for name in _DRAWN_ALIKE)
    return alike and request.mode in _RIDES and first.mode in _FIRST and not (request.stream or first.stream)
