"""What the form and a card ask for beside words: parts, recordings fitted, takes cut anew; and no more than once."""

from __future__ import annotations

from pathlib import Path

import pytest
from selenium.webdriver.common.action_chains import ActionChains

from musicgen_bridge.client import pairs
from musicgen_bridge.errors import CancelledError
from musicgen_bridge.stems.manifest import read_take
from tests.panel.test_page import stems


def asked(path: Path):
    """Return the request that a stem tells of."""
    return read_take(path.with_suffix(".json")).request


def in_own_time(page, bars: float, bpm: float) -> None:
    """Choose a length and a tempo of the take's own."""
    page["tempo-own"].click()
    page.write("bpm", bpm)
    page.write("bars", bars)


def check(page, *names: str) -> None:
    """Open what is folded away, and tick boxes there."""
    page.js("document.querySelector('.more').open = true")
    for name in names:
        page.js("arguments[0].scrollIntoView()", page[name])
        page[name].click()


def waiting(page) -> list[dict]:
    """Return the jobs that the daemon has not ended."""
    with page.daemon.client() as client:
        jobs = [pairs(reply, 3) for reply in client.request("/musicgen/list", {"what": "jobs"})]
    return [job for job in jobs if job.get("state") in ("queued", "running")]


def test_parts_and_their_sum_and_one_of_them_cut_anew(page):
    in_own_time(page, 1, 400)
    check(page, "mix")
    page.write("parts", "drums: ticks; bass: hum")
    page.write("loudness", -20)
    page["render"].click()
    page.until(lambda: len(stems(page)) == 3)
    found = {read_take(path.with_suffix(".json")).part.name: path for path in stems(page)}
    assert set(found) == {"drums", "bass", "mix"}
    assert asked(found["bass"]).loudness == -20

    card = page.take(found["bass"])
    page.js("arguments[0].open = true", page.all(".cut", card)[0])
    page.press(card, "Cut")
    page.until(lambda: "by how many beats it comes earlier" in page["trouble-text"].text)
    assert "beats earlier" in page.all(".cut", card)[0].text  # as Reaper and Live count it
    page.all(".cut input[name=shift_beats]", card)[0].send_keys("1")
    page.press(card, "Cut")
    (path,) = page.until(lambda: stems(page) - set(found.values()))
    cut = page.take(path)
    assert "cut anew" in cut.text
    assert (asked(path).mode, asked(path).shift_beats, asked(path).bars) == ("recut", 1.0, 1.0)
    assert "Again" not in [button.text for button in page.all("button", cut)]


def test_a_recording_is_brought_to_the_session(page, two):
    page.press(two[0], "As melody")
    page.chosen()
    page.js("document.querySelector('input[name=role][value=file]').click()")
    page.write("prompt", "words that say nothing of it")
    in_own_time(page, 1, 150)
    before = stems(page)
    page["render"].click()
    (path,) = page.until(lambda: stems(page) - before)
    assert (asked(path).mode, asked(path).bpm, asked(path).bars) == ("fit", 150.0, 1.0)
    assert asked(path).file == two[0].get_attribute("data-path")
    assert page.all(".cut", page.take(path)) == []


def test_without_demucs_a_split_says_what_to_do(page):
    check(page, "separate")
    page["render"].click()
    page.until(lambda: "models pull demucs" in page["trouble-text"].text)


def test_a_double_click_asks_once(page):
    page.write("bars", 64)
    ActionChains(page.driver).double_click(page["render"]).perform()
    page.until(lambda: page.all("#queue .cancel"))
    with page.daemon.client() as client:
        client.request("/musicgen/sync")
    assert len(waiting(page)) == 1
    page.all("#queue .cancel")[0].click()
    page.until(lambda: page["queue-empty"].is_displayed())


def test_a_job_is_found_again_by_a_page_loaded_anew_and_by_a_second_one(page):
    page.write("prompt", "endless")
    page.write("bars", 64)
    page["render"].click()
    page.until(lambda: "generating" in page["queue"].text)
    page.open()
    page.until(lambda: "endless" in page["queue"].text and "generating" in page["queue"].text)
    first = page.driver.current_window_handle
    page.driver.switch_to.new_window("tab")
    try:
        page.open()
        page.until(lambda: page.all("#queue .cancel"))[0].click()
        page.until(lambda: page["queue-empty"].is_displayed())
    finally:
        page.driver.close()
        page.driver.switch_to.window(first)
    page.until(lambda: page["queue-empty"].is_displayed())
    assert waiting(page) == []


def test_another_client_s_job_can_be_cancelled_too(page):
    with page.daemon.client() as client:
        replies = client.replies(client.new_id(), "/musicgen/render", {"prompt": "of a patch", "bars": 64}, patience=60)
        next(replies)
        page.until(lambda: "of a patch" in page["queue"].text)
        page.all("#queue .cancel")[0].click()
        with pytest.raises(CancelledError):
            list(replies)
    page.until(lambda: page["queue-empty"].is_displayed())
    assert not page["trouble"].is_displayed()
