"""Line plots and bar charts as SVG, without any library: axes, ticks, labels. Readable on light and dark pages."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

_WIDTH, _HEIGHT = 760, 380
_LEFT, _RIGHT, _TOP, _BOTTOM = 72, 20, 44, 56
_COLOURS = ("#0969da", "#bc4c00", "#1a7f37", "#8250df", "#cf222e")
#: more points than pixels would only make the file large
_MOST_POINTS = 1_000


@dataclass(frozen=True)
class Line:
    """One line: a name for the legend and (x, y) points in order of x."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Bar:
    """One bar, and how far its value spread."""

    name: str
    value: float
    least: float
    most: float


def bar_chart(path: Path, title: str, bars: Sequence[Bar]) -> None:
    """Write horizontal bars from zero, each with its value and a whisker. Raises ValueError when there is none."""
    if not bars:
        raise ValueError("a chart needs at least one bar")
    left, step = 230, 40
    height = _TOP + step * len(bars) + 16
    per_unit = (_WIDTH - left - 90) / (max(bar.most for bar in bars) or 1.0)
    parts = [_head(title, height)]
    for number, bar in enumerate(bars):
        y = _TOP + step * number
        end, low, high = (left + value * per_unit for value in (bar.value, bar.least, bar.most))
        colour = _COLOURS[0] if number == 0 else "#8c959f"
        parts.append(f'<text x="{left - 8}" y="{y + 19}" text-anchor="end" fill="#1f2328">{escape(bar.name)}</text>')
        parts.append(f'<rect x="{left}" y="{y + 4}" width="{end - left:.1f}" height="22" fill="{colour}"/>')
        parts.append(f'<path d="M{low:.1f} {y + 15}H{high:.1f}" stroke="#1f2328" stroke-width="1.5"/>')
        parts.append(f'<text x="{high + 8:.1f}" y="{y + 19}" fill="#1f2328">{bar.value:,.0f}</text>')
    _write(path, parts)


def _head(title: str, height: int) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img"'
        f' font-family="system-ui, sans-serif" font-size="12"><title>{escape(title)}</title>\n'
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>\n'
        f'<text x="20" y="24" font-size="15" fill="#1f2328">{escape(title)}</text>'
    )


def _write(path: Path, parts: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(parts) + "\n</svg>\n", "utf-8")


def line_plot(
    path: Path, title: str, x_label: str, y_label: str, lines: Sequence[Line], y_from_zero: bool = True
) -> None:
    """Write the plot. Raises ValueError when no line has a point."""
    points = [point for line in lines for point in line.points]
    if not points:
        raise ValueError("a plot needs at least one point")
    x_ticks = ticks(min(x for x, _ in points), max(x for x, _ in points))
    lowest = 0.0 if y_from_zero else min(y for _, y in points)
    y_ticks = ticks(lowest, max(y for _, y in points))
    x_low, x_high = min(x for x, _ in points), max(x for x, _ in points)
    y_low, y_high = y_ticks[0], y_ticks[-1]

    def at(x: float, y: float) -> tuple[float, float]:
        across = (x - x_low) / (x_high - x_low or 1.0)
        up = (y - y_low) / (y_high - y_low or 1.0)
        return _LEFT + across * (_WIDTH - _LEFT - _RIGHT), _HEIGHT - _BOTTOM - up * (_HEIGHT - _TOP - _BOTTOM)

    parts = [_head(title, _HEIGHT)]
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    for tick in y_ticks:
        _, y = at(x_low, tick)
        parts.append(f'<path d="M{_LEFT} {y:.1f}H{right}" stroke="#d0d7de"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end" fill="#59636e">{shown(tick)}</text>')
    for tick in x_ticks:
        if x_low <= tick <= x_high:
            x, _ = at(tick, y_low)
            parts.append(f'<path d="M{x:.1f} {bottom}v5" stroke="#59636e"/>')
            parts.append(
                f'<text x="{x:.1f}" y="{bottom + 20}" text-anchor="middle" fill="#59636e">{shown(tick)}</text>'
            )
    parts.append(f'<path d="M{_LEFT} {_TOP}V{bottom}H{right}" fill="none" stroke="#59636e"/>')
    centre, middle = (_LEFT + right) / 2, (_TOP + bottom) / 2
    parts.append(
        f'<text x="{centre}" y="{_HEIGHT - 14}" text-anchor="middle" fill="#1f2328">{escape(x_label)}</text>'
        f'<text x="18" y="{middle}" text-anchor="middle" transform="rotate(-90 18 {middle})" fill="#1f2328">'
        f"{escape(y_label)}</text>"
    )
    for number, line in enumerate(lines):
        colour = _COLOURS[number % len(_COLOURS)]
        where = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(*point) for point in thinned(line.points)))
        parts.append(f'<polyline points="{where}" fill="none" stroke="{colour}" stroke-width="1.8"/>')
        if len(lines) > 1:
            x, y = _LEFT + 12, _TOP + 14 + 18 * number
            parts.append(f'<path d="M{x} {y - 4}h22" stroke="{colour}" stroke-width="3"/>')
            parts.append(f'<text x="{x + 28}" y="{y}" fill="#1f2328">{escape(line.name)}</text>')
    _write(path, parts)


def ticks(low: float, high: float, about: int = 6) -> list[float]:
    """Round numbers that cover ``low`` to ``high``: steps of 1, 2 or 5 times a power of ten."""
    if high <= low:
        high = low + (abs(low) or 1.0)
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1.0, 2.0, 5.0, 10.0) if factor * power >= rough)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(number * step, 12) for number in range(first, last + 1)]


def shown(number: float) -> str:
    """A tick's label: ``1,500``, ``0.05``, ``2 M``."""
    if abs(number) >= 1e6:
        return f"{number / 1e6:g} M"
    return f"{number:,.0f}" if number == int(number) else f"{number:g}"


def thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most so many points as the plot can show; each group keeps its lowest and highest."""
    if len(points) <= _MOST_POINTS:
        return list(points)
    size = -(-len(points) // (_MOST_POINTS // 2))
    kept: list[tuple[float, float]] = []
    for start in range(0, len(points), size):
        group = points[start : start + size]
        ends = {min(group, key=lambda point: point[1]), max(group, key=lambda point: point[1])}
        kept += sorted(ends)
    return kept
