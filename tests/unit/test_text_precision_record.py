"""``text_precision = auto``: what is measured, what is recorded of it, and that all workers go by the record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from encoders.base import F32, Precision
from encoders.precision import TEXTS, Choice, Measured, choose, measure
from streams.kafka import definitions, installation, text_precision
from streams.kafka.definitions import DefinitionsFollower, Present, read_ledger
from streams.kafka.installation import InstallationError
from streams.kafka.text_precision import Log, Watch, as_recorded, change, settle
from streams.loading import WorkerError, measured
from streams.settings import Settings
from streams.steps.in_force import InForce
from streams.steps.models import make_models
from streams.steps.segments import parse_plan
from streams.steps.text_precision import KEY, Setting, TextPrecision, encode, following, unusable
from streams.steps.versions import encode as encode_version
from tests.small_partition import encoders

APP = "shop"
FLOAT32 = Measured("float32", 1.0, 1.0)


# what is measured decides


@pytest.mark.parametrize(
    ("seconds", "cosine", "chosen"),
    [
        (0.4, 0.9998, "bf16"),
        (0.4, 0.999, "bf16"),
        (0.4, 0.9989, "float32"),  # not near enough
        (0.4, float("nan"), "float32"),
        (0.95, 0.9998, "float32"),  # a little faster: by chance
        (3.0, 0.9998, "float32"),
        (0.0, 0.9998, "float32"),  # a clock that stands
    ],
)
def test_bf16_is_taken_where_it_is_clearly_faster_and_near_enough(seconds: float, cosine: float, chosen: str) -> None:
    choice = choose([FLOAT32, Measured("bf16", seconds, cosine)])
    assert choice.precision == chosen
    assert "times as fast as float32 at a cosine of" in choice.why


def test_the_fastest_of_several_is_taken_and_float32_where_there_is_nothing_else() -> None:
    assert choose([FLOAT32, Measured("bf16", 0.5, 0.9998), Measured("int8", 0.4, 0.9995)]).precision == "int8"
    assert choose([FLOAT32, Measured("bf16", 0.5, 0.9998), Measured("int8", 0.4, 0.99)]).precision == "bf16"
    assert choose([FLOAT32]).precision == "float32"


class Clocked:
    """Encoders that take as long as they are told, by a clock of their own."""

    def __init__(self, seconds: Mapping[Precision, Sequence[float]]) -> None:
        self.now = 0.0
        self.rounds: list[Precision] = []
        self._left = {precision: list(each) for precision, each in seconds.items()}

    def make(self, precision: Precision) -> Any:
        def encode(texts: Sequence[str]) -> F32:
            self.rounds.append(precision)
            left = self._left[precision]
            self.now += left.pop(0) if len(left) > 1 else left[0]
            vector = np.array([1.0, 0.0] if precision == "float32" else [0.8, 0.6], np.float32)
            return np.tile(vector, (len(texts), 1))

        return SimpleNamespace(encode=encode)


def test_the_least_of_some_rounds_counts_but_not_the_first_which_makes_the_kernels() -> None:
    clocked = Clocked({"float32": [9.0, 2.0, 1.5, 1.0], "bf16": [0.1, 0.95, 0.9]})
    plain, bf16 = measure(clocked.make, lambda: clocked.now)
    assert [plain.seconds, bf16.seconds] == pytest.approx([1.0, 0.9])
    assert [plain.cosine, bf16.cosine] == pytest.approx([1.0, 0.8])


def test_what_is_hopeless_is_not_measured_again() -> None:
    clocked = Clocked({"float32": [1.0], "bf16": [20.0]})
    assert choose(measure(clocked.make, lambda: clocked.now)).precision == "float32"
    assert clocked.rounds.count("bf16") == 2


def test_the_texts_of_the_probe_are_all_different_and_of_several_lengths() -> None:
    assert len(set(TEXTS)) == len(TEXTS) == 24
    assert len({len(text) // 100 for text in TEXTS}) >= 4


def test_a_model_that_cannot_be_used_ends_the_worker_before_anything_is_recorded(kept: Kept, tmp_path: Path) -> None:
    """Once it is mended, it is measured."""
    settings = Settings(app=APP, text_model=str(tmp_path), device="cpu")
    with pytest.raises(WorkerError, match=r"the models cannot be used: text model: no config\.json in"):
        settle(LOG, "auto", begun=False, author="x", measure=lambda: measured(settings))
    assert kept.records == []


def test_what_a_device_has_not_is_passed_over() -> None:
    clocked = Clocked({"float32": [1.0]})
    assert choose(measure(clocked.make, lambda: clocked.now)) == Choice("float32", "nothing else is for this machine")


# what is recorded


def record(number: int, precision: str, app: str = APP) -> TextPrecision:
    return TextPrecision(app, number, precision, "worker one")


def newest(*records: TextPrecision | bytes) -> TextPrecision | None:
    found: TextPrecision | None = None
    for each in records:
        found = following(found, each if isinstance(each, bytes) else encode(each)[1], APP)
    return found


def test_of_two_that_propose_the_same_number_the_first_in_the_log_counts() -> None:
    assert newest() is None
    assert newest(record(1, "bf16"), record(1, "float32")) == record(1, "bf16")
    assert newest(record(1, "bf16"), record(2, "int8"), record(2, "float32")) == record(2, "int8")
    assert newest(record(1, "bf16"), record(3, "int8")) == record(1, "bf16")


def test_records_of_other_apps_and_what_cannot_be_read_are_passed_over() -> None:
    others = (record(1, "int8", "another"), b"", b"{", b'{"app":"shop"}', b"[" * 10_000)
    assert newest(*others) is None
    assert newest(record(1, "bf16"), *others) == record(1, "bf16")


def test_a_precision_of_a_later_release_is_not_passed_over() -> None:
    """Else this release would go on in another one than all others."""
    found = newest(record(1, "bf16"), record(2, "fp8"))
    assert found == record(2, "fp8")
    why = str(unusable("auto", record(2, "fp8")))
    assert "encoded in fp8 (recorded by worker one), which this release does not know: run the release" in why


# what workers make of it


class Kept:
    """The log in memory. ``before``: what others write just before the next record."""

    def __init__(self) -> None:
        self.records: list[tuple[bytes, bytes]] = []
        self.before: list[tuple[bytes, bytes]] = []

    def append(self, _conf: object, _topic: str, record: tuple[bytes, bytes], _what: str) -> None:
        self.records += [*self.before, record]
        self.before = []

    def read(self, *_arguments: object) -> list[Any]:
        def message(key: bytes, value: bytes) -> Any:
            return SimpleNamespace(key=lambda: key, value=lambda: value, timestamp=lambda: (1, 0), offset=lambda: 0)

        return [message(key, value) for key, value in self.records]

    @property
    def precisions(self) -> list[str]:
        return [record.precision for _, value in self.records if (record := following(None, value, APP))]


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> Kept:
    kept = Kept()
    monkeypatch.setattr(text_precision, "append", kept.append)
    monkeypatch.setattr(text_precision, "read_log", kept.read)
    monkeypatch.setattr(definitions, "read_log", kept.read)
    return kept


LOG = Log({}, "segment-definitions", APP)


def start(setting: Setting, fastest: Precision | None = None, *, begun: bool = False) -> str:
    """A worker starts; what it encodes in. ``fastest`` None: it must not measure."""

    def measure() -> Choice:
        assert fastest is not None, "nothing is to be measured"
        return Choice(fastest, "measured")

    return settle(LOG, setting, begun=begun, author="worker x", measure=measure).precision


def test_the_first_worker_measures_and_all_others_go_by_its_record(kept: Kept) -> None:
    assert start("auto", "bf16") == "bf16"
    assert start("auto") == "bf16"  # measures nothing, whatever its own processor is fast at
    assert start("auto", begun=True) == "bf16"
    assert start("bf16") == "bf16"
    assert kept.precisions == ["bf16"]


def test_of_two_that_measure_at_once_the_first_in_the_log_decides_for_both(kept: Kept) -> None:
    kept.before = [encode(record(1, "float32"))]
    assert start("auto", "bf16") == "float32"
    assert start("auto") == "float32"


def test_an_installation_of_an_earlier_release_stays_with_float32_and_measures_nothing(kept: Kept) -> None:
    assert start("auto", begun=True) == "float32"
    assert kept.precisions == ["float32"]
    assert start("auto") == "float32"


def test_one_that_was_set_stays_as_it_is_and_is_recorded(kept: Kept) -> None:
    assert start("int8", begun=True) == "int8"
    assert start("auto", begun=True) == "int8"
    assert kept.precisions == ["int8"]


def test_a_worker_that_is_told_another_precision_ends_and_says_what_to_do(kept: Kept) -> None:
    start("auto", "bf16")
    with pytest.raises(InstallationError, match=r"encoded in bf16 \(recorded by worker x: measured\)") as told:
        start("float32")
    assert "Unset it" in str(told.value)
    assert "stop all workers and run `segments text-precision float32`" in str(told.value)
    assert kept.precisions == ["bf16"]


def test_a_worker_that_is_told_another_precision_than_one_that_was_a_moment_sooner_ends(kept: Kept) -> None:
    kept.before = [encode(record(1, "bf16"))]
    with pytest.raises(InstallationError, match="SEGMENTS_TEXT_PRECISION says int8"):
        start("int8")


def test_a_topic_that_keeps_nothing_is_told(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_precision, "append", lambda *_: None)
    with pytest.raises(InstallationError, match="`segments topics` mends it"):
        start("auto", "bf16")
    assert kept.records == []


def test_an_audit_goes_by_the_record_and_records_nothing(kept: Kept) -> None:
    assert as_recorded(LOG, "auto") == "float32"  # no worker that records it has run
    assert as_recorded(LOG, "int8") == "int8"
    assert kept.records == []
    start("auto", "bf16")
    assert as_recorded(LOG, "auto") == as_recorded(LOG, "bf16") == "bf16"
    with pytest.raises(InstallationError, match="SEGMENTS_TEXT_PRECISION says float32"):
        as_recorded(LOG, "float32")


# changing it


@pytest.fixture
def members(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Who is in the group: nobody yet."""
    found: list[str] = []
    monkeypatch.setattr(installation, "members", lambda *_: found)
    return found


