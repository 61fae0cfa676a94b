"""Takes in the page: loops without a gap, started on the bar line, compared in step, and carried out of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.panel.conftest import make_take


def test_a_loop_has_no_gap(page):
    """The page's own player, rendered offline, against the take's samples one after another."""
    path = make_take(page.daemon.root, page.daemon.song, 441, bars=1.0, bpm=240.0)
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
    page.until(lambda: page["counter"].text[-1] in "234")
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
    page.press(two[0], "Play")
    page.until(lambda: page["counter"].text[-1] in "234")
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


def test_of_two_compared_takes_one_is_heard(page):
    paths = [make_take(page.daemon.root, page.daemon.song, hertz, bpm=240.0) for hertz in (220, 330)]
    heard = page.js(
        """
        const { Player } = await import("/static/player.js");
        const { load } = await import("/static/sound.js");
        const get = async (path) => (await fetch("/take?path=" + encodeURIComponent(path))).json();
        const [a, b] = await Promise.all(given[0].map(get));
        const context = new OfflineAudioContext(1, a.frames, a.sample_rate);
        context.resume = () => {};
        const player = new Player(() => context);
        player.choose("a", a);
        player.choose("b", b);
        const buffers = await Promise.all([a, b].map((take) => load(take.path, take.sample_rate)));
        player.compare(new Map([[a.path, buffers[0]], [b.path, buffers[1]]]));
        return Array.from((await context.startRendering()).getChannelData(0));
        """,
        [str(path) for path in paths],
    )
    samples = soundfile.read(paths[1], dtype="float32")[0][:, 0]
    began = round(0.05 * 48_000)
    np.testing.assert_allclose(heard[began + 4800 :], samples[4800 : len(heard) - began], atol=1e-3)


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
