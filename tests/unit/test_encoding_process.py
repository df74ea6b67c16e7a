"""The encoders in a process of their own: the same vectors, and what happens when something ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from multiprocessing import Pipe
from pathlib import Path

import numpy as np
import psutil
import pytest

from encoders.artifact import load_encoders
from encoders.base import FUSED
from encoders.heads import PublishedHead, head_from_bytes, make_head
from encoders.pipe import Setup, setup_of
from encoders.precision import Choice
from encoders.process import Child, EncodingError, EncodingProcess, ProcessEndedError, choose_here
from encoders.serving import NICENESS
from encoders.social import SocialEncoder
from state.user import PendingText
from state.vectors import Vectors
from streams.loading import load_models
from streams.settings import Settings
from streams.steps import encode
from streams.steps.segments import parse_plan
from tests.small_encoders import small_process, start_small
from tests.small_partition import T0

HEAVY = ("torch", "torch_geometric", "transformers", "tokenizers")
#: what river brings, which is there for heads
OF_HEADS = ("pandas", "sklearn")


@pytest.fixture
def process() -> Iterator[EncodingProcess]:
    process = small_process()
    yield process
    process.close()


def test_texts_are_encoded_by_a_child_of_lower_priority(process: EncodingProcess) -> None:
    vectors = process.encode(["a", "größer", ""])
    assert vectors[:, 0].tolist() == [1.0, 6.0, 0.0]
    assert set(vectors[:, 1].tolist()) == {float(process.pid or 0)}
    assert process.pid != os.getpid()
    assert os.getpriority(os.PRIO_PROCESS, process.pid or 0) == NICENESS
    assert vectors.flags.writeable
    assert process.encode([]).shape == (0, 2)
    assert (process.dim, process.version) == (2, "lengths-1")


def test_a_child_that_feeds_a_graphics_card_keeps_its_priority() -> None:
    process = small_process(device="cuda")
    assert os.getpriority(os.PRIO_PROCESS, process.pid or 0) == os.getpriority(os.PRIO_PROCESS, 0)
    assert process.encode(["places"])[0, 0] == len(os.sched_getaffinity(0))
    process.close()


def test_layers_are_computed_there_whatever_the_followees_are_stored_in(process: EncodingProcess) -> None:
    own, to = np.ones((2, 3), np.float32), np.array([1, 1])
    halves = np.full((2, 3), 0.5, np.float16)
    for followees in (halves, halves.astype(np.float32)):
        assert process.layer(2, own, followees, to).tolist() == [[3.0] * 3, [4.0] * 3]
    assert process.layer(1, own, np.zeros((0, 3), np.float16), np.zeros(0, np.int64)).tolist() == [[2.0] * 3] * 2
    with pytest.raises(EncodingError, match="IndexError"):
        process.layer(1, own, np.zeros((1, 3), np.float32), np.array([7]))


def test_vectors_of_the_real_process_are_those_of_the_models_themselves() -> None:
    texts = ["We cooked pasta with fresh basil.", "", "größer \ud800"]
    rng = np.random.default_rng(0)
    own, near = (rng.standard_normal((n, 128)).astype(np.float16).astype(np.float32) for n in (3, 5))
    here = load_encoders(device="cpu")
    process = EncodingProcess()
    process.set_up(setup_of("", "cpu", 1, "float32", here.social.weights()))
    there = SocialEncoder(layers=process)
    assert (process.dim, process.version) == (here.text.dim, here.text.version)
    assert np.array_equal(process.encode(texts), here.text.encode(texts))
    for layer in ("layer1", "layer2"):
        found = getattr(there, layer)(own, near.astype(np.float16), [0, 0, 1, 1, 1])
        assert np.array_equal(found, getattr(here.social, layer)(own, near, [0, 0, 1, 1, 1]))
    with pytest.raises(EncodingError, match="finite"):
        there.layer1(own, np.full((1, 128), np.inf, np.float16), [0])
    process.close()


def test_while_it_encodes_the_child_stays_on_one_processor(process: EncodingProcess) -> None:
    everywhere = os.sched_getaffinity(0)
    assert process.encode(["places"])[0, 0] == 1.0
    assert os.sched_getaffinity(process.pid or 0) == everywhere
    with pytest.raises(EncodingError):
        process.encode(["poison"])
    assert os.sched_getaffinity(process.pid or 0) == everywhere


def test_a_child_with_several_threads_may_run_everywhere() -> None:
    process = small_process(threads=2)
    assert process.encode(["places"])[0, 0] == len(os.sched_getaffinity(0))
    process.close()


def test_a_lone_surrogate_passes(process: EncodingProcess) -> None:
    assert process.encode(["a\ud800b"])[0, 0] == 3.0


def test_an_error_of_the_encoder_is_raised_and_the_next_texts_are_encoded(process: EncodingProcess) -> None:
    with pytest.raises(EncodingError, match="ValueError: poisonous"):
        process.encode(["fine", "poison"])
    assert process.encode(["fine"])[0, 0] == 4.0


# what ends


def test_when_the_child_is_killed_a_new_one_encodes_the_same_texts(
    process: EncodingProcess, caplog: pytest.LogCaptureFixture
) -> None:
    first = process.pid
    os.kill(first or 0, signal.SIGKILL)
    assert process.encode(["abc"]).tolist() == [[3.0, float(process.pid or 0)]]
    assert process.pid not in (None, first)
    assert "the encoders' process ended, exit status -9; a new one is started" in caplog.text


def test_a_text_that_kills_every_child_is_an_error_and_the_next_texts_are_encoded(process: EncodingProcess) -> None:
    with pytest.raises(ProcessEndedError, match="exit status -9"):
        process.encode(["deadly"])
    assert process.encode(["fine"])[0, 0] == 4.0


def test_a_later_child_that_makes_other_vectors_is_refused(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.write_text("bert-1")
    process = small_process(str(model))
    model.write_text("bert-2")
    os.kill(process.pid or 0, signal.SIGKILL)
    for _ in range(2):
        with pytest.raises(EncodingError, match=r"another one now: .*bert-2.*, it was .*bert-1"):
            process.encode(["abc"])
    model.write_text("bert-1")
    assert process.encode(["abc"])[0, 0] == 3.0
    process.close()


def test_a_model_that_cannot_be_used_is_told_in_its_own_words() -> None:
    process = EncodingProcess(start_small)
    with pytest.raises(EncodingError) as told:
        process.set_up(Setup("none"))
    assert str(told.value) == "text model: no config.json"
    process.close()


def test_what_is_meant_for_the_worker_does_not_end_the_child(process: EncodingProcess) -> None:
    before = process.pid
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(before or 0, number)
    assert process.encode(["x"])[0, 1] == before
    early = EncodingProcess(start_small)
    begun = early.pid
    os.kill(begun or 0, signal.SIGINT)  # before its interpreter can have begun
    early.set_up(Setup("lengths-1", "cpu"))
    assert early.encode(["x"])[0, 1] == begun
    early.close()


def test_a_child_that_computes_is_killed_at_once_and_who_waits_is_told(process: EncodingProcess) -> None:
    process.kill()
    with pytest.raises(ProcessEndedError):
        process.encode(["x"])
    process.kill()


def test_the_child_ends_with_a_process_that_is_killed() -> None:
    code = """