def test_it_is_changed_for_all_while_no_worker_runs(kept: Kept, members: list[str]) -> None:
    start("auto", "bf16")
    before, now = change(Settings(app=APP), "float32", "ada")
    assert (before and before.precision, now.precision, now.number, now.author) == ("bf16", "float32", 2, "ada")
    assert start("auto") == "float32"
    same, again = change(Settings(app=APP), "float32", "bob")
    assert same == again == now
    members.append("one at host")
    with pytest.raises(InstallationError, match=r"\(one at host\): stop them first"):
        change(Settings(app=APP), "int8", "ada")
    assert kept.precisions == ["bf16", "float32"]


def test_a_worker_that_slipped_in_between_ends_when_it_reads_of_the_change() -> None:
    watch = Watch(record(1, "bf16"))
    for each in (record(1, "bf16"), record(2, "int8", "another"), record(2, "bf16")):
        watch.note(encode(each)[1])
        assert watch.changed() is None
    watch.note(encode(record(3, "int8"))[1])
    assert "encoded in int8 (recorded by worker one) from now on" in str(watch.changed())
    assert "this worker began with bf16: start it again" in str(watch.changed())


# beside the definitions


def test_versions_and_precisions_do_not_disturb_each_other(kept: Kept, caplog: pytest.LogCaptureFixture) -> None:
    plan = parse_plan('[[segment]]\nid = "one"\nrule = \'count("view", within="1h") >= 1\'\n')
    start("auto", "bf16")
    kept.records += [encode_version(plan, 1, 0.0, "ada", ""), encode(record(2, "int8"))]
    kept.records += [encode_version(plan, 2, 0.0, "ada", "")]
    assert [version.number for version in read_ledger({}, "t").versions] == [1, 2]
    assert start("auto") == "int8"
    nothing = parse_plan("")
    present = Present(InForce(0, nothing, make_models(encoders(), nothing)))
    told: list[bytes | None] = []
    follower = DefinitionsFollower(
        {}, "t", present, lambda plan: make_models(encoders(), plan), 0.0, precisions=told.append
    )
    follower.receive(kept.read())
    assert [version.number for version in follower.ledger.versions] == [1, 2]
    assert told == [value for key, value in kept.records if key == KEY]
    assert not caplog.records
