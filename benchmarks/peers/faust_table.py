"""Stock Faust: an agent over a table in RocksDB (rocksdict) with a changelog topic, at its ``exactly_once``.

python -m benchmarks.peers.faust_table BOOTSTRAP TOPIC OUT COUNT DIRECTORY GUARANTEE PARTITIONS
"""

from __future__ import annotations

import sys
from typing import Any

import faust

from benchmarks.peers.clock import StopWatch
from benchmarks.peers.job import User, calm_collector, decode_event, decode_user, encode_user, fold, seen_packed


def main(bootstrap: str, topic: str, out: str, count: int, directory: str, guarantee: str, partitions: int) -> None:
    watch = StopWatch(count)
    app = faust.App(
        f"faust-{out}",
        broker=f"kafka://{bootstrap}",
        web_enabled=False,
        topic_disable_leader=True,
        topic_partitions=partitions,
        key_serializer="raw",
        value_serializer="raw",
        store="rocksdb://?driver=rocksdict",
        datadir=directory,
        processing_guarantee=guarantee,
        producer_compression_type="lz4",
        producer_linger=0.02,
        producer_max_batch_size=1_000_000,
        consumer_auto_offset_reset="earliest",
    )
    source = app.topic(topic, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")
    changes = app.topic(out, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")
    table = app.Table("users", key_type=bytes, value_type=bytes, partitions=partitions)

    @app.agent(source)
    async def count_them(stream: Any) -> None:
        async for record in stream.events():
            event = decode_event(record.value)
            kept = table.get(record.key)
            user = decode_user(kept) if kept else User()
            made = [] if seen_packed(user, event.id) else fold(user, event)
            table[record.key] = encode_user(user)
            for change in made:
                await changes.send(key=record.key, value=change)
            watch.count()

    calm_collector()
    faust.Worker(app, loglevel="ERROR", redirect_stdouts=False).execute_from_commandline()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5], sys.argv[6], int(sys.argv[7]))
