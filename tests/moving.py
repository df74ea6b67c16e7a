"""Moving a small cluster to more partitions, with as many crashes in between as a test likes."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from state import layout
from streams.steps.moving import Move, Put
from tests.small_cluster import SmallCluster
from tests.small_partition import Memory


def moved(
    cluster: SmallCluster,
    definitions: str,
    after: int,
    crashes: Iterable[int] = (),
    check: Callable[[], None] = lambda: None,
) -> SmallCluster:
    """The cluster with more partitions; nothing may be on its way. ``crashes``: after so many puts it begins anew."""
    assert not any(cluster.queues.values())
    before = len(cluster.partitions)
    new = SmallCluster(definitions, after, cluster.partitions[0].place)
    memories = [each.memory for each in cluster.partitions] + [Memory() for _ in range(after - before)]
    metas = [each.meta for each in cluster.partitions]
    for number, most in enumerate(crashes):
        _attempt(memories, metas, after, begun=number > 0, most=most)
    whole = _attempt(memories, metas, after, begun=bool(list(crashes)), most=None)
    assert whole is not None
    for partition, memory, meta in zip(new.partitions, memories, whole.positions(), strict=True):
        partition.memory, partition.meta = memory, meta
        memory.data = {key: value for key, value in memory.data.items() if key[:1] != b"s"}
    new.partitions[0].changes = [change for each in cluster.partitions for change in each.changes]
    new.receipts, new.rejects, new.misrouted = cluster.receipts, cluster.rejects, cluster.misrouted
    return new


def _attempt(
    memories: list[Memory], metas: list[layout.Meta], after: int, begun: bool, most: int | None
) -> Move | None:
    for memory in memories:  # each attempt reads the changelogs anew: they do not have what is only local
        memory.data = {key: value for key, value in memory.data.items() if key[:1] != b"s"}
    move = Move(memories, metas, after)
    move.check(begun)
    for _, puts in move.steps:
        for put in list(puts()):
            if most == 0:
                return None
            most = most if most is None else most - 1
            _put(memories, put)
    return move


def _put(memories: list[Memory], put: Put) -> None:
    if put.value is None:
        memories[put.partition].data.pop(put.key, None)
    else:
        memories[put.partition].data[put.key] = put.value
