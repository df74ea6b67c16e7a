"""Segments described in words: how like the description is what a user writes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from state.record import Record as State
from streams.steps.membership import Cause, decide
from streams.steps.segments import Segment
from streams.steps.turn import Turn
from streams.wire.emit import Reason


def decide_all(
    turn: Turn, user: str, state: State, direction: npt.NDArray[np.float32], now: float, cause: Cause
) -> None:
    """Compare ``direction`` (unit float32[dim]: the mean of the user's texts) with all descriptions."""
    for segment in turn.plan.words:
        score = float(direction @ turn.models.words[segment.id])
        if score >= segment.enter or segment.id in state.members:
            _decide(turn, user, state, segment, score, now, cause)


def _decide(turn: Turn, user: str, state: State, segment: Segment, score: float, now: float, cause: Cause) -> None:
    def why() -> Reason:
        side, bound = ("at or above", segment.enter) if score >= segment.enter else ("below", segment.exit)
        summary = f"what the user writes is {score:.2f} like the description, {side} {bound:g}"
        return Reason(summary=summary, event=cause.event, words=segment.text)

    decide(turn, user, state, segment, score, now, cause, why)
