"""Records of format 1, which every release before format 2 wrote, as records of now: read only.

Counters are brought to the landmark, ids cut to 56 bits and their seconds joined by sixteens, what no event was in is
left out. So whatever a fold or a rule asks gives the same as before, but for the last bits of decayed numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from state import layout
from state.absence import Sort
from state.kinds import ROW
from state.layout2 import MOST_SUM
from state.plain.codec import time_is_right
from state.plain.record import PlainRecord
from state.user import PendingText, UserState
from state.views import SORT
from state.windows import TallySpec


def read(
    user: str, data: bytes, chunks: Iterable[bytes | None], epoch: int
) -> tuple[PlainRecord, Sequence[PendingText]]:
    """The record, and texts that a release before they had records of their own kept in it.

    ``chunks``: the user's records ``d``, oldest first, of either format; None for one that is missing. ``epoch``: at
    which the user was last looked at (``streams.steps.in_force.epoch_of``: an earlier release put down a fingerprint).
    Raises FormatError, also for what format 2 cannot say: times from 2^32 seconds on, numbers below 0.
    """
    state = layout.decode_user(data)
    record = PlainRecord(user, epoch, state.life)
    try:
        _header(record, state)
        _counters(record, state)
        _cells(record, state)
        _links(record, state)
        record.ids.take_over(state.ids.numbers, chunks, state.ids.items())
        record.pack()  # raises what none of the verbs did
    except (ValueError, OverflowError) as error:
        raise layout.FormatError(
            f"a user's record of format 1 cannot be brought to format 2, {error}: replay into fresh topics"
        ) from error
    return record, state.pending


def _header(record: PlainRecord, state: UserState) -> None:
    record.enter(state.time)
    record.first, record.count, record.sequence, record.due = state.first, state.count, state.sequence, state.due
    record.encode_at, record.scored = state.encode_at, state.scored
    record.identified, record.queued = state.identified, state.queued
    record.dirty, record.texts = state.dirty, state.texts
    record.texts_put, record.texts_taken = state.texts_put, state.texts_taken
    record.erased, record.known_at = state.erased, state.known_at


def _counters(record: PlainRecord, state: UserState) -> None:
    counters = record.counters
    for name, (time, fast, slow) in state._decayed.items():
        if name in ROW:  # no other is read by anybody
            counters.begin(ROW[name], time, fast, slow)
    for bucket, (time, slow) in state._categories.items():
        counters.begin_category(bucket, time, slow)
    sums = [*counters.categories.values(), *(total for pair in counters.kinds.values() for total in pair)]
    if not all(0.0 <= total <= MOST_SUM for total in sums):
        raise ValueError("it has a counter that is no number, or below 0")


def _cells(record: PlainRecord, state: UserState) -> None:
    cells, now = record.cells, record.time
    for key, tally in state._tallies.items():
        spec = _spec(key)
        for bucket, amount in tally.buckets.items():
            time = float(bucket * spec.width)
            if amount < 0 or not time_is_right(time):
                raise ValueError(f"the tally {key} has a bucket that cannot be")
            cells.add(spec, time, amount, now)
    for key, until in state._unknown.items():
        if not time_is_right(until):
            raise ValueError(f"the tally {key} is not known until {until}")
        cells.mark_unknown(key, until)
    for key, latest in state._last.items():
        if not time_is_right(abs(latest)):
            raise ValueError(f"the latest event of {key} has the time {latest}")
        if latest > 0.0:
            kind, category = key.split("|", 1)
            cells.note(Sort(kind, category), latest)
        elif latest < 0.0:
            cells.mark_unknown(SORT + key, -latest)


def _spec(key: str) -> TallySpec:
    """What a key of a tally means. Raises ValueError."""
    kind, measure, window, category = key.split("|", 3)
    return TallySpec(kind, measure, int(window), category)


def _links(record: PlainRecord, state: UserState) -> None:
    for segment, member in state.members.items():
        record.members.put(segment, member)
    for mine, theirs in ((record.edges, state.edges), (record.groups, state.groups)):
        for target, time in theirs.items():
            if time:  # else it says nothing, and only damage wrote it
                mine.set(target, abs(time), time > 0.0)
    record.labels, record.aliases = state.labels, state.aliases
