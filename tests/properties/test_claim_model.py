"""All orders in which workers may claim a partition, sleep anywhere, wake and write: nobody writes beside its owner.

The model is one partition's changelog and the coordinator of the transactional ids. Workers do what ``Claim`` asks for,
and then take turns. Whatever is committed must follow from all that was committed before: then no event is counted
twice, and none is lost. Every reachable state is visited. That the model would see a mistake is shown by making it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import pytest

from streams.kafka.claim import SLOT_SECONDS, Claim, Todo, may_be_used

OWN = "own"  # the partition's own transactional id
#: mistakes
UNORDERED = "claims are not fenced by each other"
UNFENCED = "the writer is not fenced"
EARLY = "the changelog is read before the writer is fenced, and not again"
LAZY = "slots are initialised with their first turn"
HEALED = "a forgotten id is healed by a new epoch"
ACCEPTED = "the release before reads what a claim wrote"
HANGING = "a transaction that hangs is not waited for"

NOBODY, SOMEBODY = -1, -2  # who has a name: it was never made or is forgotten; who fenced it and went away


class Entry(NamedTuple):
    """A transaction in the changelog."""

    name: str
    writer: str  # that it names
    state: str  # "open"; "prepared": committed, but its marker is not written; "committed"; "aborted"


class Log(NamedTuple):
    """What is below the last stable offset in one, and what lies behind it."""

    version: int = 0  # commits
    writer: str = ""
    behind: tuple[Entry, ...] = ()

    @property
    def committed(self) -> int:
        return self.version + sum(entry.state in ("prepared", "committed") for entry in self.behind)

    def settled(self) -> Log:
        version, writer, behind = self
        while behind and behind[0].state in ("committed", "aborted"):
            if behind[0].state == "committed":
                version, writer = version + 1, behind[0].writer
            behind = behind[1:]
        return Log(version, writer, behind)

    def change(self, name: str, before: str, after: str) -> Log:
        wanted = (name, before)
        behind = (each._replace(state=after) if (each.name, each.state) == wanted else each for each in self.behind)
        return self._replace(behind=tuple(behind)).settled()


class Worker(NamedTuple):
    """Of this release, or of the one before: that knows the partition's own id only and nothing of writers."""

    old: bool = False
    claim: Claim | None = None  # None: has not begun
    base: int = -1  # commits of which it knows; -1: has not read yet
    names: str | None = None  # what its open transaction says of the writer; None: none is open
    by: str = ""  # the id by which it writes
    made: bool = False  # that id is initialised
    turns: int = 0  # left
    gone: bool = False


class State(NamedTuple):
    log: Log
    ids: tuple[tuple[str, int], ...]  # who has which
    workers: tuple[Worker, ...]
    forgets: int = 0  # that may still happen
    hangs: int = 0
    timeouts: int = 0

    def holder(self, name: str) -> int:
        return dict(self.ids).get(name, NOBODY)

    def give(self, name: str, to: int) -> State:
        return self._replace(ids=tuple(sorted({**dict(self.ids), name: to}.items())))

    def put(self, number: int, worker: Worker) -> State:
        return self._replace(workers=(*self.workers[:number], worker, *self.workers[number + 1 :]))


class DoubledError(AssertionError):
    """Something was committed that does not follow from all before."""


