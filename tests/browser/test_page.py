"""The page's own contract: a real Chromium reads the real web server; the service behind it is a small one of ours."""

from __future__ import annotations

import json
from collections.abc import Iterator

import msgspec
import pytest
from selenium import webdriver
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from streams.ops.view import Owner, UserView, WorkerStatus
from tests.browser.small_service import HOSTILE, SLASHED, START, Site, SmallService, change

pytestmark = pytest.mark.browser


@pytest.fixture
def site() -> Iterator[Site]:
    running = Site(SmallService())
    yield running
    running.stop()


def severe(driver: webdriver.Chrome) -> list[str]:
    """Console errors since the last call."""
    # the method is untyped in selenium
    return [entry["message"] for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]  # type: ignore[no-untyped-call]


def text_of(driver: webdriver.Chrome, selector: str) -> str:
    """The visible text, found and read in one step: the page swaps its live parts, and navigates, between two."""
    read = "const found = document.querySelector(arguments[0]); return found ? found.innerText : ''"
    return str(driver.execute_script(read, selector))


def follow(driver: webdriver.Chrome, text: str) -> None:
    """Click the link; again if the page swapped it away in between."""
    gone = (StaleElementReferenceException, NoSuchElementException)

    def clicked(page: webdriver.Chrome) -> bool:
        page.find_element(By.LINK_TEXT, text).click()
        return True

    WebDriverWait(driver, 20, ignored_exceptions=gone).until(clicked)


def resize(driver: webdriver.Chrome, width: int, height: int = 900, scheme: str = "light") -> None:
    driver.get("about:blank")  # the page of the test before has lost its server
    severe(driver)
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
    )
    driver.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_shows_flow_segments_and_changes(site: Site, chromium: webdriver.Chrome, width: int, scheme: str) -> None:
    resize(chromium, width, scheme=scheme)
    chromium.get(site.url)
    assert "8,412" in text_of(chromium, "#flow")
    assert "31.4" in text_of(chromium, "#moves")
    assert "2 min 10 s" in text_of(chromium, "#lag")
    assert "99.3k records" in text_of(chromium, "#lag")
    assert "12 ms" in text_of(chromium, "#lane-fold")
    assert "2.3 s" in text_of(chromium, "#lane-encode")
    assert "231" in text_of(chromium, "#queue")
    assert "people who love cooking and restaurants" in text_of(chromium, "#segments")
    assert "behaviour 62%, text 30%, neighbours 8%" in text_of(chromium, "#changes")
    assert "restoring" in text_of(chromium, "#partitions")
    assert "not-json" in text_of(chromium, "#dead")
    assert "91.3 %" in text_of(chromium, "#heads")
    assert "Without partition 5" in text_of(chromium, "#segments")
    assert "Nobody tells now of partition 4" in text_of(chromium, "#segments")
    assert "not heard of now" in text_of(chromium, "#workers")
    assert "12.3M counted here, 22.3M in all" in text_of(chromium, "#flow")
    assert "all workers" in text_of(chromium, "#h-segments")
    assert "this worker" in text_of(chromium, "#h-partitions")
    assert text_of(chromium, ".pill") == "Ready"
    overflow = chromium.execute_script("return document.documentElement.scrollWidth - window.innerWidth")
    assert overflow <= 0, "the page is wider than the window"
    assert severe(chromium) == []


def test_page_follows_the_service_without_a_reload(site: Site, chromium: webdriver.Chrome) -> None:
    resize(chromium, 1280)
    chromium.get(site.url)
    chromium.execute_script("window.sameDocument = true")
    site.service.events_per_second = 77.0
    site.service.why_not_ready = "partition 3 is being restored"
    site.service.changes.insert(0, change("u-new", "cooking", 500))
    wait = WebDriverWait(chromium, 20)
    wait.until(lambda driver: text_of(driver, "#flow").startswith("77"))
    wait.until(lambda driver: "u-new" in text_of(driver, "#changes"))
    wait.until(lambda driver: "partition 3 is being restored" in text_of(driver, "#health"))
    wait.until(lambda driver: driver.find_elements(By.CSS_SELECTOR, "#spark-flow polyline"))
    assert text_of(chromium, ".pill") == "Not ready"
    assert chromium.execute_script("return window.sameDocument")
    assert severe(chromium) == []


