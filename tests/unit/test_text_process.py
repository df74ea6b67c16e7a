"""The text encoder in a process of its own: the same vectors, and what happens when something ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

import numpy as np
import psutil
import pytest
import torch

from encoders.base import F32
from encoders.process import NICENESS, TextProcess, TextProcessError


class Lengths:
    """A text encoder that can be looked through: length of the text and process id; it fails on one text."""

    dim = 2
    version = "lengths-1"

    def weights(self) -> dict[str, F32]:
        return {}

    def encode(self, texts: Sequence[str]) -> F32:
        if "poison" in texts:
            raise ValueError("poisonous")
        return np.array([(len(text), os.getpid()) for text in texts], np.float32).reshape(-1, 2)


class Places(Lengths):
    """On how many processors it may run while it encodes."""

    def encode(self, texts: Sequence[str]) -> F32:
        super().encode(texts)
        return np.full((len(texts), 2), len(os.sched_getaffinity(0)), np.float32)


@pytest.fixture
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def process() -> Iterator[TextProcess]:
    process = TextProcess(Lengths())
    yield process
    process.close()


def test_texts_are_encoded_by_a_child_of_lower_priority(process: TextProcess) -> None:
    vectors = process.encode(["a", "größer", ""])
    assert vectors[:, 0].tolist() == [1.0, 6.0, 0.0]
    assert set(vectors[:, 1].tolist()) == {float(process.pid or 0)}
    assert process.pid != os.getpid()
    assert os.getpriority(os.PRIO_PROCESS, process.pid or 0) == NICENESS
    assert vectors.flags.writeable
    assert process.encode([]).shape == (0, 2)
    assert (process.dim, process.version) == (2, "lengths-1")


def test_while_it_encodes_the_child_stays_on_one_processor(one_thread: None) -> None:
    process = TextProcess(Places())
    everywhere = os.sched_getaffinity(0)
    assert process.encode(["a"])[0, 0] == 1.0
    assert os.sched_getaffinity(process.pid or 0) == everywhere
    with pytest.raises(TextProcessError):
        process.encode(["poison"])
    assert os.sched_getaffinity(process.pid or 0) == everywhere
    process.close()


def test_a_child_with_several_threads_may_run_everywhere(one_thread: None) -> None:
    torch.set_num_threads(2)
    process = TextProcess(Places())
    assert process.encode(["a"])[0, 0] == len(os.sched_getaffinity(0))
    process.close()


def test_a_lone_surrogate_passes(process: TextProcess) -> None:
    assert process.encode(["a\ud800b"])[0, 0] == 3.0


def test_an_error_of_the_encoder_is_raised_and_the_next_texts_are_encoded(process: TextProcess) -> None:
    with pytest.raises(TextProcessError, match="ValueError: poisonous"):
        process.encode(["fine", "poison"])
    assert process.encode(["fine"])[0, 0] == 4.0


def test_when_the_child_is_killed_texts_are_encoded_here(process: TextProcess) -> None:
    os.kill(process.pid or 0, signal.SIGKILL)
    assert process.encode(["abc"]).tolist() == [[3.0, float(os.getpid())]]
    assert process.pid is None


def test_what_is_meant_for_the_worker_does_not_end_the_child(process: TextProcess) -> None:
    process.encode(["x"])
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(process.pid or 0, number)
    assert process.encode(["x"])[0, 1] == process.pid


def test_the_child_ends_with_a_process_that_is_killed() -> None:
    code = """
import os, signal
from encoders.process import TextProcess
from tests.unit.test_text_process import Lengths
process = TextProcess(Lengths())
process.encode(["x"])
print(process.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60.0)
    assert done.returncode == -signal.SIGKILL
    until = time.monotonic() + 30.0
    while _lives(int(done.stdout)):
        assert time.monotonic() < until
        time.sleep(0.01)


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_an_interpreter_that_forgot_the_child_ends_with_it() -> None:
    code = """
from encoders.process import TextProcess
from tests.unit.test_text_process import Lengths
process = TextProcess(Lengths())
print(process.pid, flush=True)
raise SystemExit("no start")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60.0)
    assert done.returncode == 1
    assert not _lives(int(done.stdout))
