"""Events a second of one worker by the form of its records: the same load in our own form plain, with nested fields,
with ISO times, and as calls of the Segment Spec.

python -m benchmarks.forms --json benchmarks/out/forms.json
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from benchmarks.harness import machine, produce, write_json
from benchmarks.load import Spread, load
from benchmarks.throughput import Track, ours, spread
from streams.kafka.admin import create_topics
from streams.kafka.broker import EmbeddedBroker
from streams.wire.topics import Topics

#: track events of the load's kinds
_TRACKS: Final = {"view": "Product Viewed", "click": "Product Clicked", "purchase": "Order Completed"}
_NESTED: Final = (
    b',"context":{"page":{"path":"/p/3","title":"Shoes"},"screen":{"width":1728,"height":1117,"density":2},'
    b'"tags":["new","sale"],"consent":true}}'
)
_encode: Final = msgspec.json.Encoder().encode


def plain(value: bytes) -> bytes:
    return value


def nested(value: bytes) -> bytes:
    """With a field that nobody asks for, which has others within."""
    return value[:-1] + _NESTED


def iso(value: bytes) -> bytes:
    """With the time as a text, to the millisecond."""
    fields = msgspec.json.decode(value)
    return _encode(fields | {"time": _iso(fields["time"])})


def segment(value: bytes) -> bytes:
    """As docs/events.md shows a call: two ids, four times, library and integrations, and the properties."""
    fields = msgspec.json.decode(value)
    time = _iso(fields["time"])
    if fields["kind"] == "purchase":
        products = [{"product_id": fields["item"], "category": fields["category"]}]
        properties = {"order_id": fields["id"], "revenue": fields["amount"], "products": products}
    else:
        properties = {"product_id": fields["item"], "category": fields["category"], "dwell": fields["dwell"]}
    return _encode(
        {
            "type": "track",
            "event": _TRACKS[fields["kind"]],
            "messageId": fields["id"],
            "userId": fields["user"],
            "anonymousId": "5f1c",
            "channel": "web",
            "context": {"library": {"name": "RudderLabs JavaScript SDK", "version": "2.48.0"}},
            "integrations": {"All": True},
            "originalTimestamp": time,
            "sentAt": time,
            "receivedAt": time,
            "timestamp": time,
            "properties": properties,
        }
    )


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


FORMS: Final[dict[str, Callable[[bytes], bytes]]] = {"plain": plain, "nested": nested, "iso": iso, "segment": segment}


def _send(track: Track, records: Iterable[tuple[bytes, bytes]]) -> int:
    """All of them; returns their bytes."""
    total = 0

    def counted() -> Iterator[tuple[bytes, bytes]]:
        nonlocal total
        for key, value in records:
            total += len(value)
            yield key, value

    produce(track.bootstrap, track.topic, counted())
    return total


def run(events: int, users: int, shape: Spread, partitions: int, rounds: int, seed: int) -> dict[str, Any]:
    """All forms in turn, ``rounds`` times, each from a topic of its own."""
    results: dict[str, list[dict[str, Any]]] = {form: [] for form in FORMS}
    sizes: dict[str, float] = {}
    tracks: dict[str, Track] = {}
    with tempfile.TemporaryDirectory(prefix="segments-bench-") as name, EmbeddedBroker(Path(name) / "kafka") as broker:
        for form, written in FORMS.items():
            topics = Topics("any", f"bench-{form}-")
            create_topics({"bootstrap.servers": broker.bootstrap}, topics.specs(partitions), 1)
            tracks[form] = Track(broker.bootstrap, topics.events, partitions, Path(name), topics.prefix)
            records = ((key, written(value)) for key, value in load(events, users, shape, seed))
            sizes[form] = _send(tracks[form], records) / events
        for number in range(rounds):
            for form, track in tracks.items():
                results[form].append(ours(track, f"{form}-{number}", events))
    forms = {form: spread(done) | {"bytes_per_record": round(sizes[form])} for form, done in results.items()}
    for found in forms.values():
        found["ratio_to_plain"] = round(found["events_per_second"] / forms["plain"]["events_per_second"], 3)
    changes = {form: [each["changes"] for each in done] for form, done in results.items()}
    return {
        "forms": forms,
        "changes": changes,
        "events": events,
        "users": users,
        "spread": shape,
        "partitions": partitions,
        "seed": seed,
        "what": "the throughput benchmark's load and rules, exactly once; medians of the rounds, in which the forms "
        "take turns",
        "machine": machine(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", type=Path, default=None, metavar="FILE")
    parser.add_argument("--events", type=int, default=2_000_000)
    parser.add_argument("--users", type=int, default=10_000)
    parser.add_argument("--spread", choices=("uniform", "zipf"), default="zipf")
    parser.add_argument("--partitions", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    write_json(
        given.json, run(given.events, given.users, given.spread, given.partitions, given.rounds, given.seed)
    )  # fmt: skip


if __name__ == "__main__":
    main()