class Model:
    """``mistakes``: what is done otherwise than the ADR says."""

    def __init__(self, *mistakes: str) -> None:
        self._mistakes = frozenset(mistakes)

    def init(self, state: State, name: str, number: int) -> State:
        """``init_transactions``: aborts what is open, and waits until what is prepared is complete."""
        log = state.log.change(name, "open", "aborted").change(name, "prepared", "committed")
        return state._replace(log=log).give(name, number)

    def may_write(self, state: State, number: int, name: str) -> tuple[State, bool]:
        holder = state.holder(name)
        if holder == NOBODY and HEALED in self._mistakes:
            state, holder = self.init(state, name, number), number
        return state, holder == number

    def begin(self, state: State, number: int, name: str, names: str) -> State:
        """Records are in the log. Its last transaction is complete before a producer begins another."""
        worker = state.workers[number]
        state, granted = self.may_write(state, number, name)
        if not granted:
            return state.put(number, worker._replace(gone=True))
        log = state.log.change(name, "prepared", "committed")
        state = state._replace(log=log._replace(behind=(*log.behind, Entry(name, names, "open"))))
        return state.put(number, worker._replace(names=names))

    def commit(self, state: State, number: int, name: str) -> State:
        """The coordinator has decided; markers follow."""
        worker = state.workers[number]
        assert worker.names is not None
        is_open = Entry(name, worker.names, "open") in state.log.behind
        if state.holder(name) != number or not is_open:
            return state.put(number, worker._replace(gone=True))
        if worker.base != state.log.committed:
            raise DoubledError(f"worker {number} commits after {worker.base}, where {state.log.committed} are: {state}")
        state = state._replace(log=state.log.change(name, "open", "prepared"))
        return state.put(number, worker._replace(base=worker.base + 1, names=None))

    def steps(self, state: State) -> Iterator[State]:
        """What may happen next."""
        for number, worker in enumerate(state.workers):
            if not worker.gone:
                yield from self.old_step(state, number) if worker.old else self.step(state, number)
        for entry in state.log.behind:
            if entry.state == "prepared":
                yield state._replace(log=state.log.change(entry.name, "prepared", "committed"))
        if state.forgets:
            for name, holder in state.ids:
                if holder != NOBODY and all(entry.name != name for entry in state.log.behind):
                    yield state._replace(forgets=state.forgets - 1).give(name, NOBODY)
        if state.timeouts:
            for entry in state.log.behind:
                if entry.state == "open":
                    yield self.init(state._replace(timeouts=state.timeouts - 1), entry.name, SOMEBODY)
        if state.hangs:  # a transaction that its coordinator does not know (KIP-890)
            behind = (*state.log.behind, Entry("hangs", "", "open"))
            yield state._replace(hangs=state.hangs - 1, log=state.log._replace(behind=behind))

    def old_step(self, state: State, number: int) -> Iterator[State]:
        worker = state.workers[number]
        if not worker.by:
            yield self.init(state, OWN, number).put(number, worker._replace(by=OWN))
        elif worker.base < 0:
            refuses = bool(state.log.writer) and ACCEPTED not in self._mistakes
            yield state.put(number, worker._replace(gone=refuses, base=state.log.version))
        elif worker.names is not None:
            yield self.commit(state, number, OWN)
        elif worker.turns:
            yield self.begin(state.put(number, worker._replace(turns=worker.turns - 1)), number, OWN, "")

    def step(self, state: State, number: int) -> Iterator[State]:
        worker = state.workers[number]
        claim = worker.claim
        if claim is None:
            slot, made = f"slot {number}", LAZY not in self._mistakes
            if made:
                state = self.init(state, slot, number)
            yield state.put(number, worker._replace(claim=Claim(slot), by=slot, made=made))
        elif claim.todo is Todo.NOTHING:
            yield from self.owner_step(state, number)
        else:
            yield self.claim_step(state, number, claim)
            if claim.todo is Todo.LOOK and worker.base < 0 and not claim.fenced:  # its store may be of any time
                for each in state.workers:
                    if each.claim is not None and each.claim.todo is Todo.NOTHING:
                        yield state.put(number, worker._replace(claim=claim.knows(each.claim.slot)))

    def claim_step(self, state: State, number: int, claim: Claim) -> State:
        worker, log = state.workers[number], state.log
        own = f"own {number}" if UNORDERED in self._mistakes else OWN
        match claim.todo:
            case Todo.FENCE_CLAIMS:
                state, claim = self.init(state, own, number), claim.claims_fenced()
            case Todo.LOOK:
                unfenced = UNFENCED in self._mistakes
                claim = claim.looked("" if unfenced else log.writer, not log.behind or HANGING in self._mistakes)
                if EARLY not in self._mistakes or worker.base < 0:
                    worker = worker._replace(base=log.version)  # all that is stable was read
            case Todo.FENCE_WRITER:
                state, claim = self.init(state, claim.writer, SOMEBODY), claim.writer_fenced()
            case _ if worker.names is None:
                return self.begin(state, number, own, claim.slot)
            case _:
                state = self.commit(state, number, own)
                worker, claim = state.workers[number], claim.written()
        return state.put(number, worker._replace(claim=claim))

    def owner_step(self, state: State, number: int) -> Iterator[State]:
        """A turn."""
        worker = state.workers[number]
        if worker.names is not None:
            yield self.commit(state, number, worker.by)
        elif not worker.made:
            yield self.init(state, worker.by, number).put(number, worker._replace(made=True))
        elif worker.turns:
            fewer = worker._replace(turns=worker.turns - 1)
            yield self.begin(state.put(number, fewer), number, worker.by, worker.by)


