"""What docs/operations.md says of a worker of an earlier release that could not read what a newer one handed over."""

from __future__ import annotations

from streams.kafka.output import dead_letter
from streams.steps.effects import Reject
from streams.wire.refused import Code, RefusedError
from tests.small_cluster import SmallCluster
from tests.unit.membership_cases import SPENDERS, purchase
from tests.unit.test_merge import ANONYMOUS, KNOWN, REROUTE, happened, identify, publish, told


def merged(refused: bool) -> SmallCluster:
    """An anonymous id becomes a known user's; ``refused``: its state is a dead letter first, and is sent again."""
    cluster = SmallCluster(SPENDERS, 3)
    happened(cluster, ANONYMOUS, purchase(0, 60.0))
    publish(cluster, KNOWN, purchase(1, 30.0), identify(at=2))
    cluster.step(cluster.topics.events, 2, 2)
    cluster.step(REROUTE, 0)
    moved = cluster.queues[REROUTE, 2].popleft() if refused else None
    happened(cluster, ANONYMOUS, purchase(3, 5.0))
    happened(cluster, KNOWN, purchase(4, 10.0))
    if moved is not None:
        assert told(cluster, KNOWN) == []
        reject = Reject(REROUTE, 2, moved, RefusedError(Code.BROKEN_INTERNAL, "a state record has format 2"))
        key, value, headers = dead_letter(reject)
        assert dict(headers)["origin-partition"] == b"2"
        assert value is not None
        cluster._append(REROUTE, 2, key or b"", value, [("reroute-kind", b"merge")])
        cluster.flow()
    cluster.check()
    return cluster


def test_a_state_that_was_a_dead_letter_counts_as_if_it_had_arrived_in_time_once_it_is_sent_again() -> None:
    for cluster in map(merged, (True, False)):
        state = cluster.state(KNOWN)
        assert state is not None
        assert (state.count, [*state.aliases], state.members.segments()) == (5, [ANONYMOUS], ["spenders"])
        assert [each[:2] for each in told(cluster, KNOWN)] == [("spenders", "entered")]
