"""The encode lane: users whose text, neighbourhood or behaviour changed get new vectors, then new memberships.

Three steps: ``make_jobs`` reads what is needed (by the partition's writer), ``compute`` runs the models (in a thread;
pure), ``apply`` puts the outcome into a turn (by the writer again; the state may have moved on meanwhile).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from encoders.base import NODE_DIM
from state import layout
from state.features import raw_features
from state.record import Record as State
from state.user import PendingText, texts_waiting
from state.vectors import Vectors, add_text, pack, text_direction
from streams.steps import graph, learned, words
from streams.steps.definitions import reconcile
from streams.steps.effects import Reader
from streams.steps.membership import Cause, next_due
from streams.steps.models import Models
from streams.steps.turn import Turn
from streams.wire.emit import Origin

Array = npt.NDArray[np.float32]

#: texts of one user encoded together; who wrote more comes again, so that nobody makes the others wait
MAX_TEXTS = 8
#: for a vector that is not there
_UNKNOWN: Final = bytes(2 * NODE_DIM)


@dataclass
class Job:
    """What the models need of one user."""

    user: str
    origin: Origin
    count: int
    life: int
    texts: list[PendingText]
    """The oldest that wait, at most ``MAX_TEXTS``."""
    raw: Array
    """float32[96]"""
    vectors: Vectors
    """A copy; ``compute`` updates it."""
    nodes: list[bytes]
    hiddens: list[bytes]
    """Of the people followed whose vectors are here, float16[128] each, as they are stored."""
    directions: list[Array] = field(default_factory=list)
    """After each text, the direction of the mean: the evidence at that moment."""
    full: bool = False
    """All vectors were computed, not those of texts alone."""


def make_jobs(reader: Reader, states: list[tuple[str, State | None]], origin: Origin) -> list[Job]:
    """Snapshot the users that are still there."""
    present = [(user, state) for user, state in states if state is not None]
    values = reader.get_many([layout.vectors_key(user) for user, _ in present])
    jobs = []
    for (user, state), value in zip(present, values, strict=True):
        text_keys = layout.text_keys(user, state.texts_taken, min(state.texts_put, state.texts_taken + MAX_TEXTS))
        followees = state.edges.present()
        records = reader.get_many([layout.neighbour_key(followee) for followee in followees])
        neighbours = [layout.decode_neighbour(record) for record in records if record]
        with_vectors = [neighbour for neighbour in neighbours if neighbour.node]
        jobs.append(
            Job(
                user=user,
                origin=origin,
                count=state.count,
                life=state.life,
                texts=[layout.decode_text(text) for text in reader.get_many(text_keys) if text is not None],
                raw=raw_features(state),
                vectors=layout.decode_vectors(value) if value else Vectors(),
                nodes=[neighbour.node for neighbour in with_vectors],
                hiddens=[neighbour.hidden or _UNKNOWN for neighbour in with_vectors],
            )
        )
    return jobs


def compute(models: Models, jobs: list[Job], full: bool) -> None:
    """Run the models over the jobs and write the outcome into them.

    ``full`` False: nobody needs fused vectors (there are no learned segments), so only texts are encoded.
    """
    texts = [text.text for job in jobs for text in job.texts]
    encoded = models.encoders.text.encode(texts) if texts else np.zeros((0, models.encoders.text.dim), dtype=np.float32)
    at = 0
    for job in jobs:
        for text in job.texts:
            job.directions.append(add_text(job.vectors, encoded[at], text.time))
            at += 1
        job.vectors.encoder = models.encoders.version
        job.full = full
    if full and jobs:
        _compute_graph(models, jobs)


def _compute_graph(models: Models, jobs: list[Job]) -> None:
    encoders = models.encoders
    directions = np.stack([text_direction(job.vectors, encoders.text.dim) for job in jobs])
    behaviour = encoders.behaviour.encode(np.stack([job.raw for job in jobs]))
    text = encoders.text_projection.encode(directions)
    node = encoders.social.node_input(behaviour, text)
    sizes = [len(job.nodes) for job in jobs]
    destination = np.repeat(np.arange(len(jobs), dtype=np.int64), sizes)
    nodes = _rows(row for job in jobs for row in job.nodes)
    hiddens = _rows(row for job in jobs for row in job.hiddens)
    # what neighbours are sent is float16, so the own inputs are rounded alike: one graph, one set of numbers
    node = node.astype(np.float16).astype(np.float32)
    hidden = encoders.social.layer1(node, nodes, destination).astype(np.float16).astype(np.float32)
    social = encoders.social.layer2(hidden, hiddens, destination)
    for row, job in enumerate(jobs):
        vectors = job.vectors
        vectors.behaviour = pack(behaviour[row])
        vectors.text = pack(text[row]) if vectors.text_sum else b""
        vectors.node, vectors.hidden = pack(node[row]), pack(hidden[row])
        vectors.social = pack(social[row]) if sizes[row] else b""


def _rows(rows: Iterable[bytes]) -> npt.NDArray[np.float16]:
    """float16[m, 128]"""
    return np.frombuffer(b"".join(rows), dtype=np.float16).reshape(-1, NODE_DIM)


def apply(turn: Turn, jobs: list[Job]) -> list[str]:
    """Put the outcome into the turn; returns the users that already need encoding again."""
    full = turn.plan.needs_vectors
    turn.load(job.user for job in jobs)
    turn.load_vectors(job.user for job in jobs)
    again, scored = [], []
    for job in jobs:
        state = turn.known(job.user)
        if state is None or state.life != job.life:
            continue  # erased meanwhile; who came back has been queued anew
        reconcile(turn, job.user, state)
        turn.drop_texts(job.user, state, len(job.texts))
        _store(turn, job, job.full and full)
        _decide_words(turn, job, state)
        state.encode_at = job.count + max(1, min(turn.place.drift_events, job.count))
        last = job.texts[-1] if job.texts else None
        scored.append(
            (job.user, state, Cause(job.origin, "encode", last.id if last else "", last.arrived if last else 0.0))
        )
        if state.labels and job.full and full:
            learned.send_pending_labels(turn, job.user, state)
        if texts_waiting(state) or (full and not job.full):  # all vectors were asked for only since
            again.append(job.user)
        elif state.dirty > job.count:
            turn.effects.later.append(job.user)
        else:
            turn.leave_queue(job.user, state)
    if full and scored:
        learned.score_users(turn, scored)
    for _, state, _ in scored:
        state.due = next_due(turn.plan, state)
    return again


def _store(turn: Turn, job: Job, full: bool) -> None:
    """Take the computed fields only: subscriptions may have changed meanwhile."""
    vectors, new = turn.vectors(job.user), job.vectors
    vectors.text_sum, vectors.text_time, vectors.encoder = new.text_sum, new.text_time, new.encoder
    if full:
        vectors.behaviour, vectors.text, vectors.social = new.behaviour, new.text, new.social
        vectors.node, vectors.hidden = new.node, new.hidden
        graph.send_if_moved(turn, job.user, vectors)
    turn.put_vectors(job.user)


def _decide_words(turn: Turn, job: Job, state: State) -> None:
    """Descriptions in words, text by text in their order: the outcome does not depend on how they were batched."""
    version = turn.models.encoders.version
    for text, direction in zip(job.texts, job.directions, strict=True):
        cause = Cause("event", "encode", text.id, text.arrived, version)
        words.decide_all(turn, job.user, state, direction, text.time, cause)