import os, signal
from tests.small_encoders import small_process
process = small_process()
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
from tests.small_encoders import small_process
process = small_process()
print(process.pid, flush=True)
raise SystemExit("no start")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60.0)
    assert done.returncode == 1
    assert not _lives(int(done.stdout))


class Undying:
    """A process that has no time to die until ``gone`` is set."""

    pid = 0

    def __init__(self) -> None:
        self.gone = threading.Event()
        self.killed = 0

    def poll(self) -> int | None:
        return -9 if self.gone.is_set() else None

    def wait(self, timeout: float | None = None) -> int:
        if timeout is not None and not self.gone.is_set():
            raise subprocess.TimeoutExpired(["encoders"], timeout)
        self.gone.wait()
        return -9

    def kill(self) -> None:
        self.killed += 1


def test_a_child_that_has_no_time_to_die_is_waited_for_beside_all_else() -> None:
    undying, before = Undying(), set(threading.enumerate())
    process = EncodingProcess(lambda: Child(Pipe()[0], undying))
    process.close()
    (waiting,) = set(threading.enumerate()) - before
    assert undying.killed == 2
    undying.gone.set()
    waiting.join(10.0)
    assert not waiting.is_alive()


# what is measured there


def test_the_precision_is_measured_in_a_child() -> None:
    process = EncodingProcess(start_small)
    assert choose_here(process, "lengths-1", "cpu").precision == "bf16"
    process.close()


def test_a_child_that_dies_of_measuring_leaves_float32_and_the_worker_alive(caplog: pytest.LogCaptureFixture) -> None:
    process = EncodingProcess(start_small)
    choice = choose_here(process, "deadly", "cpu")
    assert choice == Choice("float32", "nothing could be measured: the encoders' process ended, exit status 4")
    assert choice.why in caplog.text.replace("text precision: ", "")
    process.close()


# torch is only there


def test_nothing_that_a_worker_imports_imports_torch() -> None:
    code = f"""
import sys
import streams.app, streams.tools.cli, streams.tools.workers, streams.tools.logs, uvloop
print([name for name in {[*HEAVY, *OF_HEADS]} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120.0)
    assert done.stdout.strip() == "[]"


DEFINITIONS = """
[[segment]]
id = "fans"
learned = "taste"
[[segment]]
id = "cooks"
words = "people who love cooking and restaurants"
[[group]]
id = "taste"
min_labels = 1
"""


def work_as_a_worker_does() -> list[str]:
    """From texts and a neighbourhood to vectors, learning and scoring; gives what it must not import and did."""
    process = EncodingProcess()
    models = load_models(Settings(app="x", device="cpu"), parse_plan(DEFINITIONS), "float32", process)
    job = encode.Job(
        "u", "event", 1, 1, [PendingText("1", T0, "I love to cook pasta", T0)], np.ones(96, np.float32), Vectors(),
        nodes=[bytes(256)] * 2, hiddens=[bytes(256)] * 2,
    )  # fmt: skip
    encode.compute(models, [job], full=True)
    assert job.vectors.text
    assert job.vectors.social
    fused, _ = models.fuse([job.vectors])
    head = make_head("rls", ["fans"], FUSED)
    head.learn_block(fused, np.ones((1, 1)))
    head = head_from_bytes(head.to_bytes())
    models = models.with_heads({"taste": PublishedHead.from_bytes(head.published())})
    assert models.heads["taste"].predict_proba_many(fused).shape == (1, 1)
    process.close()
    return [name for name in HEAVY if name in sys.modules]


def test_no_torch_is_imported_by_what_a_worker_computes_either() -> None:
    code = "from tests.unit.test_encoding_process import work_as_a_worker_does; print(work_as_a_worker_does())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120.0)
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr
