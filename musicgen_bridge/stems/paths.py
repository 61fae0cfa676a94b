"""Where stems lie and what they are called: folders, and names that every system takes."""

from __future__ import annotations

import re
import unicodedata

from musicgen_bridge.stems.manifest import Take

RAW_FOLDER = ".raw"
"""Below `STEM_FOLDER`: what the model itself made, at its own rate and before any matching."""
MAX_NAME = 104
"""Characters of a name without "-2" and suffix; at two UTF-8 bytes each the whole stays below 120 and 255 (ext4)."""


def slug(text: str, longest: int = 40) -> str:
    """Return `text` as part of a file name: lower-case letters, marks and digits of any script, joined by hyphens.

    At most `longest` characters and twice as many UTF-8 bytes, cut between words where there is one to cut between;
    "" where nothing is left.
    """
    letters = unicodedata.normalize("NFKC", text).lower()
    kept = "".join(letter if unicodedata.category(letter)[0] in "LMN" else " " for letter in letters)
    words = "-".join(kept.split())
    cut = words[:longest].encode()[: 2 * longest].decode(errors="ignore")
    if len(cut) < len(words) and words[len(cut)] != "-" and "-" in cut:
        cut = cut[: cut.rindex("-")]
    return cut.strip("-")


def stem_name(take: Take) -> str:
    """Return a stem's name without suffix: what, part, tempo, key, length, signature, seed and variation.

    For example `dusty-boom-bap-break_drums_126.5bpm_F#min_4bars_7-8_seed42_v2`: sample browsers read tempo and key.
    """
    request = take.request
    facts = [slug(take.part.name, 20), f"{take.bpm:g}bpm", _short_key(take.key), _length(take)]
    if str(request.signature) != "4/4":
        facts.append(f"{request.signature.beats}-{request.signature.unit}")
    if request.mode != "fit":
        facts.append(f"seed{take.seed}")
    if request.variations > 1:
        facts.append(f"v{take.variation + 1}")
    tail = "_".join(filter(None, facts))
    room = min(40, MAX_NAME - len(tail) - 1)
    what = next(
        filter(None, (slug(text, room) for text in (request.name, take.part.prompt, request.prompt))), request.mode
    )
    return f"{what}_{tail}"


def _short_key(key: str | None) -> str:
    """ "F# minor" is "F#min"."""
    found = re.fullmatch(r"([A-G][#b]?) (min|maj)or", key or "")
    return "".join(found.groups()) if found else ""


def _length(take: Take) -> str:
    request = take.request
    if request.bars is not None:
        return f"{request.bars:g}bar{'' if request.bars == 1 else 's'}"
    return f"{request.beats:g}beats" if request.beats is not None else f"{request.seconds:g}s"
