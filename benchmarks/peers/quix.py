"""quixstreams: a stateful dataframe over RocksDB with a changelog topic, Kafka transactions (``exactly-once``).

The commit interval is its default; its documentation: longer ones limit the IO, state updates are gathered per key.

python -m benchmarks.peers.quix BOOTSTRAP TOPIC OUT COUNT DIRECTORY GUARANTEE
"""

from __future__ import annotations

import sys

from quixstreams import Application, State

from benchmarks.peers.clock import StopWatch
from benchmarks.peers.job import User, calm_collector, decode_event, decode_user, encode_user, fold, seen_packed

#: seconds between its transactions
COMMIT_INTERVAL = 5.0


def main(bootstrap: str, topic: str, out: str, count: int, directory: str, guarantee: str) -> None:
    watch = StopWatch(count)
    app = Application(
        broker_address=bootstrap,
        consumer_group=f"quix-{out}",
        auto_offset_reset="earliest",
        processing_guarantee=guarantee,
        commit_interval=COMMIT_INTERVAL,
        state_dir=directory,
        loglevel="ERROR",
        producer_extra_config={"linger.ms": 20, "compression.type": "lz4", "batch.size": 1_000_000},
    )
    source = app.topic(topic, key_deserializer="bytes", value_deserializer="bytes")
    changes = app.topic(out, key_serializer="bytes", value_serializer="bytes")

    def step(value: bytes, state: State) -> list[bytes]:
        event = decode_event(value)
        # bytes: faster than the JSON of state.get and state.set
        kept = state.get_bytes("user")
        user = decode_user(kept) if kept else User()
        made = [] if seen_packed(user, event.id) else fold(user, event)
        state.set_bytes("user", encode_user(user))
        watch.count()
        return made

    frame = app.dataframe(source)
    frame = frame.apply(step, stateful=True, expand=True)
    frame = frame.to_topic(changes)  # the source record's key: the user
    calm_collector()
    app.run()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5], sys.argv[6])
