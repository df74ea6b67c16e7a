"""What the people of the town write: a template grammar, read off one random number."""

from __future__ import annotations

from collections.abc import Sequence

from streams.tools.town.words import CLOSERS, OPENERS, SMALL_TALK, VOCABULARIES, WHEN, WHO


class _Draws:
    """Picks from lists by the mixed-radix digits of one number."""

    def __init__(self, number: int) -> None:
        self._number = number

    def pick(self, options: Sequence[str]) -> str:
        self._number, digit = divmod(self._number, len(options))
        return options[digit]


def comment(taste: str | None, number: int) -> str:
    """A comment about a taste, or small talk when it is None; the same for the same number.

    A uniform ``number`` of 62 bits gives all sentences (more than 10^9 a taste, 9 million of small talk) about
    equally often.
    """
    draws = _Draws(number)
    pick = draws.pick
    opener, closer = pick(OPENERS), pick(CLOSERS)
    if taste is None:
        body = pick(SMALL_TALK).format(who=pick(WHO), when=pick(WHEN))
    else:
        words = VOCABULARIES[taste]
        body = pick(words.patterns).format(
            thing=pick(words.things),
            adj=pick(words.adjectives),
            place=pick(words.places),
            other=pick(words.things),
            act=pick(words.acts),
        )
    sentence = f"{opener}{body}" if body.endswith("?") else f"{opener}{body}{closer}"
    return sentence[0].upper() + sentence[1:]
