"""Definitions that several tests of the compiled fold begin with."""

from __future__ import annotations

from typing import Final

#: counts and sums, over windows of minutes to a day, alone, compared and negated
COUNTING: Final = """
[[segment]]
id = "viewers"
rule = 'count("view", within="1h") >= 3'
[[segment]]
id = "steady"
rule = 'count("view", within="10m") >= 2 and not count("purchase", within="1h") > 1'
min_stay = "5m"
[[segment]]
id = "never-bought"
rule = 'count("purchase", within="1d") == 0 and count("click", category="c1", within="2h") >= 2'
[[segment]]
id = "spenders"
rule = 'total("purchase", "amount", within="1d") >= 20 or count("click", within="1m") > 3'
[[segment]]
id = "lookers"
rule = 'total("view", "dwell", within="1h") * 2 > total("click", "dwell", within="1h") + 5'
"""
