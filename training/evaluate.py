"""Measures checkpoints on held-out pieces: tempo, key, genre, stems and melody, beside real renders and chance."""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import wave
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer

from training import measures
from training.checkpoint import load_codec, load_model
from training.heldout import CLIP_SECONDS, Samples, Wanted, held_out
from training.model import sample
from training.probes import Probe, features
from training.scores import SAMPLE_RATE

SETTINGS = {
    "k250 t1.0 g3": (3.0, 1.0, 250),
    "k50 t1.0 g3": (3.0, 1.0, 50), "k20 t0.9 g3": (3.0, 0.9, 20), "k10 t0.8 g3": (3.0, 0.8, 10),
    "k10 t0.8 g2": (2.0, 0.8, 10), "k10 t0.8 g4": (4.0, 0.8, 10),
}  # fmt: skip
"""Guidance, temperature, top_k."""
PROBED = 1000
"""Clips at most that teach the probes."""


@dataclass(frozen=True, slots=True)
class Keep:
    """Where a setting's clips are kept, and how many."""

    folder: Path
    count: int


class Renderer:
    """A checkpoint folder that renders prompts in batches."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        self.device = device
        self.model, self.codec = load_model(folder).to(device), load_codec(folder).to(device)
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.hops = int(json.loads((folder / "config.json").read_text())["chroma_length"])

    @torch.inference_mode()
    def __call__(
        self,
        prompts: Sequence[str],
        chroma: npt.NDArray[np.uint8] | None = None,
        seconds: float = CLIP_SECONDS,
        *,
        setting: tuple[float, float, int],
    ) -> list[Samples]:
        """Return one clip a prompt; prompts of one number of tokens go together, as they would alone."""
        guidance, temperature, top_k = setting
        ids = [self.tokenizer.encode(prompt).ids for prompt in prompts]
        clips: list[Samples | None] = [None] * len(ids)
        generator = torch.Generator(self.device).manual_seed(7)
        for length in sorted({len(i) for i in ids}):
            rows = [r for r, i in enumerate(ids) if len(i) == length]
            words = torch.tensor([ids[r] for r in rows], device=self.device)
            classes = torch.zeros(len(rows), self.hops, dtype=torch.long, device=self.device)
            if chroma is not None:
                classes[:] = torch.from_numpy(chroma[rows][:, : self.hops].astype(np.int64))
            codes = sample(self.model, words, classes, int(seconds * 50), guidance, temperature, top_k, generator)
            for part in range(0, len(rows), 16):
                audio = self.codec.decode(codes[None, part : part + 16], [None])[0][:, 0].float().cpu().numpy()
                for row, clip in zip(rows[part : part + 16], audio, strict=True):
                    clips[row] = clip
        return [clip for clip in clips if clip is not None]

    @torch.inference_mode()
    def round_trip(self, clips: Sequence[Samples]) -> list[Samples]:
        """Return the clips through the codec."""
        x = torch.from_numpy(np.stack(clips)).to(self.device)[:, None]
        parts = [self.codec.decode(self.codec.encode(p).audio_codes, [None])[0][:, 0] for p in x.split(16)]
        return list(torch.cat(parts).float().cpu().numpy())


def _measure(pair: tuple[Samples, Wanted]) -> tuple[float, tuple[int, bool], npt.NDArray[np.float64], float]:
    torch.set_num_threads(1)
    clip, wanted = pair
    matched = measures.tempo_after_matching(clip, wanted.bpm) if "drums" in wanted.roles else math.nan
    return measures.detect_tempo(clip), measures.detect_key(clip), features(clip), matched


def adherence(clips: Sequence[Samples], wanted: Sequence[Wanted], pool: multiprocessing.pool.Pool) -> dict[str, object]:
    """Return the shares of right tempos and keys, and the features for the probes."""
    found = pool.map(_measure, list(zip(clips, wanted, strict=True)), chunksize=4)

    def agrees(tempo: float, bpm: float, tolerance: float = 0.02) -> bool:
        return any(abs(tempo / (bpm * ratio) - 1) < tolerance for ratio in measures.TEMPO_RATIOS)

    chorded = [i for i, w in enumerate(wanted) if {"chords", "lead"} & set(w.roles)]
    drummed = [i for i, w in enumerate(wanted) if "drums" in w.roles]
    pitched = [i for i, w in enumerate(wanted) if w.roles != ("drums",)]
    shuffled = [wanted[(i + len(wanted) // 2) % len(wanted)].bpm for i in range(len(wanted))]
    return {
        "tempo": np.mean([agrees(f[0], w.bpm) for f, w in zip(found, wanted, strict=True)]),
        "tempo, with drums": np.mean([agrees(found[i][0], wanted[i].bpm) for i in drummed]),
        "tempo after matching, with drums": np.mean([agrees(found[i][3], wanted[i].bpm, 0.005) for i in drummed]),
        "tempo, shuffled": np.mean([agrees(f[0], bpm) for f, bpm in zip(found, shuffled, strict=True)]),
        "key": np.mean([found[i][1] == (wanted[i].tonic, wanted[i].minor) for i in pitched]),
        "key, with chords or lead": np.mean([found[i][1] == (wanted[i].tonic, wanted[i].minor) for i in chorded]),
        "tonic": np.mean([found[i][1][0] == wanted[i].tonic for i in pitched]),
        "features": np.stack([f[2] for f in found]),
        "found": [round(f[0], 1) for f in found],
    }


def melody_cosines(clips: Sequence[Samples], wanted: Sequence[Wanted]) -> dict[str, float]:
    """Return the mean chroma cosines with the piece's own render and with another piece's."""
    n = len(wanted)
    own = [measures.chroma_cosine(w.real, c) for w, c in zip(wanted, clips, strict=True)]
    other = [measures.chroma_cosine(wanted[(i + 1) % n].real, clips[i]) for i in range(n)]
    return {"melody": float(np.mean(own)), "melody, shuffled": float(np.mean(other))}


def save_clips(clips: Sequence[Samples], prompts: Sequence[str], folder: Path, count: int) -> None:
    """Write the first clips as 16-bit WAV files named by their prompts."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, (clip, prompt) in enumerate(zip(clips[:count], prompts, strict=False)):
        name = "".join(c if c.isalnum() else "_" for c in prompt)[:60]
        with wave.open(str(folder / f"{i:02d}_{name}.wav"), "wb") as file:
            file.setparams((1, 2, SAMPLE_RATE, len(clip), "NONE", ""))
            file.writeframes((np.clip(clip, -1, 1) * 32767).astype(np.int16).tobytes())


