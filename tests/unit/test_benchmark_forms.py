"""The forms that benchmarks.forms compares are one load: record by record the same event."""

from __future__ import annotations

import pytest

from benchmarks.forms import FORMS
from benchmarks.load import load
from streams.wire.decode import Limits, decode_event


@pytest.mark.parametrize("form", [form for form in FORMS if form != "plain"])
def test_every_form_of_the_load_becomes_the_same_events(form: str) -> None:
    for _, value in load(2_000, 50):
        event, other = (decode_event(written, 1_790_000_100.0, Limits()) for written in (value, FORMS[form](value)))
        assert other == event
