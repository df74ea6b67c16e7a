"""Stock Faust's bare agent: raw bytes, one message at a time, nothing done with them. Run as a child process.

Prints one JSON line: messages a second between the first message and the last.
"""

from __future__ import annotations

import os
import sys
import tempfile
from typing import Any

import faust

from benchmarks.peers.clock import StopWatch


def main(bootstrap: str, topic_name: str, count: int) -> None:
    """Consume ``count`` messages from the start of the topic, then print the rate and end."""
    watch = StopWatch(count)
    app = faust.App(
        f"stock-{os.getpid()}",
        broker=f"kafka://{bootstrap}",
        web_enabled=False,
        topic_disable_leader=True,
        topic_allow_declare=False,
        store="memory://",
        datadir=tempfile.mkdtemp(prefix="stock-faust-"),
        consumer_auto_offset_reset="earliest",
    )
    topic = app.topic(topic_name, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")

    @app.agent(topic)
    async def count_them(stream: Any) -> None:
        async for _ in stream:
            watch.count()

    faust.Worker(app, loglevel="ERROR", redirect_stdouts=False).execute_from_commandline()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
