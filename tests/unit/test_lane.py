"""The encode lane: who waits is encoded, however few of them fit into memory, and 0 means that all is done."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from streams.kafka.lane import EncodeLane, PartitionGoneError
from streams.ops.metrics import Metrics
from streams.steps import encode
from tests.small_partition import SmallPartition
from tests.unit.membership_cases import COOKING, WORDS, comment, follow, view


class Target:
    """A partition in memory, as the lane sees it. Its turns are taken at once."""

    def __init__(self, number: int = 0) -> None:
        self.number = number
        self.partition = SmallPartition(WORDS)
        self.gone = False
        self.events = 0
        self.reads: list[int] = []
        self.encoded: list[str] = []
        self.offer_on_submit: list[str] = []
        self.batches: list[list[str]] = []
        self.turns: list[int] = []
        self.commits: asyncio.Semaphore | None = None
        self.lane: EncodeLane | None = None

    @property
    def queued(self) -> int:
        return self.events

    @property
    def fresh_at(self) -> float:
        return -math.inf

    @property
    def queued_users(self) -> int:
        return self.partition.meta.queued

    async def read_queue(self, after: str, most: int) -> list[str]:
        self._check()
        self.reads.append(most)
        users = [key[1:].decode() for key in self.partition.memory.keys(b"q")]
        return [user for user in users if user > after][:most]

    async def make_jobs(self, users: list[str], refresh: bool) -> list[encode.Job]:
        self._check()
        assert not refresh
        self.batches.append(users)
        return encode.make_jobs(self.partition.memory, [(user, self.partition.state(user)) for user in users], "event")

    async def read_refreshes(self, after: str, most: int) -> list[str]:
        del after, most
        return []

    async def followers(self, followee: str, after: str, most: int) -> tuple[list[str], str]:
        del followee, after, most
        return [], ""

    async def submit(self, jobs: list[encode.Job], refreshed: list[str]) -> None:
        del refreshed
        self._check()
        if self.commits is not None:
            await self.commits.acquire()
        self.partition.batch(jobs=jobs)
        self.turns.append(len(jobs))
        self.encoded += [job.user for job in jobs]
        if self.offer_on_submit:
            self.comment(self.offer_on_submit.pop())

    def comment(self, user: str) -> None:
        """The user writes something, in a turn of its own."""
        effects = self.partition.events(comment(0, COOKING, user=user, id=f"{user}-{len(self.encoded)}"))
        if self.lane is not None:
            self.lane.offer(self, effects.offers)

    def _check(self) -> None:
        if self.gone:
            raise PartitionGoneError


@pytest.fixture(scope="module")
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


def lane_for(executor: ThreadPoolExecutor, *targets: Target, most: int, batch: int = 4) -> EncodeLane:
    lane = EncodeLane(lambda: targets[0].partition.definitions, batch, Metrics(), executor, most)
    for target in targets:
        lane.attach(target)
        target.lane = lane
    return lane


async def work_off(lane: EncodeLane) -> int:
    """Let the lane run until nothing waits; returns the deepest queue on the way."""
    running = asyncio.create_task(lane.run())
    deepest = 0
    try:
        async with asyncio.timeout(30.0):
            while not lane.idle:
                assert not running.done()
                deepest = max(deepest, lane.depth)
                await asyncio.sleep(0.001)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    return deepest


def test_whoever_waits_in_the_store_at_the_start_is_encoded_without_holding_all_in_memory(
    executor: ThreadPoolExecutor,
) -> None:
    async def run() -> None:
        targets = [Target(0), Target(1)]
        for target in targets:
            for number in range(30):
                target.comment(f"u{number:02}")
        lane = lane_for(executor, *targets, most=6)
        assert lane.depth == 60
        assert not lane.idle
        assert await work_off(lane) == 60
        for target in targets:
            assert sorted(target.encoded) == [f"u{number:02}" for number in range(30)]
            assert max(target.reads) <= 6
            assert target.queued_users == 0
        assert lane.depth == 0

    asyncio.run(run())


def test_who_finds_no_room_is_read_from_the_store_later_also_behind_the_reader(executor: ThreadPoolExecutor) -> None:
    async def run() -> None:
        target = Target()
        lane = lane_for(executor, target, most=8, batch=1)
        for number in range(40):
            target.comment(f"m{number:02}")
        assert lane.depth == 40
        # while the reader goes from m to z, others come before and after it
        target.offer_on_submit = [f"{letter}{number:02}" for number in range(20) for letter in "az"]
        await work_off(lane)
        assert lane.depth == target.queued_users == 0
        assert set(target.encoded) >= {f"{letter}{number:02}" for number in range(20) for letter in "amz"}
        assert target.partition.members("a03") == {"cooks"}

    asyncio.run(run())


def test_with_room_users_are_encoded_in_order_of_arrival_and_the_store_is_not_read(
    executor: ThreadPoolExecutor,
) -> None:
    async def run() -> None:
        target = Target()
        lane = lane_for(executor, target, most=100)
        for user in ("c", "a", "b", "a"):
            target.comment(user)
        await work_off(lane)
        assert target.encoded == ["c", "a", "b"]
        assert target.reads == []

    asyncio.run(run())


def test_a_partition_that_left_takes_its_backlog_with_it(executor: ThreadPoolExecutor) -> None:
    async def run() -> None:
        leaving, staying = Target(0), Target(1)
        for target in (leaving, staying):
            for number in range(10):
                target.comment(f"u{number}")
        lane = lane_for(executor, leaving, staying, most=6)
        await lane.step()
        leaving.gone = True
        await work_off(lane)
        assert lane.depth == 0
        assert leaving.queued_users > 0
        assert len(set(staying.encoded)) == 10
        lane.drop(leaving)
        back = Target(0)
        back.comment("x")
        lane.attach(back)
        assert lane.depth == 1
        await work_off(lane)
        assert back.encoded == ["x"]

    asyncio.run(run())


async def until(reached: Callable[[], bool]) -> None:
    deadline = asyncio.get_running_loop().time() + 30.0
    while not reached():
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.001)


def test_the_next_batch_is_encoded_while_one_is_committed_but_nobody_who_is_in_that(
    executor: ThreadPoolExecutor,
) -> None:
    async def run() -> None:
        target = Target()
        target.commits = asyncio.Semaphore(0)
        lane = lane_for(executor, target, most=100, batch=2)
        for user in ("a", "b", "c"):
            target.comment(user)
        running = asyncio.create_task(lane.run())
        await until(lambda: len(target.batches) == 2)
        assert target.batches == [["a", "b"], ["c"]]
        assert target.turns == []
        lane.offer(target, ["a", "b"])  # who is not committed yet
        target.comment("d")
        target.comment("e")
        target.commits.release()
        await until(lambda: len(target.batches) == 3)
        for _ in range(10):
            target.commits.release()
        await until(lambda: lane.idle)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert sorted(user for batch in target.batches for user in batch) == list("aabbcde")
        assert sorted(target.encoded) == list("aabbcde")
        assert [target.partition.members(user) for user in "abcde"] == [{"cooks"}] * 5
        assert lane.depth == target.queued_users == 0

    asyncio.run(run())


def test_a_large_batch_is_handed_over_in_several_turns(executor: ThreadPoolExecutor) -> None:
    async def run() -> None:
        target = Target()
        lane = lane_for(executor, target, most=100, batch=100)
        for number in range(70):
            target.comment(f"u{number:02}")
        await lane.step()
        assert [len(batch) for batch in target.batches] == [70]
        assert target.turns == [32, 32, 6]
        assert target.queued_users == 0

    asyncio.run(run())


def test_a_comment_is_encoded_before_a_crowd_whose_neighbourhood_changed_and_the_crowd_gets_on_as_well(
    executor: ThreadPoolExecutor,
) -> None:
    async def run() -> None:
        target = Target()
        lane = lane_for(executor, target, most=1_000, batch=32)
        crowd = [f"fan{number:03}" for number in range(500)]
        for user in crowd:
            target.partition.events(comment(0, COOKING, user=user, id=user))
        lane.offer(target, [], crowd)
        await lane.step()
        target.comment("writer")
        await lane.step()
        assert "writer" in target.encoded
        assert lane.depth == 500 + 1 - 64
        writers = 0
        while len(target.encoded) < 500:  # there is always a whole batch of people who write
            for _ in range(32):
                target.comment(f"writer{writers}")
                writers += 1
            await lane.step()
            if writers > 32 * 40:
                break
        assert len(set(target.encoded) & set(crowd)) >= 63 + 2 * 8
        lane.offer(target, [crowd[-1]])  # who writes comes before the others of the crowd
        if crowd[-1] not in target.encoded:
            await lane.step()
            assert crowd[-1] in target.encoded

    asyncio.run(run())


def test_while_events_wait_for_their_turns_who_can_wait_has_a_small_share_and_who_wrote_something_all_of_it(
    executor: ThreadPoolExecutor,
) -> None:
    async def run() -> None:
        target = Target()
        lane = lane_for(executor, target, most=1_000, batch=16)
        crowd = [f"fan{number:03}" for number in range(64)]
        for user in crowd:
            target.partition.events(comment(0, COOKING, user=user, id=user))
        target.events = 100_000
        lane.offer(target, [], crowd)
        await lane.step()
        first = len(target.encoded)
        assert first == 16  # their share was due; now it is others' time
        target.comment("writer")
        await lane.step()
        assert target.encoded[16:] == ["writer"]
        running = asyncio.create_task(lane.run())
        await until(lambda: len(target.encoded) > 17)  # they go on all the same
        target.events = 0
        await until(lambda: lane.idle)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert sorted(set(target.encoded)) == [*crowd, "writer"]

    asyncio.run(run())


def test_who_follows_somebody_can_wait_and_who_wrote_something_cannot() -> None:
    partition = SmallPartition('[[segment]]\nid = "s"\nlearned = "taste"\n')
    crowd = [f"fan{number}" for number in range(9)]
    effects = partition.events(*(follow(0, "star", user=user, id=user) for user in crowd))
    assert (effects.offers, effects.later) == ([], crowd)
    effects = partition.events(comment(1, COOKING, user=crowd[4]), view(1, user="quiet"))
    assert effects.offers == [crowd[4]]  # waits already, and comes before the others from now on
