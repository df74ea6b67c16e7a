"""Messages of merges from anybody: damaged ones become dead letters, and no state in them stops a partition."""

from __future__ import annotations

import pytest

from state.format1 import pack_ids
from state.layout import user_key
from state.plain.record import PlainRecord
from state.windows import TallySpec
from streams.steps import merge, reroute
from streams.steps.effects import Effects
from streams.wire.refused import Code
from tests.fuzz.moves import REROUTE, fuzz_moves
from tests.small_partition import T0, SmallPartition

VIEWS = '[[segment]]\nid = "keen"\nrule = \'count("view", within="30d") >= 2\'\n'
SPEC = TallySpec("view", "count", 30 * 86_400)


@pytest.mark.parametrize("seed", range(4))
def test_damaged_and_made_up_states_stop_nobody(seed: int) -> None:
    found = fuzz_moves(seed, 400)
    assert found.accounted
    assert min(found.refused[name] for name in ("fault", "flipped", "format 1", "fields", "bytes", "strange")) > 0
    assert min(found.taken[name] for name in ("sound", "golden", "strange", "flipped", "format 1")) > 0


def move_in(partition: SmallPartition, block: bytes) -> Effects:
    message = merge.MoveIn("u", "v", T0, "e", T0, block, ids=pack_ids([]))
    record = partition._record(merge._encode(message))
    record.headers = [(reroute.KIND, reroute.MERGE)]
    return partition.take(REROUTE, [record])


def test_a_state_that_counts_what_is_later_than_its_own_time_is_refused() -> None:
    """In a block is the number of a bucket; what time that is, only who knows the window can tell."""
    partition, record = SmallPartition(VIEWS), PlainRecord("u")
    record.enter(T0)
    record.cells.add(SPEC, T0, 3, T0)
    assert move_in(partition, record.pack()).rejects == []
    for late in (SPEC.width, 2**31):
        other = PlainRecord("u")
        other.enter(T0)
        bucket = int((T0 + late) // SPEC.width)
        other.cells.add(SPEC, float(bucket * SPEC.width), 3, T0)
        (reject,) = move_in(partition, other.pack()).rejects
        assert reject.error.code == Code.BROKEN_INTERNAL
        assert "later than its own time" in str(reject.error)
    assert partition.members("v") == {"keen"}


def test_counts_that_somebody_made_up_never_grow_beyond_what_a_record_holds() -> None:
    partition, record = SmallPartition(VIEWS), PlainRecord("u")
    record.enter(T0)
    record.count, record.texts = 2**53 - 1, 2**31 - 1
    block = record.pack()
    for _ in range(4):
        assert move_in(partition, block).rejects == []
    partition.events({"user": "v", "kind": "comment", "text": "trains", "time": T0 + 1})
    state = partition.state("v")
    assert state is not None
    assert (state.count, state.texts) == (4 * (2**53 - 1) + 1, 2**31 + 1)
    assert user_key("v") in partition.memory.data
