"""Who a user follows, and which groups a user is in: last-writer-wins by event time, so order does not matter.

An edge is one signed number: ``+time`` for follow, ``-time`` for unfollow (seconds since the epoch). At the same
time the removal wins. Removed edges are remembered as well, so that a late follow does not undo a later unfollow.
"""

from __future__ import annotations


def set_edge(edges: dict[str, float], target: str, time: float, present: bool) -> bool:
    """Record follow (``present``) or unfollow of ``target`` at ``time``; True when the neighbourhood changed."""
    signed = time if present else -time
    known = edges.get(target)
    if known is not None:
        if abs(known) > time or (abs(known) == time and (known < 0 or present)):
            return False
        edges[target] = signed
        return (known > 0) != present
    edges[target] = signed
    return present


def present(edges: dict[str, float]) -> list[str]:
    """The targets that are followed, newest first (ties by name, so that the order is the same everywhere)."""
    return [target for target, time in sorted(edges.items(), key=lambda edge: (-edge[1], edge[0])) if time > 0]


def bound(edges: dict[str, float], most: int) -> list[str]:
    """Keep the newest ``most`` present edges; returns those that were dropped."""
    if len(edges) <= most:
        return []
    dropped = present(edges)[most:]
    for target in dropped:
        del edges[target]
    return dropped


def bound_removed(edges: dict[str, float], most: int) -> list[str]:
    """Remember only the newest ``most`` removed edges; returns those that were forgotten."""
    if len(edges) <= most:
        return []
    removed = sorted(
        (target for target, time in edges.items() if time <= 0), key=lambda target: (edges[target], target)
    )
    forgotten = removed[most:]
    for target in forgotten:
        del edges[target]
    return forgotten
