"""Damage to good records, for properties."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st


@st.composite
def mutated(
    draw: st.DrawFn, good: st.SearchStrategy[bytes], nasty: Sequence[bytes], flips: st.SearchStrategy[int], most: int
) -> bytes:
    """After one to ``most`` byte flips, insertions of nasty pieces, deletions, doublings and cuts."""
    record = bytearray(draw(good))
    for _ in range(draw(st.integers(1, most))):
        at = draw(st.integers(0, len(record)))
        match draw(st.sampled_from(["flip", "flip", "insert", "drop", "double", "cut"])):
            case "flip" if at < len(record):
                record[at] ^= draw(flips)
            case "insert":
                record[at:at] = draw(st.sampled_from(nasty))
            case "drop":
                del record[at : at + draw(st.integers(1, 8))]
            case "double":
                record[at:at] = record[at : at + 30]
            case _:
                del record[at:]
    return bytes(record)
