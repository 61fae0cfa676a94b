"""How the page is used: the session, the keyboard, a screen reader's names, both colour schemes, a narrow window."""

from __future__ import annotations

import numpy as np
import pytest
from selenium.webdriver.common.keys import Keys


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
    page.chosen()
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