def table(rows: dict[str, dict[str, object]]) -> str:
    """Return the figures as a Markdown table, one column a row of `rows`."""
    names = list(dict.fromkeys(k for row in rows.values() for k, v in row.items() if isinstance(v, float)))
    lines = ["| | " + " | ".join(rows) + " |", "|---" * (len(rows) + 1) + "|"]
    for name in names:
        cells = [f"{row[name]:.2f}" if isinstance(row.get(name), float) else "–" for row in rows.values()]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def codec_figures(back: Sequence[Samples], wanted: Sequence[Wanted]) -> dict[str, float]:
    """Return the mel distance, SI-SDR and chroma cosine of leads that came back from the codec."""
    pairs = list(zip([w.real for w in wanted], back, strict=True))
    leads = [measures.chroma_cosine(a, b) for (a, b), w in zip(pairs, wanted, strict=True) if w.roles == ("lead",)]
    return {
        "codec mel dB": float(np.mean([measures.mel_distance(a, b) for a, b in pairs])),
        "codec SI-SDR dB": float(np.mean([measures.si_sdr(a, b) for a, b in pairs])),
        "codec lead chroma": float(np.mean(leads)) if leads else float("nan"),
    }


class Ear:
    """Tells genre, drums and pitched parts as clips of known pieces have taught it."""

    LABELS: ClassVar[dict[str, Callable[[Wanted], str]]] = {
        "genre": lambda w: w.genre,
        "drums heard": lambda w: str("drums" in w.roles),
        "pitch heard": lambda w: str(w.roles != ("drums",)),
    }

    def __init__(self, clips: Sequence[Samples], pieces: Sequence[Wanted], pool: multiprocessing.pool.Pool) -> None:
        self.pool = pool
        seen = np.stack(pool.map(features, clips, chunksize=4))
        self.probes = {name: Probe(seen, [label(w) for w in pieces]) for name, label in self.LABELS.items()}

    def __call__(self, clips: Sequence[Samples], wanted: Sequence[Wanted]) -> dict[str, object]:
        """Return the shares of clips whose tempo, key, genre and parts are right."""
        row = adherence(clips, wanted, self.pool)
        heard = np.asarray(row.pop("features"))
        for name, probe in self.probes.items():
            row[name] = probe.accuracy(heard, [self.LABELS[name](w) for w in wanted])
        return {k: float(v) if isinstance(v, float) else v for k, v in row.items()}


