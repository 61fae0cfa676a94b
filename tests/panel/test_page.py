"""The page before the real daemon and its embedded model: what is asked becomes takes, and what fails is told."""

from __future__ import annotations

from pathlib import Path

from selenium.webdriver.common.keys import Keys

from musicgen_bridge.stems.manifest import read_take
from tests.panel.browser import Page


def stems(page) -> set[Path]:
    return set(page.daemon.song.glob("MusicGen/*.wav"))


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


def test_a_job_that_fails_says_what_to_do_until_it_is_dismissed(page):
    page.js("document.querySelector('.more').open = true")
    page.until(lambda: page.all("#model option[value=small]"))
    page.all("#model option[value=small]")[0].click()
    page["render"].click()
    (row,) = page.until(lambda: page.all("#queue [data-state=failed]"))
    assert "E_MODEL" in row.text
    assert "small" in row.text
    assert page["trouble"].is_displayed()
    page.press(row, "Dismiss")
    page.until(lambda: page["queue-empty"].is_displayed())


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
