"""bytewax: a stateful batch operator in memory, snapshots to its recovery store at each epoch (at least once).

python -m benchmarks.peers.bytewax_flow BOOTSTRAP TOPIC OUT COUNT DIRECTORY
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

import bytewax.operators as op
from bytewax.connectors.kafka import KafkaSinkMessage
from bytewax.connectors.kafka import operators as kop
from bytewax.dataflow import Dataflow
from bytewax.operators import StatefulBatchLogic
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.run import cli_main

from benchmarks.peers.clock import StopWatch
from benchmarks.peers.job import Job, decode_state, encode_state
from state.user import UserState, new_state

#: seconds between snapshots; bytewax's own default is ten
EPOCH = 5.0


def flow(bootstrap: str, topic: str, out: str, count: int) -> Dataflow:
    """One dataflow: Kafka, keyed state, Kafka."""
    job, watch = Job(), StopWatch(count)

    class UserLogic(StatefulBatchLogic[bytes, KafkaSinkMessage[bytes, bytes], bytes]):  # type: ignore[misc]  # typed in its own environment
        def __init__(self, resumed: bytes | None) -> None:
            self._state: UserState = decode_state(resumed) if resumed else new_state(0)

        def on_batch(self, values: list[bytes]) -> tuple[Iterable[KafkaSinkMessage[bytes, bytes]], bool]:
            now = time.time()
            changes = [change for value in values for change in job.step(self._state, value, now)]
            watch.count(len(values))
            return [KafkaSinkMessage(key, value) for key, value in changes], StatefulBatchLogic.RETAIN

        def snapshot(self) -> bytes:
            return encode_state(self._state)

    made = Dataflow("peer")
    source = kop.input("source", made, brokers=[bootstrap], topics=[topic], batch_size=10_000)
    keyed = op.map("key", source.oks, lambda message: (message.key.decode(), message.value))
    changes = op.stateful_batch("fold", keyed, UserLogic)
    kop.output("sink", op.map("unkey", changes, lambda pair: pair[1]), brokers=[bootstrap], topic=out)
    return made


def main(bootstrap: str, topic: str, out: str, count: int, directory: str) -> None:
    path = Path(directory)
    path.mkdir(parents=True, exist_ok=True)
    init_db_dir(path, 1)
    cli_main(
        flow(bootstrap, topic, out, count),
        workers_per_process=1,
        epoch_interval=timedelta(seconds=EPOCH),
        recovery_config=RecoveryConfig(str(path)),
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5])