def figures(
    render: Callable[..., list[Samples]], ear: Ear, wanted: Sequence[Wanted], sung: Sequence[Wanted], keep: Keep
) -> dict[str, object]:
    """Return one setting's figures: prompts alone, with melodies, melodies alone, users' words, and 24 s."""
    plain, words, tunes = [w.plain for w in wanted], [w.plain for w in sung], np.stack([w.chroma for w in sung])
    clips, melodies = render(plain), render(words, tunes)
    save_clips(clips, plain, keep.folder, keep.count)
    save_clips(melodies, words, keep.folder.with_name(f"{keep.folder.name}_melody"), keep.count // 3)
    row = ear(clips, wanted) | melody_cosines(melodies, sung)
    row |= {f"{k} alone": v for k, v in melody_cosines(render([""] * len(sung), tunes), sung).items()}
    spoken = ear(render([w.users for w in wanted]), wanted)
    row |= {f"users' {k}": spoken[k] for k in ("tempo", "key", "genre", "drums heard")}
    late = [clip[-CLIP_SECONDS * SAMPLE_RATE :] for clip in render(plain, seconds=24)]
    return row | {"tempo, last 10 of 24 s": ear(late, wanted)["tempo"]}


def evaluate(o: argparse.Namespace, pool: multiprocessing.pool.Pool) -> dict[str, dict[str, object]]:
    """Return every figure of the renders and of each checkpoint's codec and settings."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    paths = sorted(o.shards.glob("*.npz"))
    half = -(-len(paths) // 2)
    wanted = held_out(paths[:half], o.count, lambda label: True, apart=True)
    sung = held_out(paths[:half], o.count, lambda label: "lead" in label["roles"], apart=True)
    others = held_out(paths[half:], PROBED, lambda label: True, apart=False)
    real, known = [w.real for w in wanted], [w.real for w in others]
    rows = {"renders": Ear(known, others, pool)(real, wanted) | melody_cosines([w.real for w in sung], sung)}
    for name, folder in (pair.split("=") for pair in o.checkpoints):
        renderer = Renderer(Path(folder), device)
        ear = Ear([*known, *renderer.round_trip(known)], [*others, *others], pool)
        back = renderer.round_trip(real)
        rows[f"{name} codec"] = ear(back, wanted) | codec_figures(back, wanted)
        for setting in o.settings:
            render = partial(renderer, setting=SETTINGS[setting])
            column = f"{name} {setting}"
            rows[column] = figures(render, ear, wanted, sung, Keep(o.out / column.replace(" ", "_"), o.wavs))
            print(table({column: rows[column]}), flush=True)
    return rows


def main() -> None:
    """Evaluate the checkpoints named on the command line and write table.md and figures.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "shards", type=Path, help="held-out shards of training.render (a first index training never used)"
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("checkpoints", nargs="+", help="name=folder")
    parser.add_argument("--count", type=int, default=96, help="held-out prompts")
    parser.add_argument("--wavs", type=int, default=12, help="clips to keep of each setting")
    parser.add_argument("--settings", nargs="+", choices=list(SETTINGS), default=list(SETTINGS), metavar="SETTING")
    parser.add_argument("--workers", type=int, default=2)
    o = parser.parse_args()
    o.out.mkdir(parents=True, exist_ok=True)
    with multiprocessing.get_context("spawn").Pool(o.workers) as pool:
        rows = evaluate(o, pool)
    (o.out / "table.md").write_text(table(rows) + "\n")
    (o.out / "figures.json").write_text(json.dumps(rows, indent=1, default=str))
    print(table(rows))


if __name__ == "__main__":
    main()
