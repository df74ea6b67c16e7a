"""The SVG plots of the benchmarks."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from benchmarks.plots import Bar, Line, bar_chart, line_plot, shown, thinned, ticks


def test_ticks_are_round_and_cover_the_values() -> None:
    assert ticks(0.0, 1_586.0) == [0.0, 500.0, 1_000.0, 1_500.0, 2_000.0]
    assert ticks(0.0, 0.7) == [0.0, 0.2, 0.4, 0.6, 0.8]
    assert len(ticks(3.0, 3.0)) >= 2
    assert [shown(number) for number in (1_500.0, 0.2, 2e6)] == ["1,500", "0.2", "2 M"]


def test_a_plot_is_well_formed_and_stays_within_its_frame(tmp_path: Path) -> None:
    path = tmp_path / "plot.svg"
    noisy = [(float(x), float(x % 7)) for x in range(5_000)]
    line_plot(path, "a < b", "minutes", "MiB", [Line("one", noisy), Line("two", [(0.0, 3.0), (5_000.0, 4.0)])])
    root = ET.fromstring(path.read_text())
    lines = root.findall("{http://www.w3.org/2000/svg}polyline")
    assert len(lines) == 2
    for line in lines:
        points = [tuple(map(float, point.split(","))) for point in line.attrib["points"].split()]
        assert len(points) <= 1_000
        assert all(0 <= x <= 760 and 0 <= y <= 380 for x, y in points)


def test_thinning_keeps_the_peaks() -> None:
    points = [(float(x), 1_000.0 if x == 2_345 else 1.0) for x in range(10_000)]
    assert max(y for _, y in thinned(points)) == 1_000.0


def test_a_plot_without_points_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one point"):
        line_plot(tmp_path / "plot.svg", "t", "x", "y", [])


def test_a_bar_chart_has_a_bar_for_each_in_proportion(tmp_path: Path) -> None:
    path = tmp_path / "bars.svg"
    bar_chart(path, "a < b", [Bar("one", 100.0, 90.0, 120.0), Bar("two", 25.0, 20.0, 30.0)])
    bars = ET.fromstring(path.read_text()).findall("{http://www.w3.org/2000/svg}rect")[1:]
    widths = [float(bar.attrib["width"]) for bar in bars]
    assert widths[0] == pytest.approx(4 * widths[1], rel=0.01)
    with pytest.raises(ValueError, match="at least one bar"):
        bar_chart(path, "t", [])
