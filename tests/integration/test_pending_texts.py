"""A user who writes faster than BERT reads: the record stays small, each text is encoded once, across kill -9."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from encoders.artifact import load_encoders
from state import layout
from state.tables import open_record
from state.user import texts_waiting
from streams.kafka.broker import EmbeddedBroker
from streams.wire.events import Event
from streams.wire.topics import Topics
from tests.helpers import APP, Start, send_events, wait_for
from tests.verifier import read_all, verify

TEXTS = (
    "I cook pasta", "the match was lost", "cheap flights", "a new tax", "red shoes",
    "rain again", "my cat sleeps", "great concert", "the bus is late", "good coffee",
)  # fmt: skip
COUNT = 5_000


def records(broker: EmbeddedBroker, topics: Topics) -> dict[bytes, bytes]:
    """What the state changelog says now."""
    found: dict[bytes, bytes] = {}
    for message in read_all(broker.bootstrap, topics.changelog):
        if message.value() is None:
            found.pop(message.key(), None)
        else:
            found[message.key()] = message.value()
    return found


def test_thousands_of_waiting_comments_of_one_user_are_each_encoded_once_across_a_kill(
    broker: EmbeddedBroker, topics: Topics, start: Start, tmp_path: Path
) -> None:
    now = time.time()
    comments = (Event("writer", "comment", now + n / COUNT, f"c{n}", text=TEXTS[n % len(TEXTS)]) for n in range(COUNT))
    send_events(broker, topics, *comments)
    file = tmp_path / "segments.toml"
    file.write_text('[[segment]]\nid = "writers"\nrule = \'count("comment", within="7d") >= 100\'\n')
    first = start(segments_file=str(file))
    first.wait(lambda status: status["events_total"] == COUNT, 90.0, "all comments folded")
    wait_for(lambda: first.metrics().get("segments_encoded_texts_total", 0.0) >= 200, 60.0, "some texts encoded")
    first.kill()
    waiting = records(broker, topics)
    state = open_record("writer", waiting[layout.user_key("writer")])
    assert 0 < texts_waiting(state) < COUNT
    assert sum(key.startswith(layout.texts_prefix("writer")) for key in waiting) == texts_waiting(state)
    assert len(waiting[layout.user_key("writer")]) < 30_000

    second = start(segments_file=str(file))
    second.wait_idle(COUNT, 180.0)
    second.stop()
    done = records(broker, topics)
    assert not any(key.startswith((b"w", b"q")) for key in done)
    state = open_record("writer", done[layout.user_key("writer")])
    assert (state.texts, state.texts_taken, texts_waiting(state)) == (COUNT, COUNT, 0)
    # the sum of the texts' vectors says how often each is in it
    vectors = layout.decode_vectors(done[layout.vectors_key("writer")])
    encoded = load_encoders(device="cpu").text.encode(list(TEXTS))
    times, *_ = np.linalg.lstsq(encoded.T, np.frombuffer(vectors.text_sum, dtype=np.float32), rcond=None)
    np.testing.assert_allclose(times, COUNT / len(TEXTS), atol=0.2)
    assert verify(broker.bootstrap, APP, topics.prefix).differences == []
