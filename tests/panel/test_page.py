"""The page in a browser before the real daemon and its embedded model: asking, listening, recording, keys, errors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from selenium.webdriver.common.keys import Keys

from musicgen_bridge.engine.chroma import melody_chroma
from musicgen_bridge.stems.manifest import read_take
from tests.panel.browser import Page
from tests.panel.conftest import make_take


def published(page, hertz: float, **changes) -> Path:
    return make_take(page.daemon.root, page.daemon.song, hertz, **changes)


def stems(page) -> set[Path]:
    return set(page.daemon.song.glob("MusicGen/*.wav"))


@pytest.fixture
def two(page):
    """The page with two takes in it: two bars of 4/4 and three, at 120 BPM."""
    paths = published(page, 220, bars=2.0), published(page, 330, bars=3.0)
    page.open()
    return [page.take(path) for path in paths]


def chosen(page) -> str:
    """Return the path of the recording that is chosen, once its picture is drawn."""
    page.until(lambda: page["chosen"].is_displayed() and page["chroma"].get_attribute("aria-label"))
    return page["chosen-name"].text


# Asking


def test_words_become_a_take_with_pictures(page):
    before = stems(page)
    page.write("prompt", "dusty break")
    page["tempo-own"].click()
    page.write("bpm", 240)
    page.write("bars", 1)
    page["prompt"].send_keys(Keys.CONTROL, Keys.ENTER)
    page.until(lambda: page.all("#queue li"))
    assert "dusty break" in page["queue"].text
    assert "this page" in page["queue"].text
    (path,) = page.until(lambda: stems(page) - before)
    card = page.take(path)
    page.until(lambda: not page.all("#queue li"))
    request = read_take(path.with_suffix(".json")).request
    assert (request.prompt, request.bars, request.bpm, request.loop) == ("dusty break", 1.0, 240.0, True)
    assert f"Seed {request.seed}" in card.text
    assert "1 bar · 240 BPM · 4/4" in card.text
    assert " s for 1.0 s" in page["m-latency"].text
    for picture in page.all("canvas", card):
        colours = page.js(
            "const {data} = arguments[0].getContext('2d').getImageData(0, 0, arguments[0].width, arguments[0].height);"
            "return new Set(new Uint32Array(data.buffer)).size",
            picture,
        )
        assert colours > 1
    before = stems(page)
    page.press(card, "Again")
    (again,) = page.until(lambda: stems(page) - before)
    other = read_take(again.with_suffix(".json")).request
    assert other.seed != request.seed
    assert (other.prompt, other.bars, other.bpm) == (request.prompt, request.bars, request.bpm)


def test_a_preset_is_triggered_with_what_the_form_says_over_it(page):
    page.until(lambda: len(page.all("#preset option")) > 10)
    name = page.all("#preset option")[1].get_attribute("value")
    page.js("document.getElementById('preset').value = arguments[0]", name)
    page.write("bars", 32)
    page["render"].click()
    page.until(lambda: page.all("#queue li"))
    with page.daemon.client() as client:
        (job, *_) = client.request("/musicgen/list", {"what": "jobs"})
    assert "panel" in job.arguments
    page.all("#queue .cancel")[0].click()
    page.until(lambda: page["queue-empty"].is_displayed())


def test_a_job_is_cancelled_and_leaves_nothing(page):
    before = stems(page)
    page.write("prompt", "endless pad")
    page.write("bars", 64)
    page["render"].click()
    page.until(lambda: page.all("#queue progress[value]") and "generating" in page["queue"].text)
    (cancel,) = page.all("#queue .cancel")
    assert cancel.accessible_name == "Cancel endless pad"
    cancel.click()
    page.until(lambda: page["queue-empty"].is_displayed())
    assert not page["trouble"].is_displayed()
    assert stems(page) == before


def test_another_client_s_take_shows_up_by_itself(page):
    with page.daemon.client() as client:
        (stem,) = client.render({"prompt": "from elsewhere", "seconds": 0.5, "match": False, "format": "aiff"})
    card = page.take(stem.path)
    assert "from elsewhere" in card.text
    assert str(stem.path) in page.js("return arguments[0].textContent", card)


def test_what_the_daemon_refuses_is_shown_with_what_to_do(page):
    page["tempo-own"].click()
    page.write("signature", "4/5")
    page["render"].click()
    page.until(lambda: page["trouble"].is_displayed())
    assert 'signature must be like "4/4" or "7/8"' in page["trouble-text"].text
    assert "E_ARGS" in page["trouble-text"].text
    assert page["trouble"].get_attribute("role") == "alert"
    page["trouble-close"].click()
    assert not page["trouble"].is_displayed()


# Listening


def test_a_loop_has_no_gap(page):
    """The page's own player, rendered offline, against the take's samples one after another."""
    path = published(page, 441, bars=1.0, bpm=240.0)
    heard = page.js(
        """
        const { Player } = await import("/static/player.js");
        const { load } = await import("/static/sound.js");
        const take = await (await fetch("/take?path=" + encodeURIComponent(given[0]))).json();
        const buffer = await load(take.path, take.sample_rate);
        const context = new OfflineAudioContext(2, 3 * take.frames, take.sample_rate);
        context.resume = () => {}; // an offline one waits for startRendering
        new Player(() => context).toggle(take, buffer);
        return Array.from((await context.startRendering()).getChannelData(0));
        """,
        str(path),
    )
    samples = soundfile.read(path, dtype="float32")[0][:, 0]
    first = np.flatnonzero(np.abs(heard) > 0)[0] - np.flatnonzero(np.abs(samples) > 0)[0]
    expected = np.tile(samples, 3)[: len(heard) - first]
    np.testing.assert_allclose(heard[first:], expected, atol=1e-6)


WATCHED = """
const { Player } = await import("/static/player.js");
window.starts ??= [];
if (!window.watched) {
  window.watched = true;
  const start = AudioBufferSourceNode.prototype.start;
  AudioBufferSourceNode.prototype.start = function (when, offset = 0) {
    window.starts.push({ when, offset, length: this.loopEnd });
    return start.call(this, when, offset);
  };
}
return true;
"""


def test_a_take_joins_in_on_the_bar_line_of_what_plays(page, two):
    page.js(WATCHED)
    page.press(two[0], "Play")
    page.until(lambda: page["counter"].text == "1.2")
    page.press(two[1], "Play")
    page.until(lambda: len(page.js("return window.starts")) == 2)
    first, second = page.js("return window.starts")
    bars = (second["when"] - first["when"]) / 2.0
    assert bars == pytest.approx(round(bars), abs=1e-6)
    assert round(bars) >= 1
    assert second["offset"] == 0
    assert [card.get_attribute("class").split()[-1] for card in two] == ["playing", "playing"]
    page["stop"].click()
    assert page.all(".take.playing") == []
    page.until(lambda: page["counter"].text == "–.–")


def test_two_takes_are_compared_in_step(page, two):
    page.js(WATCHED)
    for card, which in zip(two, "AB", strict=True):
        page.press(card, which)
    page.until(lambda: len(page.js("return window.starts")) == 2)
    first, second = page.js("return window.starts")
    behind = (second["when"] - second["offset"]) - (first["when"] - first["offset"])
    assert behind == pytest.approx(0, abs=1e-6)
    pressed = lambda: [page[name].get_attribute("aria-pressed") for name in ("hear-a", "hear-b")]  # noqa: E731
    assert pressed() == ["false", "true"]
    page.driver.switch_to.active_element.send_keys("x")
    assert pressed() == ["true", "false"]
    page["hear-b"].click()
    assert pressed() == ["false", "true"]
    assert [card.get_attribute("class").split()[-1] for card in two] == ["muted", "playing"]
    page.press(two[1], "Stop")
    assert [card.get_attribute("class").split()[-1] for card in two] == ["playing", "drawn"]
    page["stop"].click()


def test_the_file_is_dragged_out_as_it_lies_there(page, two):
    carried = page.js(
        """
        const data = new DataTransfer();
        arguments[0].dispatchEvent(new DragEvent("dragstart", { dataTransfer: data, bubbles: true }));
        return Object.fromEntries([...data.types].map((type) => [type, data.getData(type)]));
        """,
        two[0],
    )
    path = Path(two[0].get_attribute("data-path"))
    kind, name, url = carried["downloadurl"].split(":", 2)
    assert (kind, name, carried["text/plain"]) == ("audio/wav", path.name, str(path))
    bytes_there = page.js("return Array.from(new Uint8Array(await (await fetch(given[0])).arrayBuffer()))", url)
    assert bytes(bytes_there) == path.read_bytes()


def test_the_path_is_shown(page, two):
    two[0].find_element("css selector", "summary").click()
    assert two[0].get_attribute("data-path") in two[0].text


def test_a_take_s_words_length_and_seed_come_back_into_the_form(page, two):
    page.press(two[1], "Seed 7")
    assert [page[name].get_attribute("value") for name in ("prompt", "bars", "seed")] == ["sine of 330 Hz", "3", "7"]


# Recordings


@pytest.mark.parametrize(("label", "role"), [("Continue", "continue"), ("As melody", "melody")])
def test_a_take_is_gone_on_from_or_followed(page, two, label, role):
    page.press(two[0], label)
    assert chosen(page) == Path(two[0].get_attribute("data-path")).name
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
    name = chosen(page)
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
    assert chosen(page).startswith("dropped")


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
    kept = page.daemon.song / "MusicGen" / "recordings" / chosen(page)
    sound, rate = soundfile.read(kept)
    assert (kept.suffix, rate) == (".wav", 48_000)
    assert len(sound) > rate
    assert np.abs(sound).max() > 0.01  # Chromium's microphone beeps once a second


# The session, keys and eyes


def test_the_session_is_shown_and_changed(page):
    page["session-open"].click()
    page.write("d-bpm", 97.5)
    page.write("d-signature", "7/8")
    page.all("#session-form [type=submit]")[0].click()
    page.until(lambda: page["s-bpm"].text == "97.5")
    assert page.daemon.status()["bpm"] == 97.5
    assert page["s-signature"].text == "7/8"
    with page.daemon.client() as client:
        client.request("/musicgen/session", {"bpm": 120.0, "signature": "4/4"})
    page.until(lambda: page["s-bpm"].text == "120")
    assert page["s-source"].text == "set by hand"
    assert page["s-project"].text == "song"
    assert (page["m-model"].text, page["m-device"].text) == ("starter", "cpu")
    assert " GB" in page["m-memory"].text


def test_every_control_has_a_name_and_is_reached_with_the_tab_key(page, two):
    page.js(
        """
        for (const one of document.querySelectorAll("details")) one.open = true;
        document.activeElement.blur();
        window.reached = new Map();
        addEventListener("focusin", ({ target }) => reached.set(target, getComputedStyle(target).outlineStyle));
        """
    )
    wanted = [
        one
        for one in page.all("button, input, select, textarea, a, summary, .take")
        if one.is_displayed() and one.is_enabled() and one.get_attribute("tabindex") != "-1"
    ]
    assert [page.name_of(one) for one in wanted if not one.accessible_name] == []
    page.driver.find_element("css selector", "body").send_keys(Keys.TAB * (len(wanted) + 5))
    outlines = page.js("return arguments[0].map((one) => reached.get(one) ?? 'never')", wanted)
    unseen = {
        page.name_of(one): outline
        for one, outline in zip(wanted, outlines, strict=True)
        # Of a group of radio buttons the Tab key reaches the one that is chosen.
        if outline in ("never", "none") and one.get_attribute("type") != "radio"
    }
    assert unseen == {}


def test_keys_are_listed_work_and_can_be_turned_off(page, two):
    body = page.driver.find_element("css selector", "body")
    body.send_keys("?")
    assert "switch between A and B" in page["keys-dialog"].text
    page.driver.switch_to.active_element.send_keys(Keys.ESCAPE)
    body.send_keys("/")
    assert page.driver.switch_to.active_element == page["prompt"]
    page["prompt"].send_keys("jab")
    assert page["prompt"].get_attribute("value") == "jab"
    page.js("document.activeElement.blur()")
    body.send_keys("j")
    focused = page.driver.switch_to.active_element
    assert focused == page.all(".take")[0]
    focused.send_keys("p")
    page.until(lambda: page.all(".take.playing"))
    page.driver.switch_to.active_element.send_keys(Keys.ESCAPE)
    page.until(lambda: not page.all(".take.playing"))
    page["keys-open"].click()
    page["keys-on"].click()
    page.driver.switch_to.active_element.send_keys(Keys.ESCAPE)
    body.send_keys("/")
    assert page.driver.switch_to.active_element != page["prompt"]
    page.js("localStorage.clear()")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_in_both_schemes(page, scheme):
    page.driver.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    names = ("ground", "surface", "raised", "text", "muted", "accent", "other", "bad", "on-accent")
    found = page.js(
        "return arguments[0].map((n) => getComputedStyle(document.documentElement).getPropertyValue('--' + n))", names
    )
    colour = {name: luminance(value) for name, value in zip(names, found, strict=True)}
    assert (colour["ground"] < 0.2) == (scheme == "dark")
    for text, behind in [(text, behind) for text in ("text", "muted") for behind in ("ground", "surface", "raised")] + [
        ("accent", "surface"),
        ("bad", "surface"),
        ("on-accent", "accent"),
        ("ground", "other"),
    ]:
        lighter, darker = sorted((colour[text], colour[behind]), reverse=True)
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5, (text, behind)  # WCAG 2.2, 1.4.3


def luminance(text: str) -> float:
    """Return the relative luminance of "#rrggbb" as WCAG defines it."""
    shares = [int(text.strip()[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


def test_the_player_is_never_over_what_scrolls(page, two):
    page.press(two[0], "As melody")
    chosen(page)
    assert page.js("return document.documentElement.scrollHeight <= innerHeight")
    assert page["render"].rect["y"] + page["render"].rect["height"] < page["stop"].rect["y"]


def test_a_phone_s_width_needs_no_scrolling_sideways(page, two):
    for card, which in zip(two, "AB", strict=True):
        page.press(card, which)
    page["tempo-own"].click()
    page.driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    )
    try:
        for scrolled in ("document.documentElement", "document.querySelector('.page')"):
            assert page.js(f"return {scrolled}.scrollWidth") <= 360
        for one in page.all("button, input, select, textarea, .take"):
            if one.is_displayed():
                assert one.rect["x"] >= 0
                assert one.rect["x"] + one.rect["width"] <= 360, page.name_of(one)
    finally:
        page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_a_daemon_that_ended_is_missed_and_the_next_one_found(chromium, serve):
    first = serve()
    page = Page(chromium, None, first.port)
    page.open()
    page.write("prompt", "after all")
    first.close()
    page.until(lambda: page["trouble"].is_displayed())
    assert "musicgen-bridge start --panel" in page["trouble-text"].text
    assert page["state-word"].text == "away"
    serve(first.port)
    page.until(lambda: page["state-word"].text == "ready" and not page["trouble"].is_displayed())
    page["render"].click()
    page.until(lambda: page.all("#queue .cancel"))
    assert "after all" in page["queue"].text
