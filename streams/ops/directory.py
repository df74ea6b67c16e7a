"""The workers of an installation, as they tell of themselves: who looks after whom, and what all have together.

Pure: times (seconds since the epoch) are passed in. May be used by several threads.
"""

from __future__ import annotations

import ipaddress
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from streams.ops.view import Owner, Together, WorkerLine
from streams.wire.workers import PartitionReport, WorkerReport

#: seconds between two reports of a worker
REPORT_SECONDS = 3.0
#: without a report for so long a worker may not be there any more, and nothing is asked of it
SILENT_SECONDS = 15.0
#: a worker that was silent for so long is forgotten
FORGET_SECONDS = 3_600.0


@dataclass(frozen=True)
class _Heard:
    report: WorkerReport
    at: float


@dataclass(frozen=True)
class _Totals:
    report: PartitionReport
    generation: int
    at: float


class Directory:
    """The newest report of each worker, and of each partition, whoever owned it when it was last heard of."""

    def __init__(self, worker: str, host: str, partitions: int) -> None:
        self._worker = worker
        self._host = host
        self._count = partitions
        self._lock = threading.Lock()
        self._workers: dict[str, _Heard] = {}
        self._totals: dict[int, _Totals] = {}

    def note(self, report: WorkerReport, at: float) -> None:
        """A worker told of itself; ``at``: when that was."""
        with self._lock:
            heard = self._workers.get(report.worker)
            if heard is None or heard.at <= at:  # not what an earlier process of the name told
                self._workers[report.worker] = _Heard(report, at)
            for partition in report.partitions:
                before = self._totals.get(partition.partition)
                # generations begin anew with the group: only against one that is still heard of does the number count
                newer = before is None or before.generation <= report.generation or at - before.at > SILENT_SECONDS
                if partition.known and newer:
                    self._totals[partition.partition] = _Totals(partition, report.generation, at)

    def gone(self, worker: str) -> None:
        """It ended in order; what its partitions had is still true."""
        with self._lock:
            self._workers.pop(worker, None)

    def names(self, now: float) -> frozenset[str]:
        """The workers that were heard of lately."""
        with self._lock:
            return frozenset(name for name, heard in self._workers.items() if now - heard.at <= SILENT_SECONDS)

    def namesake(self, report: WorkerReport, url: str, fresh: bool) -> bool:
        """Another process has this worker's name: each would hide the other. ``url``: this worker's own address;
        ``fresh``: it was told just now, so not by an earlier process of this worker, which may have had another."""
        return report.worker == self._worker and (report.host != self._host or (fresh and report.url != url))

    def owner(self, partition: int, now: float) -> Owner:
        """Who said last, and lately, that the partition is theirs; without a name when nobody did."""
        with self._lock:
            claims = [
                heard
                for heard in self._workers.values()
                if now - heard.at <= SILENT_SECONDS
                and heard.report.worker != self._worker
                and any(each.partition == partition for each in heard.report.partitions)
            ]
        if not claims:
            return Owner(partition=partition)
        newest = max(claims, key=lambda heard: (heard.report.generation, heard.at)).report
        url = newest.url if reachable(newest.url, newest.host, self._host) else ""
        return Owner(partition=partition, worker=newest.worker, url=url)

    def together(self, now: float) -> Together:
        """What all workers have, as far as it is known, and how old that is."""
        with self._lock:
            for name in [name for name, heard in self._workers.items() if now - heard.at > FORGET_SECONDS]:
                del self._workers[name]
            workers = sorted(self._workers.items())
            totals = dict(sorted(self._totals.items()))
        reports = [each.report for each in totals.values()]
        return Together(
            as_of=min((each.at for each in totals.values()), default=0.0),
            workers=[
                WorkerLine(
                    worker=name, url=heard.report.url, heard_at=heard.at, silent=now - heard.at > SILENT_SECONDS,
                    partitions=sorted(each.partition for each in heard.report.partitions),
                )
                for name, heard in workers
            ],
            unknown=[number for number in range(self._count) if number not in totals],
            old=[number for number, each in totals.items() if now - each.at > SILENT_SECONDS],
            users=sum(each.users for each in reports),
            events=sum(each.events for each in reports),
            changes=sum(each.changes for each in reports),
            members=_sum(reports, lambda each: each.members),
            refused=_sum(reports, lambda each: each.refused),
        )  # fmt: skip


def _sum(reports: Iterable[PartitionReport], of: Callable[[PartitionReport], dict[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for report in reports:
        total.update(of(report))
    return dict(total)


def reachable(url: str, host: str, here: str) -> bool:
    """A lookup can be passed on to this address: http(s), and not the loopback of another machine."""
    parts = urlsplit(url)
    return (
        parts.scheme in ("http", "https") and bool(parts.hostname) and (host == here or not _loopback(parts.hostname))
    )


def _loopback(host: str | None) -> bool:
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return host == "localhost"


def advertised(setting: str, web_host: str, port: int, machine: str) -> str:
    """The address that other workers are told: the setting, or that of the page as far as it says where it is."""
    if setting:
        return setting.rstrip("/")
    host = machine if web_host in ("", "0.0.0.0", "::") else web_host  # noqa: S104 - compared, not bound
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
