"""All workers of an installation encode texts in what its first worker recorded."""

from __future__ import annotations

import re

from typer.testing import CliRunner

from streams.kafka.broker import EmbeddedBroker
from streams.kafka.text_precision import Log
from streams.tools.cli import app
from streams.wire.topics import Topics
from tests.helpers import Start, wait_for


def test_the_first_worker_measures_once_and_whoever_is_told_otherwise_ends_with_a_sentence(
    broker: EmbeddedBroker, topics: Topics, start: Start
) -> None:
    one = start("one", text_precision="auto")
    one.wait_ready(120.0)
    recorded = Log({"bootstrap.servers": broker.bootstrap}, topics.definitions, topics.app).newest()
    assert recorded is not None
    assert (recorded.number, recorded.author) == (1, "worker one")
    assert recorded.precision in ("float32", "bf16")
    # the second where others have all of the processors for a minute
    assert re.search("times as fast as float32 at a cosine of|nothing could be measured: no result", recorded.why)
    assert f"texts are encoded in {recorded}" in one.log_path.read_text()

    other = start("two", text_precision="int8")
    wait_for(lambda: other.exit_status is not None, 60.0, "the other one ends")
    last = other.log_path.read_text().strip().splitlines()[-1]
    assert re.search(rf"are encoded in {recorded.precision} .* and SEGMENTS_TEXT_PRECISION says int8", last)
    assert one.running

    runner = CliRunner(env={"COLUMNS": "400"})
    place = ("--bootstrap", broker.bootstrap, "--app", topics.app, "--prefix", topics.prefix)
    refused = runner.invoke(app, ["text-precision", "int8", *place])
    assert refused.exit_code == 1
    assert "stop them first" in refused.stderr
    one.stop()
    assert runner.invoke(app, ["text-precision", *place]).stdout.strip() == str(recorded)
    changed = runner.invoke(app, ["text-precision", "int8", *place])
    assert changed.stdout.startswith("int8 (recorded by ")
    assert f"before it was {recorded.precision} " in changed.stdout
