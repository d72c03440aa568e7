"""Entity tags, and the ``If-Match`` and ``If-None-Match`` preconditions (RFC 9110, 8.8.3 and 13.1).

Tags are strong: a tag is a digest of the body and changes if and only if the body changes. The same
body in a content coding has another tag (:func:`of_coding`); preconditions accept both.

The tag of a resource that workers complete begins with a digest of what people write. ``If-Match``
compares only that: nothing is lost by a write that overtakes a worker.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re

from closient.http.problems import Problem

# Codings whose tags preconditions accept.
CODINGS = ("gzip",)

# RFC 9110, 8.8.3: a backslash is an ordinary character.
_TAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
# RFC 9110, 5.6.1: recipients ignore empty elements of a list.
_TAGS = re.compile(rf"[ \t,]*(?:{_TAG}(?:[ \t]*,[ \t,]*{_TAG})*[ \t,]*)?")

_CODED = re.compile(rf'-(?:{"|".join(CODINGS)})"\Z')

# A tag that begins with a version.
_VERSIONED = re.compile(r'("[0-9a-f]{32})\.[0-9a-f]{32}"')

# The syntax of If-Match, as a JSON Schema pattern.
PATTERN = r'^(?:\*|(?:W/)?"[!#-~]*"(?:, ?(?:W/)?"[!#-~]*")*)$'


def etag_of(body: bytes, version: bytes | None = None) -> str:
    """Return the strong tag of a body; ``version`` is the part that ``If-Match`` compares."""
    parts = [body] if version is None else [version, body]
    return f'"{".".join(hashlib.sha256(part).hexdigest()[:32] for part in parts)}"'


def _version_of(etag: str) -> str:
    """Return the part of a tag that ``If-Match`` compares, as a tag."""
    return _VERSIONED.sub(r'\1"', etag)


def of_coding(etag: str, coding: str) -> str:
    """Return the tag of the same body in a content coding of ``CODINGS`` (RFC 9110, 8.8.3.3)."""
    return f'{etag[:-1]}-{coding}"'


@dataclasses.dataclass(frozen=True)
class Tags:
    """The value of ``If-Match`` or ``If-None-Match``: a list of tags, or ``*``."""

    is_any: bool
    tags: tuple[str, ...] = ()

    def match_strongly(self, etag: str) -> bool:
        """Return whether the list contains a tag of the version; weak tags match nothing."""
        versions = {_version_of(tag) for tag in self._without_coding() if not tag.startswith("W/")}
        return self.is_any or _version_of(etag) in versions

    def match_weakly(self, etag: str) -> bool:
        """Return whether the list contains a tag, strong or weak."""
        return self.is_any or etag in {tag.removeprefix("W/") for tag in self._without_coding()}

    def _without_coding(self) -> set[str]:
        return {_CODED.sub('"', tag) for tag in self.tags}


def read_tags(value: str) -> Tags | None:
    """Parse the value of a header; ``None`` if its syntax is wrong."""
    value = value.strip(" \t")
    if value == "*":
        return Tags(is_any=True)
    if not _TAGS.fullmatch(value):
        return None
    return Tags(is_any=False, tags=tuple(re.findall(_TAG, value)))


def read_if_match(value: str | None) -> Tags | None:
    """Parse ``If-Match``; ``None`` without it. Raises the ``bad_request`` problem."""
    if value is None:
        return None
    tags = read_tags(value)
    if tags is None:
        raise Problem(
            "bad_request",
            'If-Match takes * or a list of entity tags in quotes, such as "5e884898da280471".',
        )
    return tags


def is_known(etag: str, if_none_match: str | None) -> bool:
    """Return whether ``If-None-Match`` contains a tag; a value with wrong syntax contains none."""
    tags = read_tags(if_none_match) if if_none_match else None
    return tags is not None and tags.match_weakly(etag)
