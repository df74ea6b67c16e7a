"""An outage of Kafka is told by a few lines of ours; what its clients say is folded into them."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import pytest

from streams.ops.outage import CLIENT_LINE, CLIENTS, FoldClients, Outage

START = 1_767_261_600.0  # 2026-01-01 10:00:00


@pytest.fixture
def told() -> Iterator[io.StringIO]:
    """What the log has, behind the filter."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.addFilter(FoldClients())
    root = logging.getLogger()
    root.addHandler(handler)
    yield written
    root.removeHandler(handler)


def test_an_outage_is_told_at_once_every_minute_and_when_it_is_over(told: io.StringIO) -> None:
    outage = Outage("kafka:9092", START)
    for second in range(0, 150, 2):
        outage.note(second < 10 or second > 140, START + second)
        assert bool(outage.since) == (10 <= second <= 140)
    assert told.getvalue().splitlines() == [
        "Kafka does not answer since 2026-01-01 10:00:08 UTC (kafka:9092)",
        "Kafka still does not answer, since 2026-01-01 10:00:08 UTC, 62 s (kafka:9092)",
        "Kafka still does not answer, since 2026-01-01 10:00:08 UTC, 122 s (kafka:9092)",
        "Kafka answers again after 134 s",
    ]


def test_clients_say_nothing_of_an_outage_but_its_cause_with_our_first_line(told: io.StringIO) -> None:
    outage = Outage("kafka:9092", START)
    for _ in range(100):
        CLIENTS.error("%s [%s] %s", "FAIL", "rdkafka#consumer-4", "Connect to ipv4#127.0.0.1:9092 failed: refused")
        logging.getLogger("aiokafka.cluster").warning("Topic x is not available during auto-create initialization")
    outage.note(False, START + 5)
    logging.getLogger("aiokafka.consumer.group_coordinator").error("Heartbeat session expired")
    logging.getLogger("streams.kafka.transport").error("[^--Consumer]: Commit raised")
    outage.note(True, START + 60)
    logging.getLogger("aiokafka").warning("Marking the coordinator dead")
    assert told.getvalue().splitlines() == [
        "Kafka does not answer since 2026-01-01 10:00:00 UTC (kafka:9092); its client: FAIL [rdkafka#consumer-4] "
        "Connect to ipv4#127.0.0.1:9092 failed: refused",
        "Kafka answers again after 60 s",
    ]


def test_what_is_no_outage_stays_though_there_is_one(told: io.StringIO) -> None:
    Outage("kafka:9092", START).note(False, START + 5)
    kept = [
        "SASL authentication error: Authentication failed",
        "Topic authorization failed for: user-events",
        "SSL handshake failed: certificate verify failed",
        "Subscribed topic not available: user-events: Broker: Unknown topic or partition",
    ]
    for line in kept:
        CLIENTS.error(line)
    logging.getLogger("streams.app").warning("ours")
    assert told.getvalue().splitlines()[1:] == [*kept, "ours"]


def test_without_an_outage_the_clients_warnings_stay(told: io.StringIO) -> None:
    logging.getLogger("aiokafka.consumer").warning("Heartbeat failed")
    CLIENTS.info("nobody needs this")
    assert told.getvalue().splitlines() == ["Heartbeat failed"]


def test_with_the_level_debug_all_is_told() -> None:
    record = logging.LogRecord("librdkafka", logging.ERROR, "", 0, "Connect to … failed", (), None)
    assert FoldClients("DEBUG").filter(record)
    assert not FoldClients("INFO").filter(record)


def test_a_line_of_ours_that_says_nothing_new_is_left_out_only_while_kafka_is_away(told: io.StringIO) -> None:
    ours, outage = logging.getLogger("streams.kafka.attempts"), Outage("kafka:9092", START)
    ours.warning("partition 3: Local: Timed out; it is tried again", extra=CLIENT_LINE)
    outage.note(False, START + 5)
    ours.warning("partition 4: Local: Timed out; it is tried again", extra=CLIENT_LINE)
    lines = told.getvalue().splitlines()
    assert lines[0] == "partition 3: Local: Timed out; it is tried again"
    assert len(lines) == 2
