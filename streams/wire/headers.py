"""Names of headers that a producer may send, but a client library may not hand on.

Kafka takes any bytes for a name; confluent-kafka takes text without NUL, and a lone surrogate ends the process. Such
names are escaped on their way out, and one more header says what they were.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

#: {position of the header: bytes of its name in hexadecimal}, as JSON
ESCAPED: Final = "escaped-names"
_decode: Final = msgspec.json.Decoder(dict[int, str]).decode


def sendable(headers: Iterable[tuple[str, bytes | None]]) -> list[tuple[str, bytes | None]]:
    """The headers with names that can be sent; ``as_received`` is the inverse."""
    found = list(headers)
    escaped: dict[str, str] = {}
    for at, (name, value) in enumerate(found):
        if name.isascii() and "\0" not in name:
            continue
        letters = name.encode("utf-8", "surrogateescape")
        shown = letters.decode("utf-8", "backslashreplace").replace("\0", "\\x00")
        if shown != name:
            escaped[str(at)] = letters.hex()
            found[at] = (shown, value)
    if escaped or (found and found[-1][0] == ESCAPED):
        found.append((ESCAPED, msgspec.json.encode(escaped)))
    return found


def as_received(headers: list[tuple[str, bytes | None]]) -> list[tuple[str, bytes | None]]:
    """The headers with the names that they had before ``sendable``."""
    if not headers or headers[-1][0] != ESCAPED:
        return headers
    *found, (_, told) = headers
    try:
        for at, letters in _decode(told or b"").items():
            name = bytes.fromhex(letters).decode("utf-8", "surrogateescape")
            found[at] = (name, found[at][1])
    except (msgspec.DecodeError, ValueError, IndexError):
        return headers  # somebody else wrote it
    return found
