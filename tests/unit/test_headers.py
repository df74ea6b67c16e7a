"""Header names that cannot be sent on are escaped, and nothing of them is lost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streams.kafka.output import dead_letter
from streams.steps.effects import Reject
from streams.wire.headers import ESCAPED, as_received, sendable
from streams.wire.refused import Code, RefusedError
from tests.small_cluster import SmallCluster
from tests.small_partition import Sent

RULE = '[[segment]]\nid = "s"\nrule = \'count("click", within="7d") >= 1\'\n'
NAMES = st.binary(max_size=6).map(lambda name: name.decode("utf-8", "surrogateescape")) | st.just(ESCAPED)
HEADERS = st.lists(st.tuples(NAMES, st.none() | st.binary(max_size=4)), max_size=4)


@given(HEADERS)
def test_any_names_can_be_sent_and_come_back(headers: list[tuple[str, bytes | None]]) -> None:
    sent = sendable(headers)
    for name, _ in sent:
        assert "\0" not in name
        name.encode()
    assert as_received(sent) == headers
    if all(name.isascii() and "\0" not in name and name != ESCAPED for name, _ in headers):
        assert sent == headers


def test_what_somebody_else_wrote_under_that_name_is_left_alone() -> None:
    for value in (None, b"{", b"[]", b'{"9":"ff"}', b'{"0":"x"}'):
        headers = [("a", b"1"), (ESCAPED, value)]
        assert as_received(headers) == headers


def test_a_dead_letter_can_be_sent_whatever_the_names_and_says_what_they_were() -> None:
    record = Sent(3, b"x", headers=[("ok", b"1"), ("\udcff", b"2")])
    _, _, headers = dead_letter(Reject("t", 0, record, RefusedError(Code.NOT_JSON, "why")))
    assert headers[:3] == [("ok", b"1"), ("\\xff", b"2"), (ESCAPED, b'{"1":"ff"}')]


def test_a_record_that_is_rerouted_keeps_its_names() -> None:
    cluster = SmallCluster(RULE, 2)
    elsewhere = next(part for part in cluster.partitions if part is not cluster.home("u"))
    record = elsewhere.sent({"user": "u", "kind": "click", "time": 1_699_920_000.0})
    record.headers = [("\udcfe", b"1")]
    effects = cluster.took(elsewhere.take(cluster.topics.events, [record]))
    for message in effects.messages:
        for name, _ in message.headers:
            name.encode()
    cluster.flow()
    assert cluster.home("u").members() == {"s"}
