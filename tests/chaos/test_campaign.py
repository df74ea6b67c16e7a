"""A short campaign in every run of the tests; the long one is started by hand (docs/reliability.md)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.campaign import Campaign, Plan


@pytest.mark.campaign
@pytest.mark.timeout(900)
def test_a_short_campaign_finds_no_difference(tmp_path: Path) -> None:
    plan = Plan(seed=7, minutes=2.0, kills=12, restarts=2, stops=2, wipes=1, events=40_000)
    report = Campaign(plan, tmp_path).run().report(plan)
    log = (tmp_path / "campaign.log").read_text()
    assert report["differences"] == [], log
    assert report["kills"] >= plan.kills
    assert report["broker_restarts"] >= plan.restarts
    assert report["stops"] >= plan.stops
    assert report["wipes"] >= plan.wipes
    # every lane had something to lose
    assert report["events"] >= plan.events
    assert report["duplicates"] > 1_000
    assert report["misrouted"] > 100
    assert report["dead_letters"] > 100
    # of windows of seconds nobody may be left when all has settled, so who was ever in counts
    assert report["entries"].keys() >= {"busy", "lookers", "spenders", "silent-buyers", "cooks"}
