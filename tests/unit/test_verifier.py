"""The verifier must be able to fail: each kind of fault, planted into topics that are right, is found and named."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice

import pytest

from state import layout
from state.plain.record import PlainRecord, unpack
from state.windows import TallySpec
from streams.wire.emit import Change, Reason, change_headers, change_value, membership_value
from streams.wire.refused import dead_letter_headers
from streams.wire.topics import Topics
from tests.chaos.load import RULES, SHORT, load
from tests.helpers import APP
from tests.small_partition import SmallPartition
from tests.verifier import Findings, Rule, Term, compare
from tests.verifier.memory import Memory, Written, of
from tests.verifier.recount import Recount

TOPICS = Topics(APP)
NOW = 1_790_000_000.0


def right() -> list[Written]:
    """What the service writes for 600 records of load: the real steps, without Kafka."""
    partition = SmallPartition("\n".join(rule.definition() for rule in RULES))
    partition.now = NOW + 0.1
    sent = [each for each in islice(load(3, 12, lambda: NOW, plain=True), 600) if not each.label]
    written = [Written(TOPICS.events, each.key, each.value) for each in sent]
    for at in range(0, len(sent), 100):
        effects = partition.raw(*(each.value for each in sent[at : at + 100]))
        for emitted in effects.changes:
            change = emitted.change
            headers = tuple(
                (name, value) for name, value in change_headers(change, b"/test") if isinstance(value, bytes)
            )
            written.append(Written(TOPICS.changes, change.user.encode(), change_value(change), headers))
        written += [Written(TOPICS.memberships, s.user.encode(), membership_value(s)) for s in effects.snapshots]
        for reject in effects.rejects:
            record = reject.record
            # the small partition numbers its records from 1
            letter = dead_letter_headers(reject.error, TOPICS.events, 0, record.offset - 1, record.timestamp)
            written.append(Written(TOPICS.dead_letters, record.key or b"", record.value, tuple(letter)))
    written += [Written(TOPICS.changelog, key, value) for key, value in sorted(partition.memory.data.items())]
    return written


def without(written: list[Written], gone: Written) -> list[Written]:
    return [record for record in written if record is not gone]


def instead(written: list[Written], old: Written, new: Written) -> list[Written]:
    return [new if record is old else record for record in written]


def edited(record: Written, edit: Callable[[PlainRecord], None]) -> Written:
    assert record.value is not None
    state = unpack(record.key[1:].decode(), record.value)
    edit(state)
    return replace(record, value=state.pack())


def biggest(written: list[Written]) -> Written:
    """The state of the user with the most events, who has something of everything."""
    states = [record for record in of(written, TOPICS.changelog) if record.key[:1] == b"u"]
    return max(states, key=lambda record: len(record.value or b""))


def lose_an_event_in_the_state(written: list[Written]) -> list[Written]:
    state = biggest(written)

    def edit(user: PlainRecord) -> None:
        user.count -= 1

    return instead(written, state, edited(state, edit))


def lose_a_user(written: list[Written]) -> list[Written]:
    return without(written, biggest(written))


def count_an_event_twice(written: list[Written]) -> list[Written]:
    state = biggest(written)

    def edit(user: PlainRecord) -> None:
        user.count_event("click", "", user.time, 0.0, 0.0)

    return instead(written, state, edited(state, edit))


def put_an_event_into_the_wrong_bucket(written: list[Written]) -> list[Written]:
    state = biggest(written)

    def edit(user: PlainRecord) -> None:
        spec = TallySpec("purchase", "count", 604_800)
        (oldest, held), *others = user.cells.buckets(spec)
        user.cells.drop(spec.key)
        for bucket, amount in ((oldest + 1, held), *others):
            user.cells.add(spec, float(bucket * spec.width), amount, user.time)

    return instead(written, state, edited(state, edit))


def double_a_change(written: list[Written]) -> list[Written]:
    change = of(written, TOPICS.changes)[0]
    return [*written, change]


def lose_a_change_in_the_middle(written: list[Written]) -> list[Written]:
    changes = of(written, TOPICS.changes)
    user = next(c.key for at, c in enumerate(changes) if any(o.key == c.key for o in changes[at + 1 :]))
    return without(written, next(change for change in changes if change.key == user))


def lose_a_dead_letter(written: list[Written]) -> list[Written]:
    return without(written, of(written, TOPICS.dead_letters)[2])


def double_a_dead_letter(written: list[Written]) -> list[Written]:
    return [*written, of(written, TOPICS.dead_letters)[2]]


def tell_an_old_membership(written: list[Written]) -> list[Written]:
    told = of(written, TOPICS.memberships)[0]
    assert told.value is not None
    return [*written, replace(told, value=json.dumps(json.loads(told.value) | {"segments": {}}).encode())]


def count_a_duplicate_less(written: list[Written]) -> list[Written]:
    position = next(record for record in of(written, TOPICS.changelog) if record.key == layout.POSITION_KEY)
    assert position.value is not None
    meta = layout.decode_meta(position.value)
    meta.duplicates -= 1
    return instead(written, position, replace(position, value=layout.encode_meta(meta)))


def leave_a_user_waiting(written: list[Written]) -> list[Written]:
    return [*written, Written(TOPICS.changelog, b"q" + biggest(written).key[1:], b"")]


def keep_an_erased_user(written: list[Written]) -> list[Written]:
    state = biggest(written)
    delete = {"user": state.key[1:].decode(), "kind": "delete", "time": NOW + 1.0, "id": "delete"}
    return [*written, Written(TOPICS.events, state.key[1:], json.dumps(delete).encode())]


def enter_and_leave_at_once(written: list[Written]) -> list[Written]:
    """Both changes are in turn, and state, snapshot and totals agree with them: only the rule does not."""
    state = biggest(written)
    assert state.value is not None
    user, segment = state.key[1:].decode(), "abandoned"  # nothing that happened waits for 5 s here
    rule = next(rule for rule in RULES if rule.id == segment)
    sequence = unpack(user, state.value).sequence
    reason = Reason(summary="", rule=rule.text())
    spurious = [
        Change(user, segment, change, score, sequence + step, 1, None, None, "expiry", reason, NOW, NOW + 0.1)  # type: ignore[arg-type]  # one of two words
        for step, change, score in ((1, "entered", 1.0), (2, "exited", 0.0))
    ]

    def edit(user: PlainRecord) -> None:
        user.sequence += 2

    written = instead(written, state, edited(state, edit))
    position = next(record for record in of(written, TOPICS.changelog) if record.key == layout.POSITION_KEY)
    assert position.value is not None
    meta = layout.decode_meta(position.value)
    meta.changes += 2
    written = instead(written, position, replace(position, value=layout.encode_meta(meta)))
    told = [record for record in of(written, TOPICS.memberships) if record.key == user.encode()][-1]
    assert told.value is not None
    newer = json.loads(told.value) | {"sequence": sequence + 2}
    written = instead(written, told, replace(told, value=json.dumps(newer).encode()))
    headers = [
        tuple((name, value) for name, value in change_headers(change, b"/test") if isinstance(value, bytes))
        for change in spurious
    ]
    return [
        *written,
        *(Written(TOPICS.changes, user.encode(), change_value(c), h) for c, h in zip(spurious, headers, strict=True)),
    ]


def name_an_earlier_event(written: list[Written]) -> list[Written]:
    """As if the change had been published before the events that make it true."""
    firsts = {json.loads(c.value or b"")["user"]: c for c in reversed(of(written, TOPICS.changes))}
    events = [json.loads(record.value or b"") for record in of(written, TOPICS.events) if is_json(record)]
    for user, change in firsts.items():
        content = json.loads(change.value or b"")
        first = next(event["id"] for event in events if event.get("user") == user)
        if content["segment"] in ("busy", "lookers") and content["origin"] == "event":
            content["reason"]["event"] = first
            return instead(written, change, replace(change, value=json.dumps(content).encode()))
    raise AssertionError("nobody entered first by several events")


def is_json(record: Written) -> bool:
    try:
        return isinstance(json.loads(record.value or b""), dict)
    except ValueError:
        return False


FAULTS = {
    enter_and_leave_at_once: "entered abandoned at sequence",
    name_an_earlier_event: "is untrue at",
    lose_an_event_in_the_state: "events counted",
    lose_a_user: "has no state",
    count_an_event_twice: "decayed click",
    put_an_event_into_the_wrong_bucket: "tally purchase|count|604800|",
    double_a_change: "doubled change",
    lose_a_change_in_the_middle: "hole: sequence",
    lose_a_dead_letter: "has 0 dead letters",
    double_a_dead_letter: "has 2 dead letters",
    tell_an_old_membership: "user-segments has",
    count_a_duplicate_less: "duplicates, the recount",
    keep_an_erased_user: "is erased, but has a state",
    leave_a_user_waiting: "waits for the encode lane",
}


def check(written: list[Written], rules: Sequence[Rule] = RULES, stopped_at: float = 0.0) -> Findings:
    return compare(Memory(written), APP, "", rules, stopped_at)


def test_topics_that_are_right_have_no_difference() -> None:
    found = check(right())
    assert found.differences == []
    assert found.duplicates > 20
    assert found.dead_letters == found.refused > 3
    assert found.changes > 10
    assert (found.proved, found.unproved) == (found.changes, 0)


@pytest.mark.parametrize(("fault", "told"), FAULTS.items(), ids=lambda each: getattr(each, "__name__", ""))
def test_each_kind_of_fault_is_found(fault: Callable[[list[Written]], list[Written]], told: str) -> None:
    found = check(fault(right()))
    assert any(told in difference for difference in found.differences), found.differences


def test_memberships_that_the_rules_do_not_give_are_found() -> None:
    never = Term("click", SHORT, 1e6)  # of a window that is counted anyway
    stricter = [replace(rule, terms=(*rule.terms, never)) for rule in RULES]
    found = check(right(), stricter)
    # nothing else is wrong: state, changes and memberships agree with each other
    assert any("wrong membership" in difference for difference in found.differences)
    told = ("wrong membership", "has a rule that was never in force")
    assert all(any(what in difference for what in told) for difference in found.differences)


def test_a_timer_that_did_not_fire_is_found() -> None:
    found = check(right(), stopped_at=NOW + 3_600.0)
    assert any("wrong membership" in difference for difference in found.differences)


def test_an_anonymous_id_is_recounted_as_who_identified_as_it() -> None:
    def counted(*users: str) -> Recount:
        recount = Recount(RULES)
        for place, user in enumerate(users):
            event = {"user": user, "kind": "view", "time": NOW, "id": f"e{place}", "category": "news", "dwell": 9}
            recount.add(json.dumps(event).encode(), NOW, ("t", 0, place), 1)
        identify = {"user": "known", "kind": "identify", "target": "anonymous", "time": NOW, "id": "identify"}
        recount.add(json.dumps(identify).encode(), NOW, ("t", 0, 99), 1)
        recount.merge()
        return recount

    merged, alone = counted("anonymous", "known", "anonymous"), counted("known", "known", "known")
    assert merged.users.keys() == {"known"}
    assert merged.users["known"] == alone.users["known"]
