"""Where the microseconds of an event go: the turns of one partition without Kafka, phase by phase.

python -m benchmarks.hotpath --events 800000 --batch 80000 --json benchmarks/out/hotpath.json

What a broker would send is made beforehand. All else is real: records, decoding, folding, rules, RocksDB. Times are of
the thread, so that what else runs on the machine counts little.
"""

from __future__ import annotations

import argparse
import struct
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, Final, cast

from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.structs import TopicPartition

from benchmarks.harness import JOB, machine, write_json
from benchmarks.load import Spread, load
from encoders.artifact import load_encoders
from state import layout
from state.native import QuietFold
from state.record import Record as State
from state.store import SharedMemory, Store
from state.tables import new_arena
from streams.app import calm_collector
from streams.kafka.fetched import Batches, FetchedPartition
from streams.steps import fold
from streams.steps.effects import Effects, Place, Record
from streams.steps.in_force import InForce
from streams.steps.models import Models, make_models
from streams.steps.segments import Plan, load_plan
from streams.steps.turn import Turn
from streams.wire.decode import Limits
from streams.wire.topics import Topics

#: records in a batch of the producer: about a megabyte, as the benchmarks' producers are set
PRODUCED: Final = 8_000
LZ4: Final = 3


class Timed:
    """The compiled part with a stop watch: what it takes of the fold."""

    def __init__(self, quiet: QuietFold) -> None:
        self._quiet = quiet
        self.seconds = {"read": 0.0, "quiet": 0.0}

    def read(self, *arguments: Any) -> Any:
        return self._call("read", self._quiet.read, arguments)

    def fold(self, *arguments: Any) -> Any:
        return self._call("quiet", self._quiet.fold, arguments)

    def fold_on(self, *arguments: Any) -> Any:
        return self._call("quiet", self._quiet.fold_on, arguments)

    def next_due(self, record: State) -> float:
        return self._quiet.next_due(record)

    def _call(self, name: str, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        began = time.thread_time()
        found = function(*arguments)
        self.seconds[name] += time.thread_time() - began
        return found


class Partition:
    """One partition's store and table, as the writer keeps them."""

    def __init__(self, directory: Path, plan: Plan, models: Models, cache_mb: int) -> None:
        self.store = Store(directory / "state", SharedMemory(256))
        self.table = new_arena(cache_mb * 1024 * 1024).table()
        self._definitions = InForce(0, plan, models)
        self._meta = layout.Meta(queued=0)
        self._place = Place(
            Topics("hotpath"), partition=0, partitions=1, limits=Limits(), wall_clock=False, followees=64,
            graph_epsilon=0.0, drift_events=16,
        )  # fmt: skip
        self.seconds = {"records": 0.0, "fold": 0.0, "finish": 0.0, "write": 0.0, "remember": 0.0}
        self.users = 0
        self.bytes = 0
        self.changes = 0

    def take(self, offset: int, data: bytes) -> int:
        """One turn: cut the records apart, fold copies of the users, pack them, write them, put them in place."""
        clock = time.thread_time
        fetched = clock()
        parts = parts_of(offset, data)
        began = clock()
        area = self.table.begin()
        turn = Turn(self.store, area, self._definitions, self._place, self._meta)
        for records in parts:
            fold.receive_events(turn, records, self._place.topics.events)
        folded = clock()
        last = parts[-1][-1].offset
        effects = turn.finish({"events": last + 1})
        finished = clock()
        self.store.write(effects.puts.items(), last, effects.fired, timed=effects.timed)
        written = clock()
        self._note(effects)
        noted = clock()
        area.commit()
        self.table.tidy()
        count = sum(map(len, parts))
        del turn, area, effects, parts
        ends = (fetched, began, folded, finished, written)
        spent = [end - start for start, end in pairwise(ends)] + [clock() - noted]
        for phase, seconds in zip(self.seconds, spent, strict=True):
            self.seconds[phase] += seconds
        return count

    def _note(self, effects: Effects) -> None:
        self.users += sum(key.startswith(b"u") for key in effects.puts)
        self.bytes += sum(len(key) + len(value or b"") for key, value in effects.puts.items())
        self.changes += len(effects.changes)


def fetches(
    records: Iterator[tuple[bytes, bytes]], batch: int, arrived: float = 1_790_000_000.0
) -> Iterator[tuple[int, bytes]]:
    """(first offset, the bytes that the broker would send) of each turn; ``arrived``: the first record, in seconds."""
    offset, began = 0, int(arrived * 1_000)
    while part := list(islice(records, batch)):
        sent = []
        for first in range(0, len(part), PRODUCED):
            some = part[first : first + PRODUCED]
            builder = DefaultRecordBatchBuilder(
                magic=2, compression_type=LZ4, is_transactional=0, producer_id=-1, producer_epoch=-1, base_sequence=-1,
                batch_size=sum(len(key) + len(value) + 64 for key, value in some),
            )  # fmt: skip
            for number, (key, value) in enumerate(some):
                builder.append(number, began + (offset + first + number) // 5, key, value, [])
            # the broker gives a batch its place
            sent.append(struct.pack(">q", offset + first) + bytes(builder.build())[8:])
        yield offset, b"".join(sent)
        offset += len(part)


def parts_of(offset: int, data: bytes) -> list[Sequence[Record]]:
    """As the consumer makes them of what was fetched, at once."""
    batches = FetchedPartition(TopicPartition("hotpath", 0), Batches(data), [], offset, None, None, True, 1)
    return list(iter(batches.drain, []))


def run(events: int, batch: int, users: int, spread: Spread, seed: int, cache_mb: int) -> dict[str, Any]:
    """The first third warms up and is left out."""
    plan = load_plan(JOB)
    models = make_models(load_encoders(device="cpu"), plan)
    timed = Timed(plan.quiet) if plan.quiet else None
    plan.quiet = cast("QuietFold | None", timed)
    made = list(fetches(load(events, users, spread, seed), batch))
    calm_collector()
    with tempfile.TemporaryDirectory(prefix="segments-hotpath-") as name:
        partition = Partition(Path(name), plan, models, cache_mb)
        counted = 0
        for number, (offset, data) in enumerate(made):
            if number * batch * 3 < events:
                partition.take(offset, data)
                partition.seconds = dict.fromkeys(partition.seconds, 0.0)
                partition.users = partition.bytes = partition.changes = 0
                if timed:
                    timed.seconds = dict.fromkeys(timed.seconds, 0.0)
                continue
            counted += partition.take(offset, data)
        held = {"users_in_memory": partition.table.users, "bytes_in_memory": partition.table.bytes_held}
        partition.store.close()
    phases = {phase: round(1e6 * seconds / counted, 3) for phase, seconds in partition.seconds.items()}
    return {
        "of_the_fold": {phase: round(1e6 * seconds / counted, 3) for phase, seconds in timed.seconds.items()}
        if timed
        else None,
        "microseconds_per_event": phases | {"all": round(sum(phases.values()), 3)},
        "users_written_per_event": round(partition.users / counted, 4),
        "state_bytes_per_event": round(partition.bytes / counted, 1),
        "changes_per_event": round(partition.changes / counted, 5),
        **held,
        "events": counted,
        "batch": batch,
        "cache_mb": cache_mb,
        "users": users,
        "spread": spread,
        "seed": seed,
        "machine": machine(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", type=Path, default=None, metavar="FILE")
    parser.add_argument("--events", type=int, default=800_000)
    parser.add_argument("--batch", type=int, default=80_000)
    parser.add_argument("--users", type=int, default=10_000)
    parser.add_argument("--spread", choices=("uniform", "zipf"), default="zipf")
    parser.add_argument("--cache-mb", type=int, default=256)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    report = run(given.events, given.batch, given.users, given.spread, given.seed, given.cache_mb)
    write_json(given.json, report)


if __name__ == "__main__":
    main()
