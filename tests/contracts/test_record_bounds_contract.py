"""How large a user's record may be, whoever has the bytes."""

from __future__ import annotations

import pytest

from state.layout2 import CHUNK, MOST_CHUNKS
from state.record import TooLargeError
from tests.records import Implementation


def test_a_user_has_no_more_records_of_ids_than_are_read_again(kind: Implementation) -> None:
    record = kind.new("u", 0, 0)
    for number in range((MOST_CHUNKS + 2) * CHUNK):
        record.ids.add(number, 1e9)
    assert len(record.ids.numbers) == MOST_CHUNKS
    assert record.ids.cut == 2 * CHUNK
    assert kind.open("u", record.pack()).ids.numbers == range(2, MOST_CHUNKS + 2)


def test_a_section_of_more_than_512_kib_says_its_size_itself(kind: Implementation) -> None:
    record = kind.new("u", 0, 0)
    names = [f"{number:03}" + "用" * 509 for number in range(512)]
    for at, name in enumerate(names):
        record.groups.set(name, 1.0 + at, present=at % 2 == 0)
    large = record.pack()
    assert len(large) > 512 * 1_530
    assert kind.open("u", large).pack() == large
    for name in names[339:]:
        record.groups.drop(name)
    assert len(record.pack()) == 112 + 8 + 339 * 1_544
    assert kind.open("u", record.pack()).pack() == record.pack()


def test_a_record_of_more_than_8_mib_is_refused(kind: Implementation) -> None:
    record = kind.new("u", 0, 0)
    record.aliases = [f"{number:03}" + "x" * 60_000 for number in range(139)]
    assert len(kind.open("u", record.pack()).aliases) == 139

    def grow() -> None:  # refused when it is put, or when it is packed
        record.aliases = [*record.aliases, "y" * 60_000]
        record.pack()

    with pytest.raises(TooLargeError, match="too large"):
        grow()
