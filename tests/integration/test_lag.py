"""Lag from a real broker's end offsets. Positions and the time of each look are the test's own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from hypothesis import given
from hypothesis import strategies as st

from streams.kafka.broker import EmbeddedBroker
from streams.ops.lag import EndSamples, LagMonitor, PartitionLag
from streams.ops.metrics import Metrics
from tests.helpers import wait_for
from tests.pausing import paused

GROUP = "lag-test"


class Bench:
    """One topic of two partitions, and a monitor that looks at it."""

    def __init__(self, bootstrap: str, topic: str, timeout: float = 5.0) -> None:
        self.bootstrap = bootstrap
        self.topic = topic
        admin = AdminClient({"bootstrap.servers": bootstrap})
        arrival = {"message.timestamp.type": "LogAppendTime"}
        admin.create_topics([NewTopic(topic, 2, 1, config=arrival)])[topic].result(20)
        self.metrics = Metrics()
        self.monitor = LagMonitor({"bootstrap.servers": bootstrap}, GROUP, self.metrics, timeout)
        self.producer = Producer({"bootstrap.servers": bootstrap})
        # a topic that was just made has no leader for a moment, and then nobody can tell its end
        while len(LagMonitor({"bootstrap.servers": bootstrap}, GROUP, Metrics()).observe(self.both(0, 0), 0.0)) < 2:
            time.sleep(0.05)

    def both(self, first: int, second: int) -> dict[tuple[str, int], int]:
        """Positions of both partitions."""
        return {(self.topic, 0): first, (self.topic, 1): second}

    def produce(self, count: int, partition: int = 0) -> None:
        for number in range(count):
            self.producer.produce(self.topic, str(number).encode(), partition=partition)
        assert self.producer.flush(20) == 0

    def transactional(self, name: str) -> Producer:
        producer = Producer({"bootstrap.servers": self.bootstrap, "transactional.id": f"{self.topic}-{name}"})
        producer.init_transactions(20)
        return producer

    def look(self, position: int, now: float, partition: int = 0) -> PartitionLag:
        (lag,) = self.monitor.observe({(self.topic, partition): position}, now)
        return lag

    def look_at_end(self, position: int, end: int) -> PartitionLag:
        """Look until the end offset is ``end``: a transaction's marker is written a little after its commit."""
        while (lag := self.look(position, time.time())).end < end:
            time.sleep(0.02)
        assert lag.end == end
        return lag

    def gauge(self, name: str, partition: int = 0) -> float | None:
        labels = {"consumergroup": GROUP, "topic": self.topic, "partition": str(partition)}
        return self.metrics.registry.get_sample_value(name, labels)


@pytest.fixture
def bench(broker: EmbeddedBroker, unique_prefix: str) -> Iterator[Bench]:
    made = Bench(broker.bootstrap, f"{unique_prefix}lag")
    yield made
    made.monitor.close()


def test_lag_of_a_stalled_consumer_keeps_growing(bench: Bench) -> None:
    start = time.time()
    assert bench.look(0, start) == PartitionLag(bench.topic, 0, 0, 0, 0, 0.0)
    bench.produce(10)
    first = bench.look(0, start + 10)
    assert first.records == 10
    assert 0 < first.seconds <= 10
    bench.produce(10)
    second = bench.look(0, start + 20)
    third = bench.look(0, start + 3_600)  # nothing new comes and nothing is consumed
    assert (second.records, third.records) == (20, 20)
    assert second.seconds == pytest.approx(first.seconds + 10)
    assert third.seconds == pytest.approx(first.seconds + 3_590)
    assert bench.gauge("kafka_consumergroup_lag") == 20
    assert bench.gauge("kafka_consumergroup_lag_seconds") == third.seconds


def test_lag_falls_to_nothing_when_the_consumer_catches_up(bench: Bench) -> None:
    start = time.time()
    bench.look(0, start)
    bench.produce(10)
    bench.look(0, start + 10)
    bench.produce(10)
    assert bench.look(0, start + 20).records == 20
    half = bench.look(10, start + 30)  # the oldest waiting record is the first of the second ten
    assert half.records == 10
    assert 10 <= half.seconds <= 20
    done = bench.look(20, start + 40)
    assert (done.records, done.seconds) == (0, 0.0)


def test_age_at_start_up_comes_from_the_record_itself(bench: Bench) -> None:
    bench.produce(5)
    written = time.time()
    lag = bench.look(2, written + 500)
    assert lag.records == 3
    assert lag.seconds == pytest.approx(500, abs=5)
    assert bench.look(2, written + 510).seconds == pytest.approx(lag.seconds + 10)


def test_transaction_marker_at_the_end_is_no_lag(bench: Bench) -> None:
    producer = bench.transactional("marker")
    producer.begin_transaction()
    for _ in range(3):
        producer.produce(bench.topic, b"x", partition=0)
    producer.commit_transaction(20)
    # three records and the marker; the consumer has processed all three
    lag = bench.look_at_end(3, 4)
    assert (lag.records, lag.seconds) == (0, 0.0)
    producer.begin_transaction()
    producer.produce(bench.topic, b"y", partition=0)
    producer.commit_transaction(20)
    lag = bench.look_at_end(3, 6)
    assert lag.records == 2, "the record and the marker after it"
    assert lag.seconds > 0


