"""How well session matching finds tempo, downbeat and key on synthetic bands, and how exact what it makes of them is.

    uv run python benchmarks/match.py [--clips 100] [--no-starter]

The clips (tests/match/clips.py) are 16 s of drums, bass, chords and lead in five metres at 70 to 170 BPM, a quarter
of them without drums; half begin on a downbeat. The session's tempo lies up to 20 % off. The prototype's figures
were taken on other clips of the same kind; librosa and madmom are measured beside it where they are installed. The
second table is of takes that the starter renders (match_starter.py), which takes two minutes.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "match"))

import numpy as np
import pyloudnorm
from clips import RATE, Clip, attacks, click_train, make_drone, random_clip
from match_peers import beat_this_grid, librosa_tempo, madmom_grid
from match_starter import DRUMS, PADS, Heard, heard
from scipy.signal import resample_poly
from targets import exact_frames

from musicgen_bridge.match import Matched, Target, match
from musicgen_bridge.request import Signature
from musicgen_bridge.tempo_map import TempoMap, TempoPoint

SAMPLE_RATE = 48_000
FIRST_SEED = 10_000
"""Far from the seeds on which the weights were chosen."""


@dataclass(frozen=True)
class Loop:
    """A stem that goes round."""

    stem: np.ndarray
    """[frames, channels]"""

    @property
    def click(self) -> float:
        """The step from the last sample to the first, in units of the largest step inside."""
        audio = self.stem.astype(np.float64)
        return float((np.abs(audio[0] - audio[-1]) / np.abs(np.diff(audio, axis=0)).max(axis=0)).max())

    @property
    def seam_flux(self) -> float:
        """The largest spectral flux within 20 ms of the seam, in units of the largest elsewhere in the loop."""
        audio = self.stem.mean(axis=1)
        joined = np.concatenate([audio[-SAMPLE_RATE:], audio])  # the seam is one second in
        windows = np.lib.stride_tricks.sliding_window_view(joined, 1024)[::256] * np.hanning(1024)
        bands = np.log1p(100 * np.abs(np.fft.rfft(windows, axis=1)))
        flux = np.maximum(np.diff(bands, axis=0), 0).sum(axis=1)
        near = np.abs((np.arange(len(flux)) + 1) * 256 + 512 - SAMPLE_RATE) <= 0.02 * SAMPLE_RATE
        return float(flux[near].max() / flux[~near].max())

    @property
    def lufs(self) -> float:
        """As pyloudnorm measures it by default, without what the package does about its traps."""
        return float(pyloudnorm.Meter(SAMPLE_RATE).integrated_loudness(self.stem.astype(np.float64)))

    @property
    def true_peak_db(self) -> float:
        """DBTP with the loop's ends joined, eight times oversampled by scipy rather than by what is measured."""
        edge = SAMPLE_RATE // 10
        audio = np.pad(self.stem, ((edge, edge), (0, 0)), mode="wrap")
        finer = resample_poly(audio.astype(np.float64), 8, 1, axis=0)[4 * edge : -4 * edge]
        return 20 * float(np.log10(np.abs(finer).max()))


@dataclass(frozen=True)
class Run:
    """One clip, what was asked and what came out."""

    clip: Clip
    target: Target
    matched: Matched
    cpu_s: float

    @property
    def drums(self) -> bool:
        """Whether the clip has any."""
        return "drums" in self.clip.roles

    @property
    def tempo_off(self) -> float:
        """By what share the tempo that was found misses the clip's."""
        return abs(self.matched.report.bpm / self.clip.bpm - 1)

    @property
    def tempo_right(self) -> bool:
        """Within 1 %."""
        return self.tempo_off < 0.01

    @property
    def downbeat_ms(self) -> float:
        """How far the cut's start lies from the next downbeat."""
        start = self.matched.report.downbeat_s
        return float("inf") if start is None else 1000 * float(np.abs(self.clip.downbeats - start).min())

    @property
    def downbeat_right(self) -> bool:
        """Within 50 ms."""
        return self.downbeat_ms < 50

    @property
    def drift_ms(self) -> float:
        """By how much the last beat of the stem misses the session's grid, if the first is on it."""
        seconds = self.target.frames / self.target.sample_rate
        return 1000 * seconds * abs(self.matched.report.rate * self.clip.bpm / self.target.bpm - 1)


def run(seed: int) -> Run:
    """Match one clip to a session up to 20 % off; in half of the clips it is up to 4 %, as a prompted model's."""
    clip = random_clip(seed)
    rng = np.random.default_rng([seed, 1])
    most = np.log(1.2) if rng.random() < 0.5 else np.log(1.04)
    session = clip.bpm * float(np.exp(rng.uniform(-most, most)))
    beats, unit = clip.signature.split("/")
    signature = Signature(int(beats), int(unit))
    bar = float(signature.quarters) * 60 / session
    bars = max(1, int((16 * clip.bpm / session - bar - 0.5) / bar))
    frames = exact_frames(bars * signature.quarters, session, SAMPLE_RATE)
    target = Target(bpm=session, signature=signature, frames=frames, sample_rate=SAMPLE_RATE)
    began = time.process_time()
    matched = match(clip.audio, RATE, target)
    return Run(clip, target, matched, time.process_time() - began)


