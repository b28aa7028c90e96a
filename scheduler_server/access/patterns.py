"""Names with stars: `*` stands for anything but a slash, `**` for anything; a `*` alone for any name whatever."""

import re
from collections.abc import Sequence

ANY = "*"
_LONGEST = 512
_STARS = re.compile(r"\*+")
_FILL = re.compile(r"\{([1-9])\}")


class PatternError(ValueError):
    """Not a pattern; the message completes "NAME ..."."""


def pattern(text: str) -> re.Pattern[str]:
    """What `fullmatch`es the names that it stands for; each star is a group. Raises PatternError."""
    if not text or len(text) > _LONGEST or not text.isprintable():
        raise PatternError(f"must have 1 to {_LONGEST} printable characters")
    parts: list[str] = []
    at = 0
    for stars in _STARS.finditer(text):
        if len(stars[0]) > 2:  # noqa: PLR2004 -- * and ** have a meaning
            raise PatternError("has more than two stars in a row")
        parts.append(re.escape(text[at : stars.start()]))
        parts.append("(.*)" if stars[0] == "**" or text == ANY else "([^/]*)")
        at = stars.end()
    return re.compile("".join(parts) + re.escape(text[at:]), re.DOTALL)


def filled(text: str, found: Sequence[str]) -> str:
    """A pattern with {1} to {9} replaced by what stars have stood for.

    Raises PatternError where there were not so many, or where one stood for a star: a name must not become a pattern.
    """

    def fill(place: re.Match[str]) -> str:
        number = int(place[1])
        if number > len(found):
            raise PatternError(f"has {place[0]}, and there are {len(found)} stars to fill it from")
        if "*" in found[number - 1]:
            raise PatternError(f"has a star in what {place[0]} stands for")
        return found[number - 1]

    return _FILL.sub(fill, text)


def places(text: str) -> int:
    """The greatest number in braces; 0 where there is none."""
    return max((int(place[1]) for place in _FILL.finditer(text)), default=0)
