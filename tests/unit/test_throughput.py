"""The throughput benchmark measures all contestants alike, and says what their rates come to."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks.harness import BenchmarkError
from benchmarks.load import load
from benchmarks.peers.jvm import contestants as jvm
from benchmarks.peers.jvm.check import LOADS as CHECKED
from benchmarks.peers.jvm.check import Outcome, differences, expected
from benchmarks.tables import throughput as table
from benchmarks.throughput import LOADS, Contestant, Load, loads_of, ratios, run


def rate(events: int) -> dict[str, Any]:
    return {"events_per_second": events}


def test_a_loads_ratios_are_ours_to_each_rival_that_was_there() -> None:
    found = {"ours": rate(400), "kafka-streams": rate(200), "flink-heap": rate(500), "flink-rocksdb": rate(100)}
    assert ratios(found) == {
        "ratio_to_kafka_streams": 2.0,
        "ratio_to_flink_heap": 0.8,
        "ratio_to_flink_rocksdb": 4.0,
    }
    found |= {"bytewax": rate(80), "faust-table": rate(4), "stock-faust": rate(1_000)}
    assert ratios(found)["ratio_to_fastest_python_peer"] == 5.0, "of the peers: who does nothing is none"
    assert ratios({"ours": rate(90), "ours-at-least-once": rate(100)}) == {"exactly_once_cost": 0.1}
    assert ratios({"flink-heap": rate(500)}) == {}


def test_a_jvm_peer_is_measured_between_two_commits_well_inside_the_load() -> None:
    commits = [[0.0, 9.0, 50], [1.0, 10.0, 100], [2.0, 11.0, 400], [3.0, 13.0, 900], [9.0, 14.0, 1_000]]
    found = jvm.figures({"commits": commits, "changes": 7, "gc_seconds": 0.5})
    assert found["events"] == 800
    assert found["events_per_second"] == 400.0
    assert found["cpu_microseconds_per_event"] == pytest.approx(3e6 / 800)
    assert (found["commits"], found["changes"], found["gc_seconds"]) == (5, 7, 0.5)


def test_what_a_jvm_peer_did_before_the_users_were_known_is_left_out() -> None:
    commits = [[0.0, 1.0, 500], [1.0, 2.0, 1_000], [2.0, 4.0, 1_100], [3.0, 7.0, 1_900], [4.0, 8.0, 2_000]]
    found = jvm.figures({"commits": commits, "changes": 7, "gc_seconds": 0.5}, before=1_000)
    assert found["events"] == 800
    assert found["cpu_microseconds_per_event"] == pytest.approx(3e6 / 800)


@pytest.mark.parametrize("commits", [[], [[1.0, 1.0, 1_000]], [[1.0, 1.0, 500], [2.0, 2.0, 1_000]]])
def test_too_few_commits_of_a_jvm_peer_are_no_figure(commits: list[list[float]]) -> None:
    with pytest.raises(BenchmarkError, match="give more events"):
        jvm.figures({"commits": commits, "changes": 0, "gc_seconds": 0.0})


def tools(directory: Path, monkeypatch: pytest.MonkeyPatch, **says: str) -> None:
    """A PATH that has these tools only, each of which says so much."""
    for name, text in says.items():
        tool = directory / name
        tool.write_text(f"#!/bin/sh\necho '{text}'\n")
        tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}{os.pathsep}/nowhere")


def test_without_maven_or_a_jdk_new_enough_one_line_says_why_the_jvm_peers_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools(tmp_path, monkeypatch)
    assert "there is no mvn on the PATH" in (jvm.missing() or "")
    tools(tmp_path, monkeypatch, mvn="", java="")
    assert "there is no javac on the PATH" in (jvm.missing() or "")
    tools(tmp_path, monkeypatch, javac="javac 11.0.20")
    assert (jvm.missing() or "").endswith("Maven and a JDK of 17 or newer, and javac is 11")
    tools(tmp_path, monkeypatch, javac="javac 17.0.15")
    assert jvm.missing() is None


def test_the_versions_of_libraries_are_those_of_their_files() -> None:
    names = ["kafka-streams-4.1.2.jar", "flink-connector-kafka-5.0.0-2.2.jar", "job-1.jar", "LICENSE"]
    assert jvm.jar_versions(names) == {
        "kafka-streams": "4.1.2",
        "flink-connector-kafka": "5.0.0-2.2",
        "job": "1",
    }


def test_the_jvm_peers_name_no_package_registry() -> None:
    files = [*jvm.SOURCES.rglob("pom.xml"), *jvm.SOURCES.rglob("*.java")]
    assert len(files) > 10
    for file in files:
        assert not re.search(r"https?:|<repositor|<pluginRepositor", file.read_text("utf-8")), file


def test_a_change_or_a_state_that_differs_is_found() -> None:
    records = list(load(2_000, 20, "zipf"))
    wanted = expected(records)
    assert wanted.changes
    assert differences(wanted, expected(records)) == []
    shuffled = Outcome(wanted.changes[::-1], dict(reversed(wanted.states.items())))
    assert differences(wanted, shuffled) == [], "who comes first is another partition's matter"

    assert "instead of" in differences(wanted, Outcome(wanted.changes[1:], wanted.states))[0]
    (twice,) = differences(wanted, Outcome([*wanted.changes, wanted.changes[-1]], wanted.states))[:1]
    assert twice == f"{len(wanted.changes) + 1} changes instead of {len(wanted.changes)}"

    user = next(iter(wanted.states))
    other = wanted.states | {user: wanted.states[user] | {"count": wanted.states[user]["count"] + 1}}
    assert differences(wanted, Outcome(wanted.changes, other))[0].startswith(f"{user} is ")
    fewer = {name: state for name, state in wanted.states.items() if name != user}
    assert differences(wanted, Outcome(wanted.changes, fewer)) == [f"1 users are missing, {user} among them"]
    assert differences(wanted, Outcome(wanted.changes, fewer), all_users=False) == []
    assert differences(Outcome(wanted.changes, fewer), wanted) == [f"1 users that there are not, {user} among them"]


def test_the_last_bit_of_a_float_may_differ_and_no_more() -> None:
    wanted = Outcome([], {"u": {"due": 1.0, "zero": 2.0}})
    assert differences(wanted, Outcome([], {"u": {"due": 1.0 + 1e-15, "zero": 2.0}})) == []
    assert differences(wanted, Outcome([], {"u": {"due": 1.0 + 1e-6, "zero": 2.0}}))
    assert differences(wanted, Outcome([], {"u": {"due": None, "zero": 2.0}}))


def test_the_checked_loads_have_late_events_and_ids_sent_again() -> None:
    times = [json.loads(value)["time"] for _, value in CHECKED["weeks"]()]
    ids = [json.loads(value)["id"] for _, value in CHECKED["weeks"]()]
    assert times != sorted(times)
    assert len(set(ids)) < len(ids)


def test_the_table_has_three_loads_and_a_load_that_is_asked_for_is_alone() -> None:
    assert [each.name for each in loads_of(None, None, None)] == ["zipf-10000", "uniform-200000", "uniform-1000000"]
    assert [each.name for each in loads_of(50_000, "uniform", None)] == ["uniform-50000"]
    assert [each.name for each in loads_of(50_000, None, 7)] == ["zipf-50000"]
    assert [each.events for each in loads_of(None, None, 7)] == [7, 7, 7]


def test_a_report_has_figures_for_each_contestant_of_each_load_and_their_table(monkeypatch: pytest.MonkeyPatch) -> None:
    def starter(name: str) -> Contestant:
        return Contestant(name, "exactly once", lambda *_: {}, packages={"lib": "1.0"})

    def measured(given: Load, starters: list[Contestant], *_: Any) -> dict[str, Any]:
        figures = {"events_per_second": 1_000, "minimum": 900, "maximum": 1_100, "cpu_microseconds_per_event": 2.0}
        found = {
            each.name: figures | {"rounds": [{}], "guarantee": each.guarantee, "packages": dict(each.packages)}
            for each in starters
        }
        return found | ratios(found) | {"users": given.users, "spread": given.spread, "events": given.events}

    monkeypatch.setattr("benchmarks.throughput.measure", measured)
    names = ["ours", "ours-at-least-once", "kafka-streams", "flink-heap", "bytewax", "stock-faust"]
    report = run(LOADS, [starter(name) for name in names], 2, 1, 1)
    first, *others = report["loads"].values()
    assert first.keys() >= set(names)
    for each in others:
        assert each.keys() >= {"ours", "kafka-streams", "flink-heap", "bytewax"}
        assert not each.keys() & {"ours-at-least-once", "stock-faust"}, "these do not depend on the load"
        assert each["ours"]["events_per_second"] == 1_000
        assert each["ratio_to_fastest_python_peer"] == each["ratio_to_flink_heap"] == 1.0
    page = "\n".join(table(report))
    assert "|  | guarantee | 10,000 users, zipf | 200,000 users, uniform | 1,000,000 users, uniform |" in page
    row = "| flink-heap (lib 1.0) | exactly once |" + " 1,000 (900 to 1,100); 2.0 µs |" * 3
    assert row in page
    assert "* 200,000 users, uniform, 5,000,000 events: 1 times the fastest Python peer; 1 times Kafka Streams" in page
