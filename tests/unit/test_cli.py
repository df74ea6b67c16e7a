"""The command line without Kafka: help, errors in words, settings, definitions, lookups, and the pure parts."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import typer
from typer.testing import CliRunner, Result

from streams.settings import Settings
from streams.steps.segments import DefinitionError
from streams.tools.cli import app
from streams.tools.logs import PlainFormatter, set_up_logging
from streams.tools.terminal import CommandError, printable
from streams.tools.variables import refuse_unknown_variables
from streams.tools.watch import change_line, read_change
from streams.wire.emit import Change, Reason, audience_value, change_value
from tests.browser.small_service import SLASHED, Site, SmallService

COMMANDS = [
    *(
        ["worker"],
        ["audit"],
        ["broker"],
        ["topics"],
        ["watch"],
        ["user"],
        ["erasure"],
        ["check"],
        ["apply"],
        ["definitions"],
        ["settings"],
        ["accept-topic"],
        ["repartition"],
        ["text-precision"],
        ["demo"],
        ["replay"],
    ),
    *(["replay", source] for source in ("stackexchange", "complete-journey", "jsonl", "town")),
]


def run(*arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, arguments)


def refused(*arguments: str) -> str:
    """The one message of a command that ends with status 1."""
    result = run(*arguments)
    assert result.exit_code == 1, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert "Traceback" not in result.stderr
    return result.stderr


# help and usage


def test_every_command_has_help_with_an_example() -> None:
    for command in [[], *COMMANDS]:
        result = run(*command, "--help")
        assert result.exit_code == 0
        example = result.stdout.partition("Example: ")[2]
        assert " ".join(["segments", *command]) in example


def test_the_list_of_commands_is_whole() -> None:
    root: Any = typer.main.get_command(app)
    groups: Any = root.commands["replay"].commands
    assert sorted([[name] for name in root.commands] + [["replay", name] for name in groups]) == sorted(COMMANDS)


def test_the_command_line_loads_nothing_that_takes_long() -> None:
    heavy = ["torch", "faust", "transformers", "numpy", "confluent_kafka", "pydantic", "msgspec", "river"]
    code = f"import sys, streams.tools.cli; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["user"],
        ["erasure"],
        ["check"],
        ["watch", "--max", "0"],
        ["topics", "--partitions", "0"],
        ["repartition"],
        ["repartition", "1"],
        ["worker", "--web-port", "99999"],
        ["worker", "--clock", "moon"],
        ["demo", "--seconds", "0"],
        ["replay", "town", "--rate", "1", "--speedup", "2"],
        ["replay", "town", "--rate", "0"],
        ["replay", "town", "--speedup", "-1"],
        ["replay", "town", "--start", "yesterday"],
        ["user", "u-1", "--url", "ftp://elsewhere"],
    ],
)
def test_a_wrong_use_ends_with_status_2_and_says_what_is_wrong(arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert "Error" in result.stderr
    assert "Traceback" not in result.output


# errors in words


def test_a_bad_file_of_definitions_is_told_in_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "segments.toml"
    path.write_text('[[segment]]\nid = "x"\nrule = \'count("nonsense", within="7d") >= 1\'\n')
    message = refused("check", str(path))
    assert message.count("\n") == 1
    assert "segment 'x'" in message
    assert "nonsense" in message
    path.write_text("[[segment]\n")
    assert "is not TOML" in refused("check", str(path))
    assert "No such file" in refused("check", str(tmp_path / "none.toml"))


def test_debug_shows_where_an_error_came_from(tmp_path: Path) -> None:
    result = run("--debug", "check", str(tmp_path / "none.toml"))
    assert result.exit_code == 1
    assert isinstance(result.exception, DefinitionError)


def test_a_source_that_is_not_there_is_told_in_one_sentence(tmp_path: Path) -> None:
    assert "is no Stack Exchange dump: Posts.xml" in refused("replay", "stackexchange", str(tmp_path))
    assert "is not a file" in refused("replay", "jsonl", str(tmp_path / "none.jsonl"))


def test_strangers_cannot_write_to_the_terminal() -> None:
    assert printable("a\x1b[2Jb\nc") == "a\\x1b[2Jb\\nc"
    assert printable("ümläut 日本 🙂") == "ümläut 日本 🙂"
    assert printable("a\nb", keep="\n") == "a\nb"


# check


def test_a_good_file_is_shown_as_a_table(tmp_path: Path) -> None:
    path = tmp_path / "segments.toml"
    path.write_text(
        '[[segment]]\nid = "keen"\nrule = \'count("view", within="7d") >= 3\'\nmin_stay = "1h"\n'
        '[[segment]]\nid = "cooks"\nwords = "people who cook"\nenter = 0.4\n'
        '[[segment]]\nid = "taste-food"\nlearned = "taste"\n'
    )
    result = run("check", str(path))
    assert result.exit_code == 0
    for part in ("keen", 'count("view", within="7d") >= 3', "1 h", "cooks", "people who cook", "0.4", "50 labels"):
        assert part in result.stdout
    assert "3 segments; the file can be used" in result.stdout


def test_a_window_longer_than_states_are_kept_is_warned_of(tmp_path: Path) -> None:
    path = tmp_path / "segments.toml"
    path.write_text('[[segment]]\nid = "never-bought"\nrule = \'count("purchase", within="365d") == 0\'\n')
    result = run("check", str(path))
    assert result.exit_code == 0
    assert "warning: the window of 'never-bought' (365 days) is longer" in result.stderr
    assert "SEGMENTS_ANONYMOUS_TTL_DAYS" in result.stderr


# settings


def test_every_setting_is_listed_with_variable_default_and_description() -> None:
    shown = run("settings").stdout
    for name, field in Settings.model_fields.items():
        assert f"SEGMENTS_{name.upper()} = " in shown
        assert field.description
        assert field.description in shown
    assert "SEGMENTS_WEB_PORT = 6066  (default: 6066)" in shown


@pytest.mark.parametrize("arguments", [["settings"], ["settings", "--json"]])
def test_settings_never_show_a_secret(monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    monkeypatch.setenv("SEGMENTS_KAFKA_SASL_PASSWORD", "hunter2")
    monkeypatch.setenv("SEGMENTS_WEB_PORT", "7000")
    result = run(*arguments)
    assert result.exit_code == 0
    assert "hunter2" not in result.output
    assert "***" in result.stdout
    assert "7000" in result.stdout


def test_a_setting_that_cannot_be_is_named_and_its_value_not_repeated(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SEGMENTS_WEB_PORT", "hunter2")
    message = refused("settings")
    assert "SEGMENTS_WEB_PORT: input should be a valid integer" in message
    assert "hunter2" not in message
    monkeypatch.delenv("SEGMENTS_WEB_PORT")
    path = tmp_path / "settings.toml"
    path.write_text('bootstrp = "x"\n')
    monkeypatch.setenv("SEGMENTS_CONFIG", str(path))
    assert "SEGMENTS_BOOTSTRP: there is no such setting" in refused("settings")
    path.write_text("= 1\n")
    assert "cannot be read" in refused("settings")
    monkeypatch.setenv("SEGMENTS_CONFIG", str(tmp_path / "none.toml"))
    assert "none.toml, which is not a file" in refused("settings")


@pytest.mark.parametrize("command", [["worker"], ["topics"], ["settings"], ["check", "segments.toml"], ["audit"]])
def test_a_misspelt_variable_ends_every_command(command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGMENTS_BOOTSTRP", "kafka:9092")
    assert "SEGMENTS_BOOTSTRP is no setting (did you mean SEGMENTS_BOOTSTRAP?)" in refused(*command)


def test_variables_that_are_no_settings_but_known_are_let_through() -> None:
    refuse_unknown_variables(
        {
            "SEGMENTS_DATA": "/data",
            "SEGMENTS_PURE_PYTHON": "1",
            "SEGMENTS_TEST_KILL_AT": "2-3",
            "segments_app": "shop",
            # Kubernetes tells of services that are named segments and segments-web
            "SEGMENTS_SERVICE_HOST": "10.0.0.7",
            "SEGMENTS_SERVICE_PORT": "6066",
            "SEGMENTS_PORT": "tcp://10.0.0.7:6066",
            "SEGMENTS_PORT_6066_TCP": "tcp://10.0.0.7:6066",
            "SEGMENTS_PORT_6066_TCP_ADDR": "10.0.0.7",
            "SEGMENTS_WEB_SERVICE_PORT_HTTP": "80",
            "HOME": "/root",
        }
    )
    with pytest.raises(
        CommandError, match=r"segments_nothing_like_it is no setting; SEGMENTS_WEBPORT .*SEGMENTS_WEB_PORT\?\):"
    ):
        refuse_unknown_variables({"SEGMENTS_WEBPORT": "1", "segments_nothing_like_it": "2"})


# user


@pytest.fixture
def site() -> Iterator[Site]:
    running = Site(SmallService())
    yield running
    running.stop()


def test_a_user_is_shown_with_reasons_counters_and_what_is_pending(site: Site) -> None:
    result = run("user", "u-1", "--url", site.url)
    assert result.exit_code == 0, result.output
    for part in (
        "big-spenders",
        "the learned head is sure",
        "purchase 7d",
        "12.5",
        "3: u-2, u-3",
        "14 encoded, 1 pending",
    ):
        assert part in result.stdout
    assert "the texts are close to the description" in result.stdout


@pytest.mark.parametrize("user", ["u-1", SLASHED, ".."])
def test_json_is_what_the_worker_answers_whatever_the_user_is_called(site: Site, user: str) -> None:
    result = run("user", "--json", "--url", site.url + "/", "--", user)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == msgspec.to_builtins(site.service.users[user])


def test_an_unknown_user_and_a_worker_that_is_not_ready_are_told_apart(site: Site) -> None:
    assert "No event of this user has been counted" in refused("user", "nobody", "--url", site.url)
    site.service.why_not_ready = "partition 3 is being restored"
    assert "partition 3 is being restored" in refused("user", "nobody", "--url", site.url)


# changes


CHANGE = Change(
    "ann", "cooks", "entered", 0.5, 1, 1, "e1", 2, "neighbour", Reason("texts are alike", event="e-9"), 5.0, 6.25
)


def test_both_forms_of_a_change_are_read() -> None:
    own, call = read_change(change_value(CHANGE)), read_change(audience_value(CHANGE))
    assert (own.user, own.segment, own.entered, own.origin, own.time) == ("ann", "cooks", True, "neighbour", 6.25)
    assert own.reason == "texts are alike · event e-9"
    assert (call.user, call.segment, call.entered, call.origin) == ("ann", "cooks", True, "neighbour")
    assert call.reason == own.reason
    assert read_change(audience_value(msgspec.structs.replace(CHANGE, change="exited"))).entered is False


@pytest.mark.parametrize("value", [b"", b"not json", b"{}", b"[]", b'{"user": 1}', b"\xff"])
def test_anything_else_is_not_a_change(value: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        read_change(value)


def test_a_change_is_one_line_that_says_who_what_and_why() -> None:
    hostile = msgspec.structs.replace(CHANGE, user="a\x1b[31m\nb", change="exited")
    line = change_line(read_change(change_value(hostile)), now=10.0).plain
    assert line == ("00:00:06 - a\\x1b[31m\\nb left cooks  texts are alike · event e-9  (someone they follow changed)")


# logs


def test_a_log_record_is_one_line_in_utc_without_secrets() -> None:
    formatter = PlainFormatter(["hunter2", "", "hunter2-long"])
    error = RuntimeError("hunter2-long\nwas refused")
    record = logging.LogRecord("streams.app", logging.ERROR, "", 0, "key %s", ("hunter2",), (RuntimeError, error, None))
    record.created = 1_700_000_000.5
    line = formatter.format(record)
    assert line.startswith("2023-11-14T22:13:20.500Z ERROR   streams.app: key *** | RuntimeError: ***")
    assert line.endswith("| was refused")
    assert "\n" not in line
    assert "hunter2" not in line


def test_libraries_tell_warnings_only() -> None:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    written = io.StringIO()
    try:
        set_up_logging("INFO", stream=written)
        logging.getLogger("mode.timers").info("Timer woke up too late")
        logging.getLogger("aiokafka.consumer").warning("Heartbeat failed")
        logging.getLogger("streams.kafka.transport").info("[^-Consumer]: Starting...")
        logging.getLogger("streams.app").info("page at …")
        logging.getLogger("streams.app").debug("small print")
    finally:
        logging.captureWarnings(False)
        root.handlers[:] = handlers
        root.setLevel(level)
    lines = [line.split(" ", 1)[1] for line in written.getvalue().splitlines()]
    assert lines == ["WARNING aiokafka.consumer: Heartbeat failed", "INFO    streams.app: page at …"]
