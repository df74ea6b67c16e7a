"""From receipts to the proof that a user was erased."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from streams.tools.erasures import proof_of, show_proof
from streams.wire.receipts import Receipt, erasure_digest, erasure_key

HASH = "0f" * 16


def receipt(partition: int, erased_at: float = 1_700_000_000.0, **more: Any) -> Receipt:
    fields: dict[str, Any] = {
        "receipt": HASH,
        "event": "d",
        "partitions": 2,
        "memberships_ended": 0,
        "edges_removed": 0,
    }
    return Receipt(partition=partition, erased_at=erased_at, processed_at=erased_at + 1, **fields | more)


def shown(*receipts: Receipt) -> str:
    console = Console(width=200)
    with console.capture() as capture:
        console.print(show_proof(proof_of(HASH, receipts)))
    return capture.get()


def test_the_proof_is_complete_when_all_partitions_have_answered() -> None:
    other = receipt(1, receipt="ff" * 16)
    assert not proof_of(HASH, []).complete
    assert not proof_of(HASH, [other]).complete
    assert proof_of(HASH, [receipt(0), other]).missing == [1]
    proof = proof_of(HASH, [receipt(1), receipt(0), other])
    assert proof.complete
    assert [each.partition for each in proof.receipts] == [0, 1]


def test_only_the_latest_erasure_counts() -> None:
    proof = proof_of(HASH, [receipt(0), receipt(1), receipt(1, 1_800_000_000.0)])
    assert (proof.erased_at, proof.missing, proof.complete) == (1_800_000_000.0, [0], False)


def test_people_see_what_is_missing() -> None:
    assert "no partition has given a receipt" in shown()
    assert "1 of 2 partitions have answered; missing: 1" in shown(receipt(0))
    assert "2 of 2 partitions have answered: the proof is complete" in shown(receipt(0), receipt(1))
    assert "2023-11-14 22:13:20, event d" in shown(receipt(0))


def test_the_hash_depends_on_the_secret_and_without_one_on_the_app() -> None:
    hashes = {
        erasure_digest(user, erasure_key(secret, app))
        for user in ("ada", "bob")
        for secret, app in (("s1", "a"), ("s2", "a"), ("", "a"), ("", "b"))
    }
    assert len(hashes) == 8
    assert {len(each) for each in hashes} == {16}
    assert erasure_key("s", "a") == erasure_key("s", "b")
    assert erasure_digest("ada", erasure_key("long" * 100, ""))
