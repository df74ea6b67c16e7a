"""The prefix is part of every name that two installations on one cluster must not share."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.kafka.agents import make_faust
from streams.settings import Settings
from streams.wire.emit import event_source
from streams.wire.topics import Topics


def names(settings: Settings) -> set[str]:
    """What the cluster, the disk and subscribers know a worker by."""
    topics = Topics(settings.app, settings.topic_prefix)
    faust = make_faust(settings)
    return {
        faust.conf.id,
        str(settings.state_dir),
        str(faust.conf.datadir),
        event_source(topics.installation, 0).decode(),
        *(spec.name for spec in topics.specs(1)),
    }


def test_two_prefixes_share_no_name(tmp_path: Path) -> None:
    production, staging = (
        Settings(topic_prefix=prefix, data_dir=tmp_path, worker_name="one") for prefix in ("", "staging-")
    )
    assert names(production) & names(staging) == set()


def test_without_a_prefix_all_is_named_as_before(tmp_path: Path) -> None:
    settings = Settings(app="shop", data_dir=tmp_path, worker_name="one")
    assert settings.installation == Topics("shop").installation == "shop"
    assert settings.state_dir == tmp_path / "one" / "shop"
    assert event_source(Topics("shop").installation, 3) == b"/live-segments/shop/3"


@pytest.mark.parametrize("prefix", ["", "staging-"])
def test_settings_and_topics_agree_on_the_name(prefix: str) -> None:
    assert Settings(app="shop", topic_prefix=prefix).installation == Topics("shop", prefix).installation