def test_aborted_records_are_no_lag(bench: Bench) -> None:
    producer = bench.transactional("abort")
    producer.begin_transaction()
    producer.produce(bench.topic, b"x", partition=0)
    producer.flush(20)
    producer.abort_transaction(20)
    lag = bench.look_at_end(0, 2)
    assert (lag.records, lag.seconds) == (0, 0.0)


def test_records_behind_a_hanging_transaction_are_lag(bench: Bench) -> None:
    producer = bench.transactional("hang")
    producer.begin_transaction()
    producer.produce(bench.topic, b"x", partition=0)
    producer.flush(20)
    now = time.time()
    assert bench.look(0, now).records == 1
    assert bench.look(0, now + 60).seconds >= 60
    producer.abort_transaction(20)


def test_partition_that_was_revoked_is_exposed_no_longer(bench: Bench) -> None:
    now = time.time()
    bench.produce(4, partition=0)
    bench.produce(6, partition=1)
    lags = bench.monitor.observe(bench.both(0, 1), now)
    assert [(lag.partition, lag.records) for lag in lags] == [(0, 4), (1, 5)]
    bench.look(0, now + 1)
    assert bench.gauge("kafka_consumergroup_lag", 0) == 4
    assert bench.gauge("kafka_consumergroup_lag", 1) is None
    assert bench.gauge("kafka_consumergroup_lag_seconds", 1) is None


def test_partition_that_does_not_exist_counts_as_failure_and_spares_the_others(bench: Bench) -> None:
    bench.produce(4)
    (lag,) = bench.monitor.observe({(bench.topic, 0): 0, (bench.topic, 77): 0}, time.time())
    assert (lag.partition, lag.records) == (0, 4)
    assert bench.metrics.registry.get_sample_value("segments_lag_failures_total") == 1


def test_lag_goes_on_growing_while_the_broker_is_away_and_is_fresh_when_it_is_back(
    tmp_path: Path, unique_prefix: str
) -> None:
    with EmbeddedBroker(tmp_path / "kafka", heap_mb=256) as own:
        bench = Bench(own.bootstrap, f"{unique_prefix}lag", timeout=1.0)
        now = time.time()
        bench.look(0, now)
        bench.produce(7)
        before = bench.look(0, now + 10)
        own.kill()
        away = bench.look(0, now + 100)
        assert (away.records, away.fresh) == (7, False)
        assert away.seconds == pytest.approx(before.seconds + 90)
        assert bench.metrics.registry.get_sample_value("segments_lag_failures_total") == 1
        own.start()
        wait_for(lambda: bench.look(0, now + 110).fresh, 30.0, "an answer of the broker that is back")
        bench.monitor.close()


def test_a_broker_that_hangs_does_not_look_healthy_and_is_seen_again_when_it_answers(
    tmp_path: Path, unique_prefix: str
) -> None:
    """Asked by librdkafka, a hanging broker "answers" with offset -1001; back again it has new leader epochs."""
    with EmbeddedBroker(tmp_path / "kafka", heap_mb=256) as own:
        bench = Bench(own.bootstrap, f"{unique_prefix}lag", timeout=1.0)
        bench.produce(7)
        assert bench.look(0, time.time()).records == 7
        with paused(own.pid):
            until = time.monotonic() + 5.0  # longer than the broker's session with its controller
            while time.monotonic() < until:
                lag = bench.look(0, time.time())
                assert (lag.records, lag.fresh) == (7, False)
        wait_for(lambda: bench.look(0, time.time()).fresh, 20.0, "the end is known again")
        bench.produce(1)
        wait_for(lambda: bench.look(0, time.time()).records == 8, 20.0, "and fresh")
        bench.monitor.close()


# ---- the samples, without Kafka --------------------------------------------------------------------------------------

arrivals = st.lists(st.floats(0.01, 50.0), min_size=1, max_size=300)


@given(arrivals, st.floats(0.5, 20.0), st.integers(0, 299))
def test_arrival_is_within_one_look_of_the_truth(gaps: list[float], every: float, pick: int) -> None:
    times = [sum(gaps[: index + 1]) for index in range(len(gaps))]
    offset = pick % len(times)
    samples = EndSamples(limit=100_000)
    at = 0.0
    while at <= times[-1] + every:
        samples.add(at, sum(1 for moment in times if moment <= at))
        at += every
    found = samples.arrival(offset)
    assert found is not None
    assert abs(found - times[offset]) <= every + 1e-6


@given(st.lists(st.integers(0, 3), min_size=10, max_size=400), st.integers(4, 20))
def test_full_memory_still_spans_the_whole_stall(steps: list[int], limit: int) -> None:
    samples = EndSamples(limit)
    samples.add(0.0, 0)
    end = 0
    for index, step in enumerate(steps, start=1):
        end += step
        samples.add(float(index), end)
        assert len(samples) <= limit
    found = samples.arrival(0)
    assert (found is None) == (end == 0)
    if found is not None:
        assert 0.0 <= found <= len(steps)


def test_samples_before_the_position_are_forgotten_but_the_last() -> None:
    samples = EndSamples()
    for at in range(100):
        samples.add(float(at), at * 10)
    samples.forget_before(985)
    assert len(samples) == 2
    assert samples.arrival(985) == pytest.approx(98 + 0.6)
    assert samples.arrival(100) is None, "it was there before what is remembered"


def test_topic_made_anew_starts_afresh() -> None:
    samples = EndSamples()
    samples.add(0.0, 100)
    samples.add(1.0, 5)
    samples.add(2.0, 6)
    assert samples.arrival(5) == pytest.approx(2.0)
    assert len(samples) == 2
