"""The encode lane when the models fail: nothing is lost, and one bad text holds up nobody else."""

from __future__ import annotations

import asyncio
import dataclasses
import math
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from encoders.base import F32, TextEncoder, WrappedText
from state import layout
from state.record import Record
from state.vectors import Vectors
from streams.kafka.lane import EncodeLane
from streams.ops.metrics import Metrics
from streams.steps import encode
from tests.small_partition import T0, SmallPartition

COOKS = '[[segment]]\nid = "cooks"\nwords = "people who love cooking and restaurants"\n'


class Fragile(WrappedText):
    """The real encoder, but it fails on texts with ``poison`` in them, on large batches, and while it is away."""

    def __init__(self, encoder: TextEncoder, most: int = 1_000) -> None:
        super().__init__(encoder)
        self.most = most
        self.away = False
        self.failures = threading.Semaphore(0)

    def encode(self, texts: Sequence[str]) -> F32:
        if self.away or len(texts) > self.most or any("poison" in text for text in texts):
            self.failures.release()
            raise RuntimeError("CUDA error: out of memory")
        return self._encoder.encode(texts)


class Target:
    """A partition in memory as the lane sees it."""

    number = 0

    def __init__(self, partition: SmallPartition) -> None:
        self.partition = partition
        self.submitted = asyncio.Event()

    @property
    def queued(self) -> int:
        return 0

    @property
    def fresh_at(self) -> float:
        return -math.inf

    @property
    def queued_users(self) -> int:
        return self.partition.meta.queued

    async def read_queue(self, after: str, most: int) -> list[str]:
        users = [key[1:].decode() for key in self.partition.memory.keys(b"q")]
        return [user for user in users if user > after][:most]

    async def make_jobs(self, users: list[str], refresh: bool) -> list[encode.Job]:
        states: list[tuple[str, Record | None]] = [(user, self.partition.state(user)) for user in users]
        return encode.make_jobs(self.partition.memory, states, "neighbour" if refresh else "event")

    async def read_refreshes(self, _after: str, _most: int) -> list[str]:
        return []

    async def followers(self, _followee: str, _after: str, _most: int) -> tuple[list[str], str]:
        return [], ""

    async def submit(self, jobs: list[encode.Job], _refreshed: list[str]) -> None:
        self.partition.batch(jobs=jobs)
        self.submitted.set()


class Bench:
    """A lane over one partition with a fragile encoder."""

    def __init__(self, texts: dict[str, list[str]], most: int = 1_000) -> None:
        self.partition = SmallPartition(COOKS)
        models = self.partition.models
        self.encoder = Fragile(models.encoders.text, most)
        models = dataclasses.replace(models, encoders=dataclasses.replace(models.encoders, text=self.encoder))
        definitions = dataclasses.replace(self.partition.definitions, models=models)
        self.metrics = Metrics()
        self.executor = ThreadPoolExecutor(1)
        self.lane = EncodeLane(lambda: definitions, 32, self.metrics, self.executor)
        self.partition.events(
            *(
                {"user": user, "kind": "comment", "time": T0 + place, "text": text}
                for user, written in texts.items()
                for place, text in enumerate(written)
            )
        )
        self.target = Target(self.partition)
        self.lane.offer(self.target, list(texts))

    def step(self) -> None:
        """One batch of the lane, which takes all that wait here."""
        asyncio.run(self.lane.step())
        self.executor.shutdown()

    def count(self, name: str) -> float:
        value: float = getattr(self.metrics, name)._value.get()
        return value


def test_a_poisonous_text_is_skipped_and_all_others_are_encoded_once() -> None:
    texts = {f"u{number}": ["I love to cook pasta with fresh basil"] for number in range(9)}
    bench = Bench(
        texts | {"bad": ["My sourdough bread recipe finally worked", "poison", "The best restaurant in town"]}
    )
    bench.step()
    entered = sorted(change.user for change in bench.partition.changes)
    assert entered == sorted([*texts, "bad"])  # the good texts of "bad" count
    assert list(bench.partition.memory.keys(b"q")) == []
    assert bench.count("texts_skipped") == 1
    assert bench.count("encoded_users") == 10


def test_a_batch_that_is_too_large_for_the_device_is_halved() -> None:
    bench = Bench({f"u{number}": ["I love to cook pasta"] for number in range(20)}, most=6)
    bench.step()
    assert len({change.user for change in bench.partition.changes}) == 20
    assert bench.count("texts_skipped") == 0


def test_while_the_encoder_is_away_texts_wait_and_none_is_skipped() -> None:
    bench = Bench({"cook": ["I love to cook pasta", "poison", "The best restaurant in town"]})
    bench.encoder.away = True

    async def scenario() -> None:
        task = asyncio.create_task(bench.lane.run())
        for _ in range(4):
            await asyncio.to_thread(bench.encoder.failures.acquire)
        assert bench.lane.depth == 1
        assert bench.lane.age > 0.5  # the time that it has waited is not forgotten
        bench.encoder.away = False
        await bench.target.submitted.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(scenario())
    bench.executor.shutdown()
    assert [change.user for change in bench.partition.changes] == ["cook"]
    assert bench.count("texts_skipped") == 1


def test_a_user_on_whom_the_models_always_fail_stays_in_the_queue_of_the_store() -> None:
    bench = Bench({"cook": ["I love to cook pasta"], "broken": ["I love to cook"]})
    damaged = Vectors(text_sum=bytes(8), text_time=T0)  # another length than the encoder's vectors
    bench.partition.memory.data[layout.vectors_key("broken")] = layout.encode_vectors(damaged)
    bench.step()
    assert [change.user for change in bench.partition.changes] == ["cook"]
    assert list(bench.partition.memory.keys(b"q")) == [layout.queue_key("broken")]
    assert bench.count("encode_set_aside") == 1
