"""What ends a worker by itself, what does not, and that another start goes on without a difference."""

from __future__ import annotations

import resource
import time
from pathlib import Path

import psutil

from streams.kafka.broker import EmbeddedBroker
from streams.tools.child import ChildWorker
from streams.tools.replay import replay
from streams.tools.sources import Records
from streams.tools.town import Town
from streams.wire.events import Event
from streams.wire.topics import Topics
from tests.helpers import APP, Start, wait_for
from tests.pausing import paused
from tests.verifier import verify


class Load:
    """Town events without comments, sent piece by piece."""

    def __init__(self, broker: EmbeddedBroker, topics: Topics, count: int, people: int = 60) -> None:
        events = Town(31, people).events(count, time.time() - 600.0, 100.0)
        self._events = [event for event in events if isinstance(event, Event) and event.kind != "comment"]
        self._conf: dict[str, str | int | float | bool] = {"bootstrap.servers": broker.bootstrap}
        self._topics = topics
        self.sent = 0

    def send(self, share: float) -> int:
        """Up to this share of all; returns how many were sent so far."""
        end = int(len(self._events) * share)
        replay(Records("town", self._events[self.sent : end], total=None), self._conf, self._topics)
        self.sent = end
        return end


def differences(broker: EmbeddedBroker, topics: Topics) -> list[str]:
    return verify(broker.bootstrap, APP, topics.prefix).differences


def log_of(worker: ChildWorker) -> str:
    return worker.log_path.read_text()


def wait_ended(worker: ChildWorker, deadline: float = 60.0) -> None:
    wait_for(lambda: not worker.running, deadline, "the worker ends by itself")


def test_a_damaged_file_ends_the_worker_and_the_next_start_heals_it(
    broker: EmbeddedBroker, topics: Topics, start_with_rules: Start, tmp_path: Path
) -> None:
    load = Load(broker, topics, 6_000, people=3_000)  # more than the blocks that opening reads
    first = start_with_rules()
    first.wait_idle(load.send(0.5))
    first.stop()
    second = start_with_rules()  # its records lie in files now, and it has read none of them yet
    second.wait_ready()
    for file in tmp_path.glob("state/one/*/*/*.sst"):
        with file.open("r+b") as table:
            size = file.stat().st_size
            for place in range(size // 10, size * 8 // 10, 512):
                table.seek(place)
                table.write(b"\xaa\x55" * 8)
    load.send(1.0)
    wait_ended(second)
    assert second.exit_status == 1
    assert "its files are damaged, it is wiped and restored from the changelog" in log_of(second)
    third = start_with_rules()
    third.wait_idle(load.sent)
    assert "was found damaged before" in log_of(third)
    third.stop()
    assert differences(broker, topics) == []


def test_a_full_disk_ends_the_worker_and_with_room_it_goes_on_where_it_was(
    broker: EmbeddedBroker, topics: Topics, start_with_rules: Start
) -> None:
    load = Load(broker, topics, 24_000, people=3_000)
    first = start_with_rules(batch_records="200")
    first.wait_idle(load.send(0.1))
    process = psutil.Process(first.pid)
    process.rlimit(psutil.RLIMIT_FSIZE, (40_000, resource.RLIM_INFINITY))
    share = 0.1

    def noticed() -> bool:  # when what is in memory goes to the files
        nonlocal share
        share = min(1.0, share + 0.004)
        load.send(share)
        return not first.running

    wait_for(noticed, 90.0, "the worker ends")
    assert first.exit_status == 1
    assert "cannot write the local state" in log_of(first)
    assert "make room on that disk and start the worker again" in log_of(first)
    second = start_with_rules(batch_records="200")
    second.wait_idle(load.sent)
    assert "restoring the partition from its changelog alone" not in log_of(second)
    second.stop()
    assert differences(broker, topics) == []


def test_a_worker_that_sleeps_past_its_session_writes_nothing_when_it_wakes(
    broker: EmbeddedBroker, topics: Topics, start_with_rules: Start
) -> None:
    load = Load(broker, topics, 12_000)
    first, second = start_with_rules("one", batch_records="200"), start_with_rules("two", batch_records="200")
    for worker in (first, second):
        worker.wait(lambda status: status["ready"] and len(status["partitions"]) == 1, 90.0, "one partition each")
    load.send(0.4)
    first.wait(lambda status: status["events_total"] > 100, 120.0, "in mid-load")
    with paused(first.pid):
        load.send(0.7)
        second.wait_idle(load.sent)  # it owns both, and has done what the sleeper had begun
        assignments = log_of(first).count("assigned partitions")
    load.send(1.0)
    # a turn under way is fenced, which ends it; with nothing under way it joins again
    wait_for(
        lambda: not first.running or log_of(first).count("assigned partitions") > assignments,
        30.0,
        "the sleeper ends or joins again",
    )
    if not first.running:
        assert first.exit_status == 1
        assert "was taken over by another worker" in log_of(first)
    workers = [worker for worker in (first, second) if worker.running]

    def idle() -> bool:
        found = [worker.status() for worker in workers]
        owned = [each for status in found for each in status["partitions"]]
        total = sum(status["events_total"] for status in found)
        return len(owned) == 2 and bool(total >= load.sent) and not any(each["lag_records"] for each in owned)

    wait_for(idle, 60.0, "all is counted")
    for worker in workers:
        worker.stop()
    assert differences(broker, topics) == []


def test_a_short_sleep_changes_nothing(broker: EmbeddedBroker, topics: Topics, start_with_rules: Start) -> None:
    load = Load(broker, topics, 4_000)
    worker = start_with_rules(session_timeout="8", batch_records="200", stuck_seconds="3", lag_interval="0.2")
    worker.wait_ready()
    load.send(0.5)
    worker.wait(lambda status: status["events_total"] > 100, 120.0, "in mid-load")
    with paused(worker.pid):
        load.send(1.0)
        time.sleep(3.5)  # longer than what the watchdog allows, shorter than the session
    worker.wait_idle(load.sent)
    assert log_of(worker).count("assigned partitions: 0, 1") == 1
    worker.stop()
    assert differences(broker, topics) == []


def test_a_turn_that_hangs_ends_the_worker_with_a_message_that_says_where(
    broker: EmbeddedBroker, topics: Topics, start_with_rules: Start
) -> None:
    load = Load(broker, topics, 3_000)
    load.send(1.0)
    first = start_with_rules(test_hang_at="3.produced:2", batch_records="200", stuck_seconds="3", lag_interval="0.5")
    wait_ended(first)
    assert first.exit_status == 1
    assert "stands still at offset" in log_of(first)
    assert "of " + topics.events in log_of(first)
    assert "its turn takes" in log_of(first)
    second = start_with_rules(batch_records="200")
    second.wait_idle(load.sent)
    second.stop()
    assert differences(broker, topics) == []


def test_a_named_member_that_restarts_within_its_session_moves_no_partition(
    broker: EmbeddedBroker, topics: Topics, start_with_rules: Start
) -> None:
    load = Load(broker, topics, 2_000)
    names = ("one", "two")
    workers = {name: start_with_rules(name, static_membership="true", session_timeout="60") for name in names}
    for worker in workers.values():
        worker.wait(lambda status: status["ready"] and len(status["partitions"]) == 1, 90.0, "one partition each")
    for name, other in (names, names[::-1]):
        owned = workers[name].status()["partitions"][0]["partition"]
        before = log_of(workers[other]).count("assigned partitions")
        workers[name].stop()
        workers[name] = start_with_rules(name, static_membership="true", session_timeout="60")
        status = workers[name].wait(lambda status: status["ready"], 120.0, "ready again")
        assert [each["partition"] for each in status["partitions"]] == [owned]
        assert log_of(workers[other]).count("assigned partitions") == before
    load.send(1.0)

    def counted() -> bool:
        return bool(sum(worker.status()["events_total"] for worker in workers.values()) >= load.sent)

    wait_for(counted, 60.0, "all is counted")
    for worker in workers.values():
        worker.stop()
    assert differences(broker, topics) == []
