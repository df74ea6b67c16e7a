"""A service of a few users behind the real web server: what the page's tests read."""

from __future__ import annotations

import asyncio
import threading
import urllib.error
import urllib.request
from typing import Any

import msgspec

from streams.ops.metrics import Metrics
from streams.ops.server import WebServer, build_web
from streams.ops.view import (
    HeadStatus,
    Latency,
    Membership,
    Owner,
    PartitionStatus,
    SegmentStatus,
    Together,
    UserView,
    WorkerLine,
    WorkerStatus,
)
from streams.wire.emit import Change, Reason, change_value

START = 1_760_000_000.0
HOSTILE = "<script>document.title='taken'</script>"
SLASHED = "shop/ü ?#%2F&.."


def change(user: str, segment: str, sequence: int, entered: bool = True) -> dict[str, Any]:
    """A change as the service publishes it."""
    if entered:
        reason = Reason(
            summary="the learned head is sure",
            event=f"e-{sequence}",
            shares={"text": 0.3, "behaviour": 0.62, "neighbours": 0.08},
        )
    else:
        reason = Reason(summary="the rule holds no longer: purchase.7d is 2", rule="purchase.7d >= 3")
    told = Change(
        user=user,
        segment=segment,
        change="entered" if entered else "exited",
        score=0.84,
        sequence=sequence,
        segment_version=3,
        encoder_version="minilm-1",
        head_version=41,
        origin="event" if entered else "expiry",
        reason=reason,
        event_time=START + 3000 + sequence,
        processed_at=START + 3600 + sequence,
    )
    decoded: dict[str, Any] = msgspec.json.decode(change_value(told))
    return decoded


class SmallService:
    """A service of three users, whose flow a test may change between two looks of the page."""

    def __init__(self) -> None:
        self.events_per_second = 8_412.0
        self.lag_as_of = START + 7_204
        self.why_not_ready = ""
        self.alive = True
        self.elsewhere: dict[str, Owner] = {}
        self.changes = [change(f"u-{n}", "big-spenders", n, n % 3 > 0) for n in range(12, 0, -1)]
        self.changes.insert(1, change(HOSTILE, HOSTILE, 99))
        memberships = [
            Membership(segment="big-spenders", since=START, score=0.84, reason=self.changes[1]["reason"], sequence=12),
            Membership(
                segment="cooking",
                since=START + 60,
                score=0.512,
                reason={"summary": "the texts are close to the description", "words": "people who love cooking"},
                sequence=13,
            ),
        ]
        self.users = {
            name: UserView(
                user=name,
                partition=2,
                memberships=memberships,
                counters={"purchase_7d": 12.5, "spend_7d": 1_234.5, "view_1d": 40.0},
                windows={"purchase": {"1h": 1, "24h": 3}, "last_seen": 5},
                followees=["u-2", "u-3", HOSTILE],
                texts=14,
                pending_texts=1,
                last_event_time=START + 3600,
                history=[change(name, "big-spenders", 12), change(name, "cooking", 11, entered=False)],
            )
            for name in ("u-1", HOSTILE, SLASHED, "..", "a-user-id-that-is-rather-long-" * 4)
        }

    def status(self) -> WorkerStatus:
        return WorkerStatus(
            worker="worker-1",
            state="running",
            ready=not self.why_not_ready,
            started_at=START,
            partitions=[
                PartitionStatus(
                    partition=n,
                    state="restoring" if n == 3 else "running",
                    restored=120_000 * n,
                    position=5_000_000 + n,
                    users=2_500 * n,
                    lag_records=[0, 40, 1_250, 98_000][n] if self.lag_as_of else None,
                    lag_seconds=[0.0, 0.045, 1.9, 130.0][n] if self.lag_as_of else None,
                    lag_as_of=self.lag_as_of,
                )
                for n in range(4)
            ],
            events_total=12_345_678,
            events_per_second=self.events_per_second,
            changes_total=48_123,
            changes_per_second=31.4,
            all_workers=Together(
                as_of=START + 7_200,
                workers=[
                    WorkerLine(worker="worker-1", url="worker-1:6066", heard_at=START + 7_203, partitions=[0, 1, 2, 3]),
                    WorkerLine(
                        worker="worker-2", url="worker-2:6066", heard_at=START + 7_000, silent=True, partitions=[4]
                    ),
                ],
                unknown=[5],
                old=[4],
                events=22_345_678,
                changes=91_020,
            ),
            dead_letters={"not-json": 14, "absurd-time": 3, HOSTILE: 1},
            segments=[
                SegmentStatus(id="big-spenders", kind="rule", text="3 purchases within 7 days", users=5_120, version=3),
                SegmentStatus(
                    id="cooking",
                    kind="words",
                    text="people who love cooking and restaurants",
                    users=1_903,
                    version=1,
                    enter=0.42,
                    exit=0.36,
                ),
                SegmentStatus(id="likes-politics", kind="head", text="learned from labels", users=417, version=2),
                SegmentStatus(id="hostile", kind="words", text=HOSTILE, users=0, version=1),
            ],
            latency={
                "fold": Latency(p50=0.0123, p99=0.081),
                "encode": Latency(p50=0.42, p99=2.31),
                "timer": Latency(),
            },
            encode_queue_depth=231,
            encode_queue_age=0.71,
            heads=[HeadStatus(group="taste", version=41, seen=2_300, accuracy=0.913), HeadStatus(group="new")],
            recent_changes=self.changes,
        )

    async def user(self, user_id: str) -> UserView | None:
        return self.users.get(user_id)

    def live(self) -> bool:
        return self.alive

    def started(self) -> bool:
        return True

    def ready(self) -> tuple[bool, str]:
        return not self.why_not_ready, self.why_not_ready

    def owner(self, user_id: str) -> Owner:
        return self.elsewhere.get(user_id, Owner(partition=2, here=True))


class Site:
    """The web server in a thread with a loop of its own, as the page's reader sees it."""

    def __init__(self, service: SmallService) -> None:
        self.service = service
        self.metrics = Metrics()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._server = WebServer(build_web(service, self.metrics, clock=lambda: START + 7_205))
        asyncio.run_coroutine_threadsafe(self._server.start("127.0.0.1", 0), self._loop).result(20)
        self.url = f"http://127.0.0.1:{self._server.port}"

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self._server.stop(), self._loop).result(20)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(20)
        self._loop.close()

    def get(self, path: str, headers: dict[str, str] | None = None) -> tuple[int, dict[str, str], bytes]:
        request = urllib.request.Request(self.url + path, headers=headers or {})
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, dict(answer.headers), answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, dict(error.headers), error.read()