def test_old_and_unknown_lag_are_shown_as_such(site: Site, chromium: webdriver.Chrome) -> None:
    resize(chromium, 1280)
    site.service.lag_as_of = START + 7_000
    chromium.get(site.url)
    assert "as of 3 min 25 s ago" in text_of(chromium, "#lag")
    site.service.lag_as_of = 0.0
    chromium.get(site.url)
    assert text_of(chromium, "#lag").startswith("unknown")
    assert "Kafka has not told yet" in text_of(chromium, "#lag")


def test_paused_page_stands_still_and_resumes(site: Site, chromium: webdriver.Chrome) -> None:
    chromium.get(site.url)
    button = chromium.find_element(By.ID, "pause")
    button.click()
    assert button.get_attribute("aria-pressed") == "true"
    # one look may have been under way when the button was pressed; after two idle periods there is none
    chromium.execute_async_script("setTimeout(arguments[0], 1500)")
    site.service.events_per_second = 5.0
    chromium.execute_async_script("setTimeout(arguments[0], 2500)")
    assert "8,412" in text_of(chromium, "#flow")
    button.click()
    WebDriverWait(chromium, 20).until(lambda driver: text_of(driver, "#flow").startswith("5"))


def test_search_leads_to_the_users_page_with_reasons(site: Site, chromium: webdriver.Chrome) -> None:
    resize(chromium, 390)
    chromium.get(site.url)
    box = chromium.find_element(By.ID, "find")
    box.send_keys("u-1")
    box.submit()
    WebDriverWait(chromium, 20).until(lambda driver: driver.current_url == f"{site.url}/user/u-1")
    shown = text_of(chromium, "#user")
    assert "Is in 2 segments, because" in shown
    assert "the learned head is sure" in shown
    assert "people who love cooking" in shown
    assert "spend 7d" in shown
    assert "u-3" in shown
    assert "time passed" not in shown
    assert "the rule holds no longer: purchase.7d is 2" in shown
    assert chromium.execute_script("return document.documentElement.scrollWidth - window.innerWidth") <= 0
    assert severe(chromium) == []


def test_hostile_text_is_shown_as_text(site: Site, chromium: webdriver.Chrome) -> None:
    resize(chromium, 1280)
    chromium.get(site.url)
    site.service.changes.insert(0, change(f"{HOSTILE}2", "cooking", 600))
    WebDriverWait(chromium, 20).until(lambda driver: f"{HOSTILE}2" in text_of(driver, "#changes"))
    assert HOSTILE in text_of(chromium, "#segments")
    follow(chromium, HOSTILE)
    WebDriverWait(chromium, 20).until(lambda driver: HOSTILE in text_of(driver, "h1"))
    assert chromium.title.startswith(HOSTILE)
    scripts = [node.get_attribute("src") for node in chromium.find_elements(By.TAG_NAME, "script")]
    assert scripts == [f"{site.url}/static/page.js"]
    assert severe(chromium) == []


@pytest.mark.parametrize("user", [SLASHED, ".."])
def test_users_with_awkward_ids_are_found_through_search_and_links(
    site: Site, chromium: webdriver.Chrome, user: str
) -> None:
    site.service.changes.insert(0, change(user, "cooking", 700))
    chromium.get(site.url)
    follow(chromium, user)
    WebDriverWait(chromium, 20).until(lambda driver: "Is in 2 segments" in text_of(driver, "main"))
    box = chromium.find_element(By.ID, "find")
    box.send_keys(user)
    box.submit()
    WebDriverWait(chromium, 20).until(lambda driver: text_of(driver, "h1") == f"User {user}")
    assert "Is in 2 segments" in text_of(chromium, "main")


def test_unknown_user_is_told_so(site: Site, chromium: webdriver.Chrome) -> None:
    chromium.get(f"{site.url}/user/nobody")
    assert "No event of this user has been counted" in text_of(chromium, "main")
    severe(chromium)  # the browser logs the 404 itself


def test_every_control_has_a_name_and_text_has_contrast(site: Site, chromium: webdriver.Chrome) -> None:
    for scheme in ("light", "dark"):
        resize(chromium, 1280, scheme=scheme)
        for path in ("/", "/user/u-1"):
            chromium.get(site.url + path)
            nameless = chromium.execute_script(
                """return [...document.querySelectorAll('a, button, input, section, table, [role=group], [role=img]')]
                .filter(e => !(e.textContent.trim() || e.getAttribute('aria-label') || e.labels?.length))
                .map(e => e.outerHTML)"""
            )
            assert nameless == []
            assert chromium.execute_script(FAINT_TEXT) == []


