"""Processes that are paused, as a machine is that hangs."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from tests.helpers import wait_for


def is_paused(pid: int) -> bool:
    """No thread of the process runs any more: SIGSTOP takes a while until it has reached them all."""
    return all(
        (thread / "stat").read_text().rsplit(")", 1)[1].split()[0] == "T"
        for thread in Path(f"/proc/{pid}/task").iterdir()
    )


@contextlib.contextmanager
def paused(pid: int | None) -> Iterator[None]:
    """The process does nothing until the block has ended."""
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        wait_for(lambda: is_paused(pid), 20.0, "the process is paused")
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
