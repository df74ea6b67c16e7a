"""Receipts of erasure: each partition says that nothing of a user is left in it. They name the user by a keyed hash."""

from __future__ import annotations

import hashlib

import msgspec

from streams.wire.emit import Headers, event_headers

_encode = msgspec.json.Encoder().encode


class Receipt(msgspec.Struct, frozen=True):
    """One partition removed all that it held of a user (the value of ``erasure-receipts``)."""

    receipt: str
    """The user's keyed hash (BLAKE2b, 128 bits, as hex); the key of the record as well."""
    event: str
    """Id of the delete event; empty if that has none, or if it names the user."""
    partition: int
    partitions: int
    """So many receipts with the same `erased_at` are the whole proof."""
    memberships_ended: int
    """In the user's own partition; 0 in the others."""
    edges_removed: int
    """Follows from the user, in the user's own partition, and of the user."""
    erased_at: float
    processed_at: float


def erasure_key(secret: str, app: str) -> bytes:
    """32 bytes: the key of the hash. Without a secret it comes from the app's name, which protects from nobody."""
    return hashlib.blake2b((secret or app).encode(), digest_size=32, person=b"live-segments").digest()


def erasure_digest(user: str, key: bytes) -> bytes:
    """16 bytes that stand for a user who may not be named any more."""
    return hashlib.blake2b(user.encode(), key=key, digest_size=16).digest()


def receipt_value(receipt: Receipt) -> bytes:
    return _encode(receipt)


def receipt_headers(receipt: Receipt, source: bytes) -> Headers:
    """The receipt as a CloudEvent."""
    identity = f"{receipt.receipt}/{receipt.erased_at}/{receipt.partition}"
    return event_headers(identity, source, "erasure.receipt", receipt.receipt, receipt.erased_at)
