"""A Stack Exchange data dump (any of its sites) as events of real people."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import cached_property
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple
from xml.parsers import expat

from streams.wire.events import Event

_FILES = ("Posts.xml", "Comments.xml", "Votes.xml")
_TAG_WIKIS = frozenset({"4", "5"})
_COMMUNITY = "-1"  # the site's own account, not a person
_CHUNK_BYTES = 1 << 16
_BLOCKS = frozenset(
    {"blockquote", "br", "dd", "div", "dl", "dt", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p", "pre"}
    | {"table", "td", "th", "tr", "ul"}
)


class _Post(NamedTuple):
    owner: str | None
    category: str
    """The first tag of the question."""


class StackExchange:
    """The questions, answers, comments, favourites and bounties of one site's dump, sorted by (time, id).

    - question, answer, comment -> ``comment``: plain text, item = the id of the post, category = the first tag of the
      question. A question's text begins with its title.
    - favourite -> ``click``; starting a bounty -> ``purchase`` with amount = reputation spent. The dump tells only the
      day of a vote: it stands at that day's 00:00 UTC, so that a favourite may come before its post of the same day.
    - the first answer to or comment on somebody's post -> ``follow`` of that person, never of oneself.

    Users are ``se-<id>``. Rows without a user (deleted accounts, most votes), rows of the site's own account and tag
    wikis are skipped and counted. The whole site is kept in memory, for the dump is not in time order across its files.

    Raises FileNotFoundError when a file is missing, ValueError when one is not such a dump or declares entities.
    """

    def __init__(self, directory: Path) -> None:
        if missing := [name for name in _FILES if not (directory / name).is_file()]:
            raise FileNotFoundError(f"{directory} is no Stack Exchange dump: {', '.join(missing)} missing")
        self.name = f"stackexchange {directory.resolve().name}"
        self._directory = directory

    @property
    def total(self) -> int | None:
        return len(self._read[0])

    @property
    def skipped(self) -> Mapping[str, int]:
        return self._read[1]

    def __iter__(self) -> Iterator[Event]:
        return iter(self._read[0])

    @cached_property
    def _read(self) -> tuple[list[Event], Counter[str]]:
        reading = _Reading()
        for row in rows(self._directory / "Posts.xml"):
            reading.post(row)
        reading.answers()
        for row in rows(self._directory / "Comments.xml"):
            reading.comment(row)
        for row in rows(self._directory / "Votes.xml"):
            reading.vote(row)
        events = reading.events + [
            Event(user, "follow", time, f"se-follow-{user[3:]}-{followed[3:]}", target=followed)
            for (user, followed), time in reading.follows.items()
        ]
        events.sort(key=lambda event: (event.time, event.id))
        return events, reading.skipped


class _Reading:
    """One pass over a dump; questions may come after their answers, so answers wait until all posts are known."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.follows: dict[tuple[str, str], float] = {}
        self.skipped: Counter[str] = Counter()
        self._posts: dict[str, _Post] = {}
        self._answers: list[dict[str, str]] = []

    def post(self, row: dict[str, str]) -> None:
        match row["PostTypeId"]:
            case "1":  # question
                tags = re.split(r"[<>|]+", row.get("Tags", "").strip("<>|"))  # <a><b> in old dumps, |a|b| in new ones
                self._posts[row["Id"]] = post = _Post(_person(row.get("OwnerUserId")), tags[0])
                text = f"{row.get('Title', '')} {_text(row)}"
                self._say("post", row, post.owner, item=row["Id"], category=post.category, text=text)
            case "2":  # answer
                self._answers.append(row)
            case wiki if wiki in _TAG_WIKIS:
                self.skipped["tag wiki"] += 1
            case other:
                self.skipped[f"post of type {other}"] += 1

    def answers(self) -> None:
        """Make events of the answers kept back."""
        for row in self._answers:
            question = self._posts.get(row.get("ParentId", ""), _Post(None, ""))
            owner = _person(row.get("OwnerUserId"))
            self._posts[row["Id"]] = _Post(owner, question.category)
            self._say("post", row, owner, item=row["Id"], category=question.category, text=_text(row))
            self._follow(owner, question.owner, _time(row))

    def comment(self, row: dict[str, str]) -> None:
        post = self._posts.get(row["PostId"], _Post(None, ""))
        user = _person(row.get("UserId"))
        # Comments hold Markdown, not HTML: what looks like a tag (<psi|, <link>) is what the person wrote.
        self._say("comment", row, user, item=row["PostId"], category=post.category, text=row.get("Text", ""))
        self._follow(user, post.owner, _time(row))

    def vote(self, row: dict[str, str]) -> None:
        user = _person(row.get("UserId"))
        if user is None:
            self.skipped["vote without a user"] += 1
            return
        item = row["PostId"]
        category = self._posts.get(item, _Post(None, "")).category
        time, event_id = _time(row), f"se-vote-{row['Id']}"
        match row["VoteTypeId"]:
            case "5":  # favourite
                self.events.append(Event(user, "click", time, event_id, item, category))
            case "8":  # a bounty begins (9, its end, names no user)
                amount = float(row.get("BountyAmount", 0))
                self.events.append(Event(user, "purchase", time, event_id, item, category, amount))
            case other:
                self.skipped[f"vote of type {other}"] += 1

    def _say(self, what: str, row: dict[str, str], user: str | None, *, item: str, category: str, text: str) -> None:
        if user is None:
            self.skipped[f"{what} without a user"] += 1
            return
        event_id = f"se-{what}-{row['Id']}"
        self.events.append(Event(user, "comment", _time(row), event_id, item, category, text=" ".join(text.split())))

    def _follow(self, user: str | None, followed: str | None, time: float) -> None:
        if user is not None and followed is not None and user != followed:
            pair = user, followed
            self.follows[pair] = min(time, self.follows.get(pair, time))


def rows(path: Path) -> Iterator[dict[str, str]]:
    """The attributes of each ``<row>`` of a dump's file, read in chunks.

    Entity declarations are refused, so that a hostile file cannot blow up (a dump has none).
    """
    found: list[dict[str, str]] = []

    def start(name: str, attributes: dict[str, str]) -> None:
        if name == "row":
            found.append(attributes)

    def refuse(name: str, *_: object) -> None:
        raise ValueError(f"{path} declares the entity {name!r}; a Stack Exchange dump declares none")

    parser = expat.ParserCreate()
    parser.StartElementHandler = start
    parser.EntityDeclHandler = refuse
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                parser.Parse(chunk, False)
                yield from found
                found.clear()
            parser.Parse(b"", True)
            yield from found
    except expat.ExpatError as error:
        raise ValueError(f"{path} is not well-formed XML: {error}") from error


class _PlainText(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _BLOCKS:
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in _BLOCKS:
            self.parts.append("\n")

    def handle_data(self, data: str) -> None:
        self.parts.append(data)


def plain_text(html: str) -> str:
    """The words of an HTML fragment, without tags and entities; block elements part words, white space is one blank."""
    parser = _PlainText()
    parser.feed(html)
    parser.close()
    return " ".join("".join(parser.parts).split())


def _text(row: dict[str, str]) -> str:
    return plain_text(row.get("Body", ""))


def _person(user: str | None) -> str | None:
    return None if user is None or user == _COMMUNITY else f"se-{user}"


def _time(row: dict[str, str]) -> float:
    return datetime.fromisoformat(row["CreationDate"]).replace(tzinfo=UTC).timestamp()
