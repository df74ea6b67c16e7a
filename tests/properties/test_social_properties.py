"""The graph network in pieces equals the graph network as a whole, for any follow graph."""

from __future__ import annotations

from random import Random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from encoders.base import F32, I64, NODE_DIM
from encoders.social import Ego, SocialEncoder

_SOCIAL = SocialEncoder(device="cpu")


@st.composite
def follow_graphs(draw: DrawFn) -> tuple[F32, I64]:
    """(x f32[N, 128], edge_index int64[2, E]): any graph of up to 12 users, some of them unknown (zero)."""
    n = draw(st.integers(1, 12))
    edges = draw(st.sets(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)).filter(lambda e: e[0] != e[1])))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    lengths = draw(st.lists(st.sampled_from([0.0, 0.1, 1.0, 5.0]), min_size=n, max_size=n))
    x = rng.standard_normal((n, NODE_DIM)) * np.array(lengths)[:, None] / np.sqrt(NODE_DIM)
    return x.astype(np.float32), np.array(sorted(edges), dtype=np.int64).reshape(-1, 2).T


def followees(edge_index: I64, user: int) -> I64:
    near: I64 = edge_index[1][edge_index[0] == user]
    return near


@given(follow_graphs())
@settings(deadline=None, max_examples=60)
def test_one_user_at_a_time_equals_the_whole_graph(graph: tuple[F32, I64]) -> None:
    x, edge_index = graph
    h1, e_s = _SOCIAL.full(x, edge_index)
    for u in range(len(x)):
        near = followees(edge_index, u)
        own_h1 = _SOCIAL.layer1(x[[u]], x[near], np.zeros(len(near), np.int64))
        np.testing.assert_allclose(own_h1, h1[[u]], atol=1e-5, rtol=0)
        own_e_s = _SOCIAL.layer2(own_h1, h1[near], np.zeros(len(near), np.int64))
        np.testing.assert_allclose(own_e_s, e_s[[u]], atol=1e-5, rtol=0)


@given(follow_graphs(), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=40)
def test_any_batch_of_egos_in_any_order_equals_the_whole_graph(graph: tuple[F32, I64], shuffle: Random) -> None:
    x, edge_index = graph
    h1, e_s = _SOCIAL.full(x, edge_index)
    order = list(range(len(x)))
    shuffle.shuffle(order)
    egos = [Ego(h1[u], h1[followees(edge_index, u)[::-1]]) for u in order]
    np.testing.assert_allclose(_SOCIAL.encode(egos), e_s[order], atol=1e-5, rtol=0)


@given(follow_graphs(), st.floats(0.001, 0.5), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=40)
def test_stale_followees_err_by_no_more_than_the_lipschitz_bound(
    graph: tuple[F32, I64], epsilon: float, seed: int
) -> None:
    """Every followee's x as sent is up to epsilon off, and every h1 computed from those up to epsilon more."""
    x, edge_index = graph
    rng = np.random.default_rng(seed)

    def stale(vectors: F32) -> F32:
        step = rng.standard_normal(vectors.shape)
        step *= epsilon * rng.random((len(vectors), 1)) / np.linalg.norm(step, axis=1, keepdims=True)
        return (vectors + step).astype(np.float32)

    h1, e_s = _SOCIAL.full(x, edge_index)
    l1_self, l1_nb, l2_self, l2_nb = _SOCIAL.lipschitz()
    old_x = stale(x)
    near = edge_index[1]
    h1_seen = _SOCIAL.layer1(x, old_x[near], edge_index[0])
    e_s_seen = _SOCIAL.layer2(h1_seen, stale(h1_seen)[near], edge_index[0])
    slack = 1e-4
    assert np.linalg.norm(h1_seen - h1, axis=1).max() <= l1_nb * epsilon + slack
    bound = l2_self * l1_nb * epsilon + l2_nb * (l1_nb * epsilon + epsilon)
    assert np.linalg.norm(e_s_seen - e_s, axis=1).max() <= bound + slack
    assert l1_self <= 1.0


@given(follow_graphs())
@settings(deadline=None, max_examples=30)
def test_the_map_is_odd(graph: tuple[F32, I64]) -> None:
    x, edge_index = graph
    h1, e_s = _SOCIAL.full(x, edge_index)
    minus_h1, minus_e_s = _SOCIAL.full(-x, edge_index)
    np.testing.assert_allclose(minus_h1, -h1, atol=1e-6)
    np.testing.assert_allclose(minus_e_s, -e_s, atol=1e-6)