#: elements whose own text has less than WCAG AA's 4.5:1 against the nearest painted background
FAINT_TEXT = """
const rgb = c => c.match(/[\\d.]+/g).map(Number);
const lum = c => { const [r, g, b] = c.map(v => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
  return .2126 * r + .7152 * g + .0722 * b; };
const back = e => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor);
  if (c.length < 4 || c[3] > 0) return c.slice(0, 3); } return [255, 255, 255]; };
const speaks = e => [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim());
return [...document.querySelectorAll('body *')].filter(speaks)
  .filter(e => { const [a, b] = [lum(rgb(getComputedStyle(e).color).slice(0, 3)), lum(back(e))].sort((x, y) => y - x);
    return (a + .05) / (b + .05) < 4.5; })
  .map(e => e.outerHTML);
"""


def test_api_tells_status_and_user_as_the_service_does(site: Site) -> None:
    code, headers, body = site.get("/api/status")
    assert code == 200
    assert headers["Content-Type"].startswith("application/json")
    assert msgspec.json.decode(body, type=WorkerStatus) == site.service.status()
    code, _, body = site.get("/api/users/u-1")
    assert code == 200
    assert msgspec.json.decode(body, type=UserView) == site.service.users["u-1"]
    code, _, body = site.get("/api/users/nobody")
    assert code == 404
    assert "error" in json.loads(body)


def test_health_answers_follow_the_service(site: Site) -> None:
    assert [site.get(path)[0] for path in ("/livez", "/startupz", "/readyz")] == [200, 200, 200]
    site.service.why_not_ready = "partition 3 is being restored"
    code, _, body = site.get("/readyz")
    assert (code, json.loads(body)["reason"]) == (503, "partition 3 is being restored")
    assert b"segments_ready 0.0" in site.get("/metrics")[2]
    assert site.get("/livez")[0] == 200
    assert site.get("/api/users/nobody")[0] == 503, "an unready worker cannot say that a user is unknown"
    site.service.alive = False
    assert site.get("/livez")[0] == 503
    assert site.get("/readyz")[0] == 503


def test_every_answer_forbids_foreign_and_inline_content(site: Site) -> None:
    for path in ("/", "/user/u-1", "/api/status", "/api/users/nobody", "/metrics", "/livez", "/static/page.css", "/no"):
        _, headers, body = site.get(path)
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        if path.startswith(("/static", "/user")) or path == "/":
            assert b"http://" not in body.replace(b"http://www.w3.org/2000/svg", b"")
            assert b"https://" not in body
            assert b"style=" not in body
    assert site.get("/static/../server.py")[0] == 404
    assert site.get("/static/%2e%2e%2fserver.py")[0] == 404


def test_user_of_another_worker_is_looked_up_there(site: Site) -> None:
    other = Site(SmallService())
    there = Owner(partition=2, worker="worker-2", url=other.url)
    try:
        only_there = "lives-elsewhere"
        other.service.users[only_there] = msgspec.structs.replace(other.service.users["u-1"], user=only_there)
        site.service.elsewhere = dict.fromkeys((only_there, "..", SLASHED, "nobody"), there)
        for user in (only_there, "%2e%2e", "shop%2F%C3%BC%20%3F%23%252F%26.."):
            code, _, body = site.get(f"/api/users/{user}")
            assert code == 200, body
            assert msgspec.json.decode(body, type=UserView).memberships
        assert b"the learned head is sure" in site.get(f"/user/{only_there}")[2]
        code, _, body = site.get("/api/users/nobody")
        assert (code, json.loads(body)["error"]) == (404, "No event of this user has been counted.")
    finally:
        other.stop()
    code, _, body = site.get(f"/api/users/{only_there}")
    assert code == 502
    assert json.loads(body)["owner"] == {"worker": "worker-2", "url": other.url}


def test_only_the_owner_says_that_a_user_is_unknown_and_no_lookup_is_passed_round(site: Site) -> None:
    other = Site(SmallService())
    try:
        site.service.elsewhere = {"nobody": Owner(worker="worker-2", url=other.url)}
        other.service.elsewhere = {"nobody": Owner(worker="worker-1", url=site.url)}  # each believes it is the other's
        code, _, body = site.get("/api/users/nobody")
        assert code == 503
        assert "does not look after the user any more" in json.loads(body)["error"]
    finally:
        other.stop()
    site.service.elsewhere["nobody"] = Owner(worker="worker-2")
    code, _, body = site.get("/api/users/nobody")
    assert code == 421
    assert "worker-2" in json.loads(body)["error"]
    site.service.elsewhere["nobody"] = Owner(partition=3)
    code, _, body = site.get("/api/users/nobody")
    assert code == 503
    assert "partition 3" in json.loads(body)["error"]
