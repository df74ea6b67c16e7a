"""What a user did, in the one form the service works with, and our own compact JSON form of it.

The Segment Spec form is mapped to the same struct in ``segment_spec.py``.
"""

from __future__ import annotations

from typing import Literal, get_args

import msgspec

Kind = Literal[
    "view", "click", "purchase", "comment", "follow", "unfollow", "join", "leave", "identify", "alias", "delete"
]
KINDS: tuple[str, ...] = get_args(Kind)
#: kinds that name another user in ``target``
SOCIAL_KINDS = frozenset({"follow", "unfollow"})
#: kinds that carry a group in ``group``
GROUP_KINDS = frozenset({"join", "leave"})


class Event(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One thing that one user did.

    ``time`` is seconds since the epoch (UTC). On the wire it may also be milliseconds or ISO 8601.
    New fields must have defaults, so that old producers stay valid.
    """

    user: str
    kind: Kind
    time: float
    id: str = ""
    """The producer's event id; without one the hash of the record's bytes is used."""
    item: str = ""
    category: str = ""
    amount: float = 0.0
    """Money spent, in the shop's currency."""
    dwell: float = 0.0
    """Seconds spent on the item."""
    text: str = ""
    target: str = ""
    """The other user of follow/unfollow; the anonymous id of identify/alias."""
    group: str = ""
    anonymous: bool = False
    """``user`` is an id that a device made up, of nobody known yet: its state expires sooner."""


class WireEvent(msgspec.Struct, frozen=True, gc=False):
    """Our compact JSON form, before its time is understood (see ``decode.py``)."""

    user: str
    kind: Kind
    time: float | str
    id: str = ""
    item: str = ""
    category: str = ""
    amount: float = 0.0
    dwell: float = 0.0
    text: str = ""
    target: str = ""
    group: str = ""
    anonymous: bool = False


class Label(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Feedback: the user is (or is not) a member of the segment."""

    user: str
    segment: str
    member: bool
    time: float
    weight: float = 1.0
    id: str = ""


_encoder = msgspec.json.Encoder()


def encode_event(event: Event | Label) -> bytes:
    """The compact JSON form of an event or label; defaults are left out."""
    return _encoder.encode(event)
