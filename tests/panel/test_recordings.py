"""Recordings in the page: a take, a file, or the microphone, each with the chroma that the model hears."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from musicgen_bridge.engine.chroma import melody_chroma


@pytest.mark.parametrize(("label", "role"), [("Continue", "continue"), ("As melody", "melody")])
def test_a_take_is_gone_on_from_or_followed(page, two, label, role):
    page.press(two[0], label)
    assert page.chosen() == Path(two[0].get_attribute("data-path")).name
    assert page.js("return document.querySelector('input[name=role]:checked').value") == role
    page.write("bars", 64)
    page["render"].click()
    page.until(lambda: page.all("#queue .cancel"))
    with page.daemon.client() as client:
        client.request("/musicgen/sync")
    requests = json.dumps(journalled(page)[-1])
    assert two[0].get_attribute("data-path") in requests
    page.all("#queue .cancel")[0].click()
    page.until(lambda: page["queue-empty"].is_displayed())


def journalled(page) -> list[dict]:
    """Return the requests that the daemon has written down, oldest first."""
    import sqlite3

    path = page.daemon.state / str(page.daemon.port) / "journal.sqlite3"
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as journal:
        return [json.loads(row[0]) for row in journal.execute("SELECT request FROM jobs ORDER BY number")]


@pytest.mark.parametrize("ending", ["wav", "aiff", "flac"])
def test_a_file_is_uploaded_and_its_chroma_is_what_the_model_hears(page, tmp_path, ending):
    notes = [261.63, 329.63, 392.0, 466.16, 220.0]  # C E G A# A
    time = np.arange(22_050) / 44_100
    melody = np.concatenate([sum(np.sin(2 * np.pi * hertz * part * time) / part for part in (1, 2)) for hertz in notes])
    file = tmp_path / f"humming.{ending}"
    soundfile.write(file, 0.3 * melody, 44_100)
    page["file"].send_keys(str(file))
    name = page.chosen()
    kept = page.daemon.song / "MusicGen" / "recordings" / name
    assert kept.read_bytes() == file.read_bytes()
    heard = page.js(
        """
        const { chroma, RATE } = await import("/static/chroma.js");
        const { load, mono } = await import("/static/sound.js");
        return (await chroma(mono(await load(given[0], RATE)))).map(({ loudest }) => loudest);
        """,
        str(kept),
    )
    expected = melody_chroma(soundfile.read(file, always_2d=True)[0].T, 44_100).argmax(-1).tolist()
    assert len(heard) == len(expected)
    agreed = np.mean(np.equal(heard, expected))
    assert agreed > 0.9
    assert set(expected) == {0, 4, 7, 9, 10}
    label = page["chroma"].get_attribute("aria-label")
    assert sum(name in label for name in ("C ", "E ", "G ", "A ", "A♯ ")) == 4


def test_a_file_is_dropped(page, tmp_path):
    file = tmp_path / "dropped.wav"
    soundfile.write(file, 0.2 * np.sin(np.arange(48_000) / 20), 48_000)
    page.js(
        """
        const data = new DataTransfer();
        data.items.add(new File([new Uint8Array(arguments[0])], "dropped.wav", { type: "audio/wav" }));
        const zone = document.getElementById("recording");
        const event = { dataTransfer: data, bubbles: true, cancelable: true };
        for (const kind of ["dragover", "drop"]) zone.dispatchEvent(new DragEvent(kind, event));
        """,
        list(file.read_bytes()),
    )
    assert page.chosen().startswith("dropped")


def test_what_only_the_browser_can_read_becomes_wav(page):
    page["prompt"].click()  # a page is heard once somebody has touched it
    page.js(
        """
        const context = new AudioContext();
        await context.resume();
        const tone = new OscillatorNode(context, { frequency: 440 });
        const out = new MediaStreamAudioDestinationNode(context);
        tone.connect(out);
        tone.start();
        const recorder = new MediaRecorder(out.stream, { mimeType: "audio/webm" });
        const data = await new Promise((resolve) => {
          recorder.addEventListener("dataavailable", ({ data }) => resolve(data));
          recorder.start();
          setTimeout(() => recorder.stop(), 700);
        });
        const carried = new DataTransfer();
        carried.items.add(new File([data], "memo.webm", { type: "audio/webm" }));
        const drop = new DragEvent("drop", { dataTransfer: carried, bubbles: true, cancelable: true });
        document.getElementById("recording").dispatchEvent(drop);
        await context.close();
        """
    )
    kept = page.daemon.song / "MusicGen" / "recordings" / page.chosen()
    assert kept.name == "memo.wav"
    sound, rate = soundfile.read(kept)
    spectrum = np.abs(np.fft.rfft(sound[:, 0] if sound.ndim > 1 else sound))
    assert spectrum.argmax() * rate / len(sound) == pytest.approx(440, abs=5)
    assert not page["trouble"].is_displayed()


def test_what_is_no_sound_is_refused_with_what_to_do(page, tmp_path):
    file = tmp_path / "notes.wav"
    file.write_text("not a sound")
    page["file"].send_keys(str(file))
    page.until(lambda: page["trouble"].is_displayed())
    assert "save it as WAV" in page["trouble-text"].text


def test_the_microphone_becomes_a_wav_file_in_the_project(page):
    page["record"].click()
    page.until(lambda: page["record"].get_attribute("aria-pressed") == "true")
    assert page["level"].is_displayed()
    page.until(lambda: page["record-time"].text >= "1.5")
    page["record"].click()
    kept = page.daemon.song / "MusicGen" / "recordings" / page.chosen()
    sound, rate = soundfile.read(kept)
    assert (kept.suffix, rate) == (".wav", 48_000)
    assert len(sound) > rate
    assert np.abs(sound).max() > 0.01  # Chromium's microphone beeps once a second
