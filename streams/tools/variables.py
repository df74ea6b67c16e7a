"""Variables of the environment that look like settings and are none: a misspelt one must not be ignored."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from streams.tools.terminal import CommandError, setting_name

PREFIX = "SEGMENTS_"
#: read by other parts than Settings: its file's name, the data sets of tests, whether to leave out what is compiled
_NOT_SETTINGS = frozenset({"SEGMENTS_CONFIG", "SEGMENTS_DATA", "SEGMENTS_PURE_PYTHON"})
#: crash points and slowness of tests
_OF_TESTS = "SEGMENTS_TEST_"
#: what Kubernetes puts into the environment for each service, here those whose name begins with "segments"
_OF_KUBERNETES = re.compile(r"SEGMENTS_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)")
_LINK = re.compile(r"(tcp|udp|sctp)://")


def refuse_unknown_variables(environment: Mapping[str, str] = os.environ) -> None:
    """Raises CommandError that names each variable that nobody reads, and the setting that was meant."""
    # without regard to case, as pydantic-settings matches
    named = {name.upper(): name for name in environment if name.upper().startswith(PREFIX)}
    if not named:
        return  # so that `--help` answers at once
    from difflib import get_close_matches  # noqa: PLC0415

    from streams.settings import Settings  # noqa: PLC0415

    known = {setting_name((name,)) for name in Settings.model_fields} | _NOT_SETTINGS
    wrong = []
    for upper, name in sorted(named.items()):
        if upper in known or upper.startswith(_OF_TESTS) or _of_kubernetes(upper, environment[name]):
            continue
        # without what all have in common, which would make anything like anything
        near = get_close_matches(upper.removeprefix(PREFIX), [each.removeprefix(PREFIX) for each in known], 1)
        wrong.append(f"{name} is no setting" + (f" (did you mean {PREFIX}{near[0]}?)" if near else ""))
    if wrong:
        raise CommandError(f"{'; '.join(wrong)}: correct or unset it; `segments settings` lists all")


def _of_kubernetes(name: str, value: str) -> bool:
    return bool(_OF_KUBERNETES.fullmatch(name)) or (name.endswith("_PORT") and bool(_LINK.match(value)))
