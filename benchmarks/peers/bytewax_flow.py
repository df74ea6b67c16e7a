"""bytewax: a stateful batch operator in memory, snapshots to its recovery store at each epoch (at least once).

As its documentation on performance says: larger batches at the source, ``flat_map_batch`` where a step costs little.

python -m benchmarks.peers.bytewax_flow BOOTSTRAP TOPIC OUT COUNT DIRECTORY
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

import bytewax.operators as op
from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage, KafkaSource, KafkaSourceMessage
from bytewax.dataflow import Dataflow
from bytewax.operators import StatefulBatchLogic
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.run import cli_main

from benchmarks.peers.clock import StopWatch
from benchmarks.peers.job import Event, User, calm_collector, decode_event, decode_user, encode_user, fold, seen_in

#: seconds between snapshots: half of its default, so that a round has several and one falls near its end
EPOCH = 5.0
#: its default is 1,000 and its documentation's example 5,000; more brings more events of a user together
BATCH = 20_000


def flow(bootstrap: str, topic: str, out: str, count: int) -> Dataflow:
    """One dataflow: Kafka, keyed state, Kafka."""
    watch = StopWatch(count)

    class UserLogic(StatefulBatchLogic[Event, bytes, tuple[bytes, list[str]]]):  # type: ignore[misc]  # typed in its own environment
        """The user, and the last event ids: objects in memory, packed for the snapshot."""

        def __init__(self, resumed: tuple[bytes, list[str]] | None) -> None:
            self._user = decode_user(resumed[0]) if resumed else User()
            self._ids = dict.fromkeys(resumed[1]) if resumed else {}

        def on_batch(self, values: list[Event]) -> tuple[Iterable[bytes], bool]:
            user, ids = self._user, self._ids
            changes = [change for event in values if not seen_in(ids, event.id) for change in fold(user, event)]
            watch.count(len(values))
            return changes, StatefulBatchLogic.RETAIN

        def snapshot(self) -> tuple[bytes, list[str]]:
            return encode_user(self._user), list(self._ids)

    def keyed(batch: list[KafkaSourceMessage[bytes, bytes]]) -> list[tuple[str, Event]]:
        return [(event.user, event) for event in [decode_event(message.value) for message in batch]]

    def messages(batch: list[tuple[str, bytes]]) -> list[KafkaSinkMessage[bytes, bytes]]:
        return [KafkaSinkMessage(user.encode(), change) for user, change in batch]

    made = Dataflow("peer")
    source = op.input("source", made, KafkaSource([bootstrap], [topic], batch_size=BATCH))
    events = op.flat_map_batch("decode", source, keyed)
    changes = op.stateful_batch("fold", events, UserLogic)
    sink = KafkaSink([bootstrap], out, add_config={"compression.type": "lz4", "linger.ms": "20"})
    op.output("sink", op.flat_map_batch("message", changes, messages), sink)
    return made


def main(bootstrap: str, topic: str, out: str, count: int, directory: str) -> None:
    path = Path(directory)
    path.mkdir(parents=True, exist_ok=True)
    init_db_dir(path, 1)
    calm_collector()
    cli_main(
        flow(bootstrap, topic, out, count),
        workers_per_process=1,
        epoch_interval=timedelta(seconds=EPOCH),
        recovery_config=RecoveryConfig(str(path)),
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5])
