"""quixstreams: a stateful dataframe over RocksDB with a changelog topic, Kafka transactions (``exactly-once``).

python -m benchmarks.peers.quix BOOTSTRAP TOPIC OUT COUNT DIRECTORY GUARANTEE
"""

from __future__ import annotations

import sys
import time

from quixstreams import Application, State

from benchmarks.peers.clock import StopWatch
from benchmarks.peers.job import Job, decode_state, encode_state
from state.user import new_state


def main(bootstrap: str, topic: str, out: str, count: int, directory: str, guarantee: str) -> None:
    job, watch = Job(), StopWatch(count)
    app = Application(
        broker_address=bootstrap,
        consumer_group=f"quix-{out}",
        auto_offset_reset="earliest",
        processing_guarantee=guarantee,
        state_dir=directory,
        loglevel="ERROR",
        # as large as ours: librdkafka's defaults make for smaller batches
        producer_extra_config={"linger.ms": 20, "compression.type": "lz4", "batch.size": 1_000_000},
    )
    source = app.topic(topic, key_deserializer="bytes", value_deserializer="bytes")
    changes = app.topic(out, key_serializer="bytes", value_serializer="bytes")

    def step(value: bytes, state: State) -> list[bytes]:
        watch.count()
        kept = state.get_bytes("user")
        user = decode_state(kept) if kept else new_state(0)
        made = job.step(user, value, time.time())
        state.set_bytes("user", encode_state(user))
        return [change for _, change in made]

    frame = app.dataframe(source)
    frame = frame.apply(step, stateful=True, expand=True)
    frame = frame.to_topic(changes)  # the source record's key: the user
    app.run()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5], sys.argv[6])
