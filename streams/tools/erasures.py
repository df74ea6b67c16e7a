"""Reads the receipts of a user's erasure and says which partitions have answered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec
from rich.console import Group, RenderableType
from rich.text import Text

from streams.kafka.admin import ConfValue
from streams.ops.view import moment
from streams.tools.reader import TopicReader
from streams.wire.receipts import Receipt


class Proof(msgspec.Struct, frozen=True):
    """The receipts of a user's latest erasure."""

    receipt: str
    """The user's keyed hash."""
    erased_at: float | None
    """Seconds since the epoch, in event time; null: no partition has answered."""
    partitions: int
    receipts: list[Receipt]
    missing: list[int]
    """Partitions that have not answered."""

    @property
    def complete(self) -> bool:
        return self.erased_at is not None and not self.missing


def proof_of(digest: str, receipts: Iterable[Receipt]) -> Proof:
    """The latest erasure of the user with this hash among ``receipts``."""
    mine = [receipt for receipt in receipts if receipt.receipt == digest]
    if not mine:
        return Proof(digest, None, 0, [], [])
    latest = max(receipt.erased_at for receipt in mine)
    answered = {receipt.partition: receipt for receipt in mine if receipt.erased_at == latest}
    partitions = max(receipt.partitions for receipt in answered.values())
    missing = [number for number in range(partitions) if number not in answered]
    return Proof(digest, latest, partitions, [answered[number] for number in sorted(answered)], missing)


def read_proof(conf: Mapping[str, ConfValue], topic: str, digest: str) -> Proof:
    """All receipts up to the topic's present end. Raises AdminError, TimeoutError."""
    with TopicReader(conf, topic, from_start=True, group="erasures") as reader:
        records = reader.read_to_end()
    key = digest.encode()
    return proof_of(
        digest, [msgspec.json.decode(record.value() or b"", type=Receipt) for record in records if record.key() == key]
    )


def show_proof(proof: Proof) -> RenderableType:
    """For people."""
    lines = [Text(f"receipt {proof.receipt}", style="dim")]
    if proof.erased_at is None:
        return Group(*lines, Text("no partition has given a receipt for this user", style="yellow"))
    event = next((f", event {each.event}" for each in proof.receipts if each.event), "")
    lines.append(Text(f"erased up to {moment(proof.erased_at)}{event}"))
    lines += [
        Text(
            f"  partition {each.partition}: done at {moment(each.processed_at)}; {each.memberships_ended} memberships, "
            f"{each.edges_removed} edges"
        )
        for each in proof.receipts
    ]
    answered = f"{len(proof.receipts)} of {proof.partitions} partitions have answered"
    if proof.complete:
        lines.append(Text(f"{answered}: the proof is complete", style="green"))
    else:
        lines.append(Text(f"{answered}; missing: {', '.join(map(str, proof.missing))}", style="yellow"))
    return Group(*lines)