def drones_left_alone(count: int = 20) -> float:
    """The share of pads without a beat that are not stretched."""
    target = Target(bpm=120, signature=Signature(4, 4), frames=exact_frames(Fraction(16), 120, RATE), sample_rate=RATE)
    return float(np.mean([match(make_drone(FIRST_SEED + i), RATE, target).report.rate == 1 for i in range(count)]))


def worst_on_a_map(count: int = 10) -> float:
    """By how many ms the worst beat misses its tempo map: clicks up to 4 % off, along steps and glides of +-20 %."""
    worst = 0.0
    for index in range(count):
        rng = np.random.default_rng([FIRST_SEED, index])
        mean = rng.uniform(80, 150)
        tempos = mean * np.exp(rng.uniform(-0.18, 0.18, 5))
        glides = rng.random(4) < 0.5
        points = [TempoPoint(8.0 * i, tempos[i], tempos[i + 1] if glides[i] else tempos[i]) for i in range(4)]
        tempo_map = TempoMap(tuple(points), Fraction(32))
        times = 0.3 + 60 / (tempo_map.bpm * rng.uniform(0.96, 1.04)) * np.arange(37)
        frames, common = tempo_map.frames(SAMPLE_RATE), Signature(4, 4)
        target = Target(
            bpm=tempo_map.bpm, signature=common, frames=frames, sample_rate=SAMPLE_RATE, tempo_map=tempo_map
        )
        out = match(click_train(times, times[-1] + 0.3), RATE, target).audio[:, 0]
        late = attacks(out, np.array([tempo_map.seconds(beat) for beat in range(32)]), SAMPLE_RATE)
        worst = max(worst, 1000 * float(np.abs(late).max()))
    return worst


def peers(runs: list[Run]) -> list[tuple[str, str, str, str]]:
    """Return the rows of the beat trackers that are installed."""
    rows = []
    librosa = [librosa_tempo(r.clip.audio[0], RATE, r.target.bpm) for r in runs]
    if None not in librosa:
        right = (abs(bpm / r.clip.bpm - 1) < 0.01 for bpm, r in zip(librosa, runs, strict=True))
        rows.append(("librosa: tempo within 1 %", share(right), "69 %", ""))
    for name, track, prototype in (("madmom", madmom_grid, ("94 %", "76 %")), ("beat-this", beat_this_grid, ("", ""))):
        found = [track(r.clip.audio[0], RATE, r.target.bpm, r.target.signature) for r in runs]
        if None not in found:
            rows += tracker_rows(name, [each for each in found if each], runs, prototype)
    return rows


def tracker_rows(
    name: str, found: list[tuple[float, float]], runs: list[Run], prototype: tuple[str, str]
) -> list[tuple[str, str, str, str]]:
    """Return the rows of one tracker, which `found` a tempo and a downbeat in each clip."""
    late = [1000 * float(np.abs(r.clip.downbeats - start).min()) for (_, start), r in zip(found, runs, strict=True)]
    off = [abs(bpm / r.clip.bpm - 1) for (bpm, _), r in zip(found, runs, strict=True)]
    return [
        (f"{name}: tempo within 1 %", share(one < 0.01 for one in off), prototype[0], ""),
        ("  within 0.1 %", share(one < 0.001 for one in off), "", ""),
        ("  downbeat within 50 ms", share(one < 50 for one in late), prototype[1], ""),
        ("    with drums", share(one < 50 for one, r in zip(late, runs, strict=True) if r.drums), "", ""),
        ("    without drums", share(one < 50 for one, r in zip(late, runs, strict=True) if not r.drums), "", ""),
        ("    off by, median / p90", middle_and_most([one for one in late if one < 50]), "", ""),
    ]