def visit(model: Model, start: State) -> set[State]:
    """All states that may be reached. Raises DoubledError."""
    found, left = {start}, [start]
    while left:
        for state in model.steps(left.pop()):
            if state not in found:
                found.add(state)
                left.append(state)
    return found


def alone(model: Model, state: State, number: int) -> State:
    """What comes of it when all others sleep."""
    others = tuple(each if at == number else each._replace(gone=True) for at, each in enumerate(state.workers))
    state = state._replace(workers=others, forgets=0, hangs=0)
    while steps := [each for each in model.steps(state) if each != state]:
        state = steps[0]
    return state


def start(*workers: Worker, forgets: int = 0, hangs: int = 0, timeouts: int = 0) -> State:
    return State(Log(), (), workers, forgets, hangs, timeouts)


NEW, IDLE = Worker(turns=1), Worker()
TWICE = Worker(turns=2)
BEFORE = Worker(old=True, turns=1)
CASES = {
    "three workers": start(NEW, NEW, NEW),
    "one of three goes on": start(TWICE, NEW, IDLE),
    "forgotten ids": start(NEW, NEW, forgets=3),
    "a forgotten id among three": start(NEW, NEW, IDLE, forgets=1),
    "transactions that time out": start(TWICE, NEW, forgets=1, timeouts=2),
    "the release before": start(BEFORE, NEW, BEFORE),
    "the release before and a forgotten id": start(BEFORE, NEW, forgets=2),
    "a transaction that hangs": start(TWICE, NEW, IDLE, hangs=1),
}


@cache
def states_of(case: str) -> set[State]:
    return visit(Model(), CASES[case])


@pytest.mark.parametrize("case", CASES)
def test_whatever_is_committed_follows_from_all_that_was_committed_before(case: str) -> None:
    states = states_of(case)
    for number in range(len(CASES[case].workers)):  # everybody may come to own it, and to have turns
        assert any(each.workers[number].base > 1 for each in states) or CASES[case].workers[number] == IDLE


@pytest.mark.parametrize("case", [case for case in CASES if "hangs" not in case])
def test_who_claims_while_all_others_sleep_wherever_they_are_gets_the_partition(case: str) -> None:
    model, number = Model(), len(CASES[case].workers) - 1
    for state in states_of(case):
        worker = state.workers[number]
        if worker.claim is None and not worker.old:
            claim = alone(model, state, number).workers[number].claim
            assert claim is not None
            assert claim.todo is Todo.NOTHING


@pytest.mark.parametrize(
    ("mistake", "case"),
    [
        (UNORDERED, "three workers"),
        (UNFENCED, "three workers"),
        (LAZY, "three workers"),
        (HEALED, "forgotten ids"),
        (ACCEPTED, "the release before"),
        (HANGING, "a transaction that hangs"),
        (EARLY, "three workers"),
    ],
)
def test_each_rule_is_needed(mistake: str, case: str) -> None:
    with pytest.raises(DoubledError):
        visit(Model(mistake), CASES[case])


def test_a_claim_goes_by_its_order() -> None:
    claim = Claim("slot")
    with pytest.raises(ValueError, match="is to do FENCE_CLAIMS was told of WRITE"):
        claim.written()


def test_the_writer_that_the_local_store_names_is_fenced_once_and_before_the_first_look() -> None:
    claim = Claim("slot").claims_fenced()
    assert claim.knows("") == claim
    known = claim.knows("old")
    assert (known.todo, known.writer) == (Todo.FENCE_WRITER, "old")
    looking = known.writer_fenced()
    assert looking.todo is Todo.LOOK
    assert looking.knows("old") == looking
    assert looking.looked("old", stable=True).todo is Todo.WRITE


def test_a_store_that_is_made_anew_is_read_anew() -> None:
    claim = Claim("slot").claims_fenced().looked("", stable=True)
    assert claim.todo is Todo.WRITE
    assert claim.begun_again().todo is Todo.LOOK


def test_a_slot_is_not_used_when_its_coordinator_has_not_answered_for_an_hour() -> None:
    assert may_be_used(100.0, 100.0 + SLOT_SECONDS)
    assert not may_be_used(100.0, 100.1 + SLOT_SECONDS)
