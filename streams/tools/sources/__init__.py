"""Where replayed records come from: real dumps and files. The simulated town is in ``streams.tools.town``."""

from streams.tools.sources.base import Raw, Record, Records, Source
from streams.tools.sources.complete_journey import CompleteJourney
from streams.tools.sources.jsonl import JsonLines
from streams.tools.sources.stackexchange import StackExchange

__all__ = ["CompleteJourney", "JsonLines", "Raw", "Record", "Records", "Source", "StackExchange"]
