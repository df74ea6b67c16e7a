"""The catalogue of metrics: names, exposition, quantiles."""

from __future__ import annotations

import subprocess

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.parser import text_string_to_metric_families

from streams.ops.metrics import LANES, LATENCY_BUCKETS, Metrics, buckets, quantile

NAMED_IN_THE_DESIGN = [
    "segments_events_total",
    "segments_duplicates_total",
    "segments_late_events_total",
    "segments_misrouted_total",
    "segments_merged_total",
    "segments_lost_records_total",
    "segments_dead_letters_total",
    "segments_changes_total",
    "segments_event_to_change_seconds",
    "segments_commit_seconds",
    "segments_batch_records",
    "segments_encode_queue_depth",
    "segments_encode_queue_age_seconds",
    "segments_encoded_users_total",
    "segments_encoded_texts_total",
    "segments_encode_failures_total",
    "segments_texts_skipped_total",
    "segments_encode_set_aside_total",
    "segments_graph_messages_total",
    "segments_restore_records_total",
    "segments_restoring_partitions",
    "segments_standby_lag_records",
    "segments_assigned_partitions",
    "segments_users_cached",
    "segments_cache_bytes",
    "segments_segment_users",
    "segments_head_accuracy",
    "segments_head_version",
    "segments_head_drift_total",
    "kafka_consumergroup_lag",
    "kafka_consumergroup_lag_seconds",
]


def filled() -> Metrics:
    """Every metric with one series at least."""
    metrics = Metrics()
    metrics.events.labels(topic="user-events").inc(3)
    metrics.dead_letters.labels(reason="not-json").inc()
    metrics.lost.labels(topic="user-events").inc()
    metrics.changes.labels(segment="a", change="entered", origin="event").inc()
    metrics.event_to_change.labels(lane="fold").observe(0.02)
    metrics.graph_messages.labels(direction="sent").inc()
    metrics.segment_users.labels(segment="a").set(4)
    for head in (metrics.head_accuracy, metrics.head_version):
        head.labels(group="taste").set(1)
    metrics.head_drift.labels(group="taste").inc()
    metrics.standby_lag.labels(partition="0").set(3)
    for lag in (metrics.lag, metrics.lag_seconds):
        lag.labels(consumergroup="segments", topic="user-events", partition="0").set(1)
    return metrics


def test_catalogue_has_every_promised_metric() -> None:
    names = [declared.name for declared in Metrics().catalogue()]
    assert set(NAMED_IN_THE_DESIGN) <= set(names)
    assert len(names) == len(set(names))


def test_exposition_has_each_declared_series_with_its_labels_and_help() -> None:
    body, content_type = filled().render()
    assert content_type.startswith("text/plain; version=0.0.4")
    families = list(text_string_to_metric_families(body.decode()))
    samples = {sample.name: set(sample.labels) for family in families for sample in family.samples}
    helps = {family.name: family.documentation for family in families}
    for declared in Metrics().catalogue():
        for name in declared.series:
            wanted = set(declared.labels) | ({"le"} if name.endswith("_bucket") else set())
            assert samples[name] == wanted, name
        assert helps[declared.name.removesuffix("_total")] == declared.help
    assert "process_resident_memory_bytes" in samples


def test_prometheus_own_linter_finds_no_fault() -> None:
    body, _ = filled().render()
    lint = subprocess.run(["promtool", "check", "metrics"], input=body, capture_output=True, check=False)
    assert (lint.returncode, lint.stdout + lint.stderr) == (0, b"")


def test_two_workers_in_one_process_count_apart() -> None:
    one, other = Metrics(), Metrics()
    one.duplicates.inc(5)
    assert other.registry.get_sample_value("segments_duplicates_total") == 0
    registry = CollectorRegistry()
    Metrics(registry).duplicates.inc(2)
    assert registry.get_sample_value("segments_duplicates_total") == 2


def test_every_lane_is_exposed_before_its_first_observation() -> None:
    registry = Metrics().registry
    for lane in LANES:
        assert registry.get_sample_value("segments_event_to_change_seconds_count", {"lane": lane}) == 0


def test_quantile_interpolates_inside_the_bucket() -> None:
    histogram = Histogram("x", "x", registry=None, buckets=(1.0, 2.0, 4.0))
    for value in (0.5, 1.5, 1.5, 3.0):
        histogram.observe(value)
    assert quantile(histogram, None, 0.5) == pytest.approx(1.5)
    assert quantile(histogram, None, 0.75) == pytest.approx(2.0)
    assert quantile(histogram, None, 1.0) == pytest.approx(4.0)


def test_quantile_beyond_the_last_bound_is_that_bound() -> None:
    histogram = Histogram("x", "x", registry=None, buckets=(1.0, 2.0))
    histogram.observe(50.0)
    assert quantile(histogram, None, 0.99) == 2.0


def test_quantile_of_nothing_is_none_and_of_another_lane_untouched() -> None:
    metrics = Metrics()
    metrics.event_to_change.labels(lane="encode").observe(0.3)
    assert quantile(metrics.event_to_change, {"lane": "fold"}, 0.5) is None
    assert quantile(metrics.event_to_change, {"lane": "encode"}, 0.5) is not None
    assert quantile(metrics.event_to_change, {"lane": "no such"}, 0.5) is None
    assert quantile(metrics.commit_seconds, None, 0.5) is None


def test_quantile_since_a_moment_forgets_what_was_before() -> None:
    metrics = Metrics()
    slow = metrics.event_to_change.labels(lane="fold")
    for _ in range(1_000):
        slow.observe(20.0)
    before = buckets(metrics.event_to_change, {"lane": "fold"})
    assert quantile(metrics.event_to_change, {"lane": "fold"}, 0.5, since=before) is None
    slow.observe(0.004)
    recent = quantile(metrics.event_to_change, {"lane": "fold"}, 0.99, since=before)
    assert recent is not None
    assert recent <= 0.005


def test_quantile_refuses_what_is_no_quantile() -> None:
    with pytest.raises(ValueError, match="quantile"):
        quantile(Metrics().commit_seconds, None, 99)


@given(
    st.lists(st.floats(0.0, 59.0), min_size=1, max_size=200),
    st.floats(0.0, 1.0),
)
def test_quantile_lies_in_the_bucket_of_the_true_quantile(values: list[float], q: float) -> None:
    histogram = Histogram("x", "x", registry=None, buckets=LATENCY_BUCKETS)
    for value in values:
        histogram.observe(value)
    found = quantile(histogram, None, q)
    assert found is not None
    true = float(np.quantile(values, q, method="inverted_cdf"))
    upper = min(bound for bound in LATENCY_BUCKETS if bound >= true)
    lower = max([0.0, *(bound for bound in LATENCY_BUCKETS if bound < true)])
    assert lower - 1e-12 <= found <= upper + 1e-12
