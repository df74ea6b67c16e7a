"""The page of the real service: a worker on a real Kafka, looked at with a real Chromium."""

from __future__ import annotations

import time

import pytest
from selenium import webdriver

from streams.kafka.broker import EmbeddedBroker
from streams.tools.replay import replay
from streams.tools.sources import Records
from streams.tools.town import Town
from streams.wire.topics import Topics
from tests.browser.test_page import severe, text_of
from tests.helpers import Start

pytestmark = pytest.mark.browser


def test_the_page_of_a_worker_shows_its_changes_and_why_a_user_is_in_a_segment(
    broker: EmbeddedBroker, topics: Topics, start: Start, chromium: webdriver.Chrome
) -> None:
    worker = start()
    worker.wait_ready()
    town = Town(21, 20, labels_share=0.0)
    sent = replay(
        Records("town", town.events(1_500, time.time() - 30.0, 100.0)), {"bootstrap.servers": broker.bootstrap}, topics
    )
    status = worker.wait_idle(sent.events)
    newest = next(change for change in status["recent_changes"] if change["change"] == "entered")

    chromium.get(f"http://127.0.0.1:{worker.port}/")
    body = text_of(chromium, "body")
    assert newest["segment"] in body
    assert "Ready" in body
    assert "regulars" in body
    chromium.get(f"http://127.0.0.1:{worker.port}/user/{newest['user']}")
    body = text_of(chromium, "body")
    assert newest["segment"] in body
    assert newest["reason"]["summary"].split(":")[0] in body
    assert severe(chromium) == []
