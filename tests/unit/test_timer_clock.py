"""The timers' clock goes only as far as everything that had arrived by then is processed."""

from __future__ import annotations

from streams.kafka.clock import TimerClock, Told

EVENTS, REROUTE = "events", "reroute"
NOW = 1_700_000_000.0


def clock() -> TimerClock:
    return TimerClock([EVENTS], REROUTE)


def at_rest(until: float = NOW) -> TimerClock:
    """Both topics are empty and were fetched to their end."""
    found = clock()
    for topic in (EVENTS, REROUTE):
        found.told(topic, Told(0, until), 0)
    return found


def test_nothing_is_known_before_the_first_complete_fetch_of_every_topic() -> None:
    found = clock()
    assert found.at(NOW) == 0.0
    found.told(EVENTS, Told(0, NOW), 0)
    assert found.at(NOW) == 0.0
    found.told(REROUTE, None, 0)
    assert found.at(NOW) == 0.0
    found.told(REROUTE, Told(0, NOW - 0.1), 0)
    assert found.at(NOW) == NOW - 0.1


def test_an_empty_complete_fetch_moves_the_clock_to_when_it_was_sent_and_silence_does_not() -> None:
    found = at_rest(NOW - 0.1)
    assert found.at(NOW) == NOW - 0.1
    assert found.at(NOW + 3_600.0) == NOW - 0.1  # Kafka has not answered for an hour


def test_the_clock_is_never_ahead_of_the_wall() -> None:
    found = at_rest(NOW + 5.0)
    assert found.at(NOW) == NOW


def test_what_was_handed_on_must_be_processed_before_a_fetch_counts() -> None:
    found = at_rest()
    found.told(EVENTS, Told(100, NOW + 10.0), 40)
    assert found.at(NOW + 10.0) == NOW
    found.told(EVENTS, Told(100, NOW + 10.0), 100)
    found.told(REROUTE, Told(0, NOW + 10.0), 0)
    assert found.at(NOW + 10.0) == NOW + 10.0


def test_in_a_backlog_the_clock_is_the_arrival_of_the_last_processed_event() -> None:
    found = clock()
    found.told(REROUTE, Told(0, NOW), 0)
    found.told(EVENTS, None, 0)
    found.processed(EVENTS, NOW - 3_600.0, NOW)
    assert found.at(NOW) == NOW - 3_600.0
    assert found.at(NOW + 60.0) == NOW - 3_600.0  # however long the next fetch takes


def test_under_steady_load_the_clock_follows_what_is_processed_although_something_always_waits() -> None:
    found = at_rest()
    for step in range(1, 50):
        now = NOW + step
        found.told(EVENTS, Told(10 * (step + 1), now), 10 * step)
        found.told(REROUTE, Told(0, now), 0)
        found.processed(EVENTS, now - 0.02, now)
        assert found.at(now) == now - 0.02


def test_an_arrival_in_the_future_by_another_clock_is_forgotten_with_the_next_one() -> None:
    found = clock()
    found.told(REROUTE, Told(0, NOW), 0)
    found.processed(EVENTS, NOW + 1_000.0, NOW)
    assert found.at(NOW) == NOW
    found.processed(EVENTS, NOW - 50.0, NOW)
    assert found.at(NOW) == NOW - 50.0


def test_a_misrouted_record_holds_the_clock_at_its_first_arrival_while_more_may_follow() -> None:
    found = at_rest(NOW)
    found.processed(REROUTE, NOW - 100.0, NOW)
    assert found.at(NOW) == NOW - 100.0
    found.told(REROUTE, Told(1, NOW + 0.5), 1)
    found.told(EVENTS, Told(0, NOW + 0.5), 0)
    assert found.at(NOW + 0.5) == NOW - 100.0
    found.told(REROUTE, Told(2, NOW + 5.0), 1)  # the next is handed on and waits for its turn
    assert found.at(NOW + 5.0) == NOW - 100.0
    found.told(REROUTE, Told(2, NOW + 6.0), 2)
    found.told(EVENTS, Told(0, NOW + 6.0), 0)
    assert found.at(NOW + 6.0) == NOW + 6.0


def test_a_misrouted_record_from_an_origin_that_is_not_behind_holds_nothing() -> None:
    found = at_rest(NOW)
    found.processed(REROUTE, NOW - 0.5, NOW)
    assert found.at(NOW) == NOW


def test_topics_that_bring_no_events_do_not_matter() -> None:
    found = at_rest(NOW)
    found.processed("labels", NOW - 500.0, NOW)
    assert found.at(NOW) == NOW
    assert found.topics == [EVENTS, REROUTE]