def table(runs: list[Run]) -> list[tuple[str, str, str, str]]:
    """Return the rows: what, measured, the prototype's, what is wanted."""
    drift = np.percentile([r.drift_ms for r in runs if r.tempo_right], 90)
    loops = [Loop(r.matched.audio) for r in runs]
    lufs = [one.lufs for one in loops]
    told = [abs(one + r.matched.report.shortfall_lu + 14) <= 0.5 for one, r in zip(lufs, runs, strict=True)]
    tonal = [r for r in runs if "chords" in r.clip.roles]
    rows = [
        ("exact frames", share(r.matched.audio.shape[0] == r.target.frames for r in runs), "", "100 %"),
        ("tempo within 1 %", share(r.tempo_right for r in runs), "98 %", "97 %"),
        ("  with drums", share(r.tempo_right for r in runs if r.drums), "", "100 %"),
        ("tempo within 0.1 %", share(r.tempo_off < 0.001 for r in runs), "96 %", "95 %"),
        ("downbeat within 50 ms", share(r.downbeat_right for r in runs), "78 %", "82 %"),
    ]
    for name in sorted({r.clip.signature for r in runs}):
        rows.append((f"  in {name}", share(r.downbeat_right for r in runs if r.clip.signature == name), "", ""))
    for name, drums, wanted in (("with drums", True, "90 %"), ("without drums", False, "")):
        rows.append((f"  {name}", share(r.downbeat_right for r in runs if r.drums == drums), "", wanted))
    rows += [
        ("  off by, median / p90", off(r for r in runs if r.downbeat_right), "0.9 / 4.0", "2 / 6"),
        ("    with drums", off(r for r in runs if r.downbeat_right and r.drums), "", ""),
        ("drift over the stem, p90", f"{drift:.1f} ms", "", "3 ms"),
        ("clicks on tempo maps, worst", f"{worst_on_a_map():.1f} ms", "", "3 ms"),
        ("pads left unstretched", f"{100 * drones_left_alone():.0f} %", "", "95 %"),
        ("  drums taken for pads", share(r.matched.report.beatless for r in runs if r.drums), "", "0 %"),
        ("seam: step, p95", f"{np.percentile([one.click for one in loops], 95):.2f}", "", "0.80"),
        ("seam: flux, p95", f"{np.percentile([one.seam_flux for one in loops], 95):.2f}", "", "1.30"),
        ("key of clips with chords", share(r.matched.report.key == r.clip.key for r in tonal), "82 %", "88 %"),
        ("loudness within 0.5 LU", share(abs(one + 14) <= 0.5 for one in lufs), "", ""),
        ("  or the shortfall told", share(told), "", "100 %"),
        ("highest true peak", f"{max(one.true_peak_db for one in loops):.2f} dBTP", "", "-0.90 dBTP"),
        ("CPU for 16 s, median", f"{np.median([r.cpu_s for r in runs]):.2f} s", "", "1.00 s"),
    ]
    return rows + peers(runs)


def starter_table(takes: list[Heard]) -> list[tuple[str, str, str, str]]:
    """Return the same rows of the starter's takes, and what can be told of the stems."""
    beating = [one for one in takes if one.kind != PADS]
    drums = [one for one in beating if one.kind == DRUMS]
    reports = [one.matched.report for one in takes]
    late = [abs(one.late_ms) for one in beating if one.late_ms is not None and not one.matched.report.beatless]
    loops = [Loop(one.matched.audio) for one in takes]
    told = [abs(loop.lufs + one.shortfall_lu + 14) <= 0.5 for loop, one in zip(loops, reports, strict=True)]
    return [
        ("exact frames", share(one.matched.audio.shape[0] == one.target.frames for one in takes), "", "100 %"),
        ("a beat is heard", share(not one.matched.report.beatless for one in beating), "", ""),
        ("tempo within 1 %", share(one.tempo_off < 0.01 for one in beating), "", "97 %"),
        ("  within 0.1 %", share(one.tempo_off < 0.001 for one in beating), "", "95 %"),
        ("the stem's within 0.5 %", share(one.stem_off < 0.005 for one in beating), "", ""),
        ("  with drums", share(one.stem_off < 0.005 for one in drums), "", "100 %"),
        ("downbeat by ear alone", share(one.on_downbeat for one in beating), "", ""),
        ("  with drums", share(one.on_downbeat for one in drums), "", ""),
        ("stems' attacks off the beat", middle_and_most(late), "", ""),
        ("pads left unstretched", share(one.matched.report.rate == 1 for one in takes if one.kind == PADS), "", "95 %"),
        ("seam: step, p95", f"{np.percentile([loop.click for loop in loops], 95):.2f}", "", "0.80"),
        ("seam: flux, p95", f"{np.percentile([loop.seam_flux for loop in loops], 95):.2f}", "", "1.30"),
        ("loudness or the shortfall told", share(told), "", "100 %"),
        ("highest true peak", f"{max(loop.true_peak_db for loop in loops):.2f} dBTP", "", "-0.90 dBTP"),
    ]


def off(runs: Iterable[Run]) -> str:
    """Return the median and the 90th percentile of what downbeats are off by, or a dash where there are none."""
    return middle_and_most([r.downbeat_ms for r in runs])


def middle_and_most(ms: list[float]) -> str:
    """Return the median and the 90th percentile, or a dash where there are none."""
    return f"{np.median(ms):.1f} / {np.percentile(ms, 90):.1f} ms" if ms else "-"


def share(values: Iterable[bool]) -> str:
    """Return a percentage, or a dash where there is nothing to count."""
    listed = list(values)
    return f"{100 * np.mean(listed):.0f} % of {len(listed)}" if listed else "-"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=100)
    parser.add_argument("--starter", action=argparse.BooleanOptionalAction, default=True)
    asked = parser.parse_args()
    show("synthetic clips", table([run(FIRST_SEED + index) for index in range(asked.clips)]))
    if asked.starter:
        show("the starter's takes", starter_table(heard()))


def show(title: str, rows: list[tuple[str, str, str, str]]) -> None:
    """Print a table."""
    print(f"{title:32}{'measured':>16}{'prototype':>12}{'wanted':>12}")
    for what, measured, prototype, wanted in rows:
        print(f"{what:32}{measured:>16}{prototype:>12}{wanted:>12}")


if __name__ == "__main__":
    main()
