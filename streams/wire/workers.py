"""What each worker tells the others of itself every few seconds, on the topic ``…-workers`` (key: its name)."""

from __future__ import annotations

import msgspec


class PartitionReport(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One partition that a worker owns. ``known`` False: it is being restored, and its totals are yet to be read.

    The totals are those of its position record: of all time, whoever owned it. ``refused``: dead letters by code.
    """

    partition: int
    known: bool = False
    users: int = 0
    events: int = 0
    changes: int = 0
    members: dict[str, int] = {}
    refused: dict[str, int] = {}


class WorkerReport(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``url``: where its page is reached, as ``http://host:port``; ``host``: the machine that it runs on.

    ``generation``: of the group, when it was given its partitions; of two that claim one, the later is right.
    """

    worker: str
    url: str
    host: str = ""
    started_at: float = 0.0
    generation: int = 0
    partitions: list[PartitionReport] = []


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(WorkerReport)


def encode_report(report: WorkerReport) -> bytes:
    return _encoder.encode(report)


def decode_report(value: bytes) -> WorkerReport:
    """Raises ValueError (of msgspec) for anything else."""
    return _decoder.decode(value)
