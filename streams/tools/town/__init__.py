"""A simulated town: seeded people with hidden tastes, whose truth is known, for the demo, tests and benchmarks."""

from streams.tools.town.behaviour import Town
from streams.tools.town.people import CATEGORIES, GROUPS, TASTES

__all__ = ["CATEGORIES", "GROUPS", "TASTES", "Town"]
