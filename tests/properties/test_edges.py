"""Edges: the last word about each target counts, whatever the order of arrival."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from state.edges import bound, bound_removed, present, set_edge

Act = tuple[str, float, bool]
ACTS = st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(1, 6).map(float), st.booleans()), max_size=25)


def after(acts: list[Act]) -> dict[str, float]:
    edges: dict[str, float] = {}
    for target, time, follow in acts:
        set_edge(edges, target, time, follow)
    return edges


def last_word(acts: list[Act]) -> dict[str, bool]:
    """Target → whether it is followed: by the newest act; at the same time the removal wins."""
    newest: dict[str, tuple[float, bool]] = {}
    for target, time, follow in acts:
        newest[target] = max(newest.get(target, (0.0, False)), (time, not follow))
    return {target: not removed for target, (_, removed) in newest.items()}


@given(st.data(), ACTS)
def test_any_order_gives_the_same_edges(data: st.DataObject, acts: list[Act]) -> None:
    assert after(acts) == after(data.draw(st.permutations(acts)))


@given(ACTS)
def test_the_newest_act_counts_and_a_removal_wins_a_tie(acts: list[Act]) -> None:
    edges = after(acts)
    assert set(present(edges)) == {target for target, follows in last_word(acts).items() if follows}
    assert edges.keys() == {target for target, _, _ in acts}


@given(ACTS)
def test_set_edge_says_whether_the_neighbourhood_changed(acts: list[Act]) -> None:
    edges: dict[str, float] = {}
    for target, time, follow in acts:
        before = set(present(edges))
        assert set_edge(edges, target, time, follow) == (set(present(edges)) != before)


@given(ACTS)
def test_present_is_newest_first_with_ties_by_name(acts: list[Act]) -> None:
    edges = after(acts)
    assert present(edges) == sorted(present(edges), key=lambda target: (-edges[target], target))


@given(ACTS, st.integers(1, 5))
def test_bound_keeps_the_newest_and_names_what_it_dropped(acts: list[Act], most: int) -> None:
    edges = after(acts)
    followed = present(edges)
    dropped = bound(edges, most)
    forgotten = bound_removed(edges, most)
    assert present(edges) + dropped == followed
    assert len(present(edges)) == min(most, len(followed))
    assert sum(time <= 0 for time in edges.values()) <= most
    assert not edges.keys() & {*dropped, *forgotten}


@given(st.data(), st.lists(st.integers(0, 30), unique=True, max_size=12), st.integers(1, 4))
def test_follows_alone_give_the_same_bounded_set_in_any_order(
    data: st.DataObject, targets: list[int], most: int
) -> None:
    kept = []
    for order in (targets, data.draw(st.permutations(targets))):
        edges: dict[str, float] = {}
        for target in order:
            set_edge(edges, str(target), 1.0 + target, True)
            bound(edges, most)
        kept.append(present(edges))
    assert kept[0] == kept[1] == [str(target) for target in sorted(targets, reverse=True)[:most]]
