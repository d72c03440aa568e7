"""Entity tags, and the ``If-Match`` and ``If-None-Match`` preconditions (RFC 9110, 8.8.3 and 13.1).

A tag is strong: it is a digest of the body, so it changes exactly when the body changes. The same
body in a content coding has a tag of its own (:func:`of_coding`), and either names the resource
in a precondition.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re

from closient.http.problems import Problem

# Codings whose tags preconditions accept.
CODINGS = ("gzip",)

# RFC 9110, 8.8.3: a backslash is a character like any other.
_TAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
# RFC 9110, 5.6.1: recipients ignore empty elements of a list.
_TAGS = re.compile(rf"[ \t,]*(?:{_TAG}(?:[ \t]*,[ \t,]*{_TAG})*[ \t,]*)?")

_CODED = re.compile(rf'-(?:{"|".join(CODINGS)})"\Z')

# What If-Match may hold, as a pattern of JSON Schema.
PATTERN = r'^(?:\*|(?:W/)?"[!#-~]*"(?:, ?(?:W/)?"[!#-~]*")*)$'


def etag_of(body: bytes) -> str:
    """Return the strong tag of a body."""
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def of_coding(etag: str, coding: str) -> str:
    """Return the tag of the same body in a content coding of ``CODINGS`` (RFC 9110, 8.8.3.3)."""
    return f'{etag[:-1]}-{coding}"'


@dataclasses.dataclass(frozen=True)
class Tags:
    """The value of ``If-Match`` or ``If-None-Match``: a list of tags, or ``*``."""

    is_any: bool
    tags: tuple[str, ...] = ()

    def match_strongly(self, etag: str) -> bool:
        """Return whether the list names a tag; weak tags match nothing."""
        return self.is_any or etag in self._without_coding()

    def match_weakly(self, etag: str) -> bool:
        """Return whether the list names a tag, as a strong or as a weak one."""
        return self.is_any or etag in {tag.removeprefix("W/") for tag in self._without_coding()}

    def _without_coding(self) -> set[str]:
        return {_CODED.sub('"', tag) for tag in self.tags}


def read_tags(value: str) -> Tags | None:
    """Return what a header says, ``None`` where its syntax is wrong."""
    value = value.strip(" \t")
    if value == "*":
        return Tags(is_any=True)
    if not _TAGS.fullmatch(value):
        return None
    return Tags(is_any=False, tags=tuple(re.findall(_TAG, value)))


def read_if_match(value: str | None) -> Tags | None:
    """Return what ``If-Match`` says, ``None`` without it. Raises ``bad_request``."""
    if value is None:
        return None
    tags = read_tags(value)
    if tags is None:
        raise Problem(
            "bad_request",
            'If-Match takes * or a list of entity tags in quotes, as "5e884898da280471".',
        )
    return tags


def is_known(etag: str, if_none_match: str | None) -> bool:
    """Return whether ``If-None-Match`` names a tag; a value with wrong syntax names none."""
    tags = read_tags(if_none_match) if if_none_match else None
    return tags is not None and tags.match_weakly(etag)
