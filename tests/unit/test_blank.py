"""What cannot be seen is nobody's id, and no other's either."""

from __future__ import annotations

import sys
from typing import Any

import msgspec
import pytest

from streams.wire.decode import Limits, decode_event, decode_label, is_blank
from streams.wire.refused import Code, RefusedError
from tests.small_partition import T0, SmallPartition
from tests.unit.membership_cases import TWO_VIEWS

BLANKS = [char for char in map(chr, range(sys.maxunicode + 1)) if is_blank(char)]
VIEW = {"kind": "view", "time": T0, "id": "e"}
CALL = {"type": "track", "event": "Product Viewed", "messageId": "m", "timestamp": "2023-11-14T00:00:00Z"}


def refused(content: dict[str, Any]) -> tuple[Code, str]:
    with pytest.raises(RefusedError) as caught:
        decode_event(msgspec.json.encode(content), T0, Limits())
    return caught.value.code, str(caught.value)


@pytest.mark.parametrize("user", ["", " ", "\t\n", "\x00", "\x7f", "\u00a0", "\u200b\u200b", "\ufeff", " \u3000 \x1b"])
def test_a_blank_user_is_refused_in_both_forms_and_for_labels(user: str) -> None:
    code, reason = refused({**VIEW, "user": user})
    assert code == Code.MISSING_FIELD
    assert reason == f"the event's `user` is {'blank' if user else 'empty'}"
    assert refused({**CALL, "userId": user})[0] == Code.MISSING_FIELD
    assert refused({**CALL, "anonymousId": user})[0] == Code.MISSING_FIELD
    label = {"user": user, "segment": "s", "member": True, "time": T0}
    with pytest.raises(RefusedError, match="a label needs `user` and `segment`"):
        decode_label(msgspec.json.encode(label), T0, Limits())


def test_a_blank_user_id_of_a_call_is_not_taken_for_the_anonymous_one_but_an_empty_one_is() -> None:
    assert refused({**CALL, "userId": " ", "anonymousId": "a"})[0] == Code.MISSING_FIELD
    event = decode_event(msgspec.json.encode({**CALL, "userId": "", "anonymousId": "a"}), T0, Limits())
    assert event.user == "a"


@pytest.mark.parametrize(
    "event",
    [
        {**VIEW, "user": "u", "kind": "follow", "target": "\u200b"},
        {**VIEW, "user": "u", "kind": "identify", "target": "\x00 "},
        {**VIEW, "user": "u", "kind": "join", "group": "\x1f"},
        {**VIEW, "user": "u", "kind": "comment", "text": "\u2060"},
        {**CALL, "type": "identify", "userId": "u", "anonymousId": " "},
        {**CALL, "type": "alias", "userId": "u", "previousId": "\t"},
        {**CALL, "type": "group", "userId": "u", "groupId": " "},
    ],
)
def test_a_blank_target_or_group_is_refused(event: dict[str, Any]) -> None:
    assert refused(event)[0] == Code.MISSING_FIELD


def test_no_blank_character_is_a_user_whoever_reads_the_event_and_all_others_are() -> None:
    assert 240 < len(BLANKS) < 400
    partition = SmallPartition(TWO_VIEWS)
    users = [*BLANKS, "".join(BLANKS[:100]), "\x85\xa0"]
    raw = [b'{"user":"%s","kind":"view","time":%d}' % (user.encode(), T0) for user in users if user >= " "]
    effects = partition.raw(*raw)
    assert [reject.error.code for reject in effects.rejects] == [Code.MISSING_FIELD] * len(raw)
    assert partition.meta.users == 0
    seen = ["u", "0", "-", "\u00e9", "\u7528\u6237", "\u3042", "\u0915", "\U0001f642", " a", "\u200b\u00df"]
    partition.events(*({**VIEW, "user": user, "id": user} for user in seen))
    assert partition.meta.users == len(seen)


def test_an_id_that_is_too_long_is_refused_in_both_forms() -> None:
    assert refused({**VIEW, "user": "u" * 513})[0] == Code.TOO_LARGE
    assert refused({**VIEW, "user": "u", "kind": "follow", "target": "v" * 513})[0] == Code.TOO_LARGE
    assert refused({**CALL, "userId": "u" * 513})[0] == Code.TOO_LARGE
    assert refused({**CALL, "type": "identify", "userId": "u", "anonymousId": "a" * 513})[0] == Code.TOO_LARGE
