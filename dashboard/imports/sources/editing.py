"""Creates and changes sources, and what people do with them: run now, pause, resume."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from django.utils import timezone

from catalog.models import ImportSource, ImportStatus
from catalog.models.import_source import MAX_ADDRESS_LENGTH
from closient.accounts.models import Organization
from closient.db.locks import lock_until_commit
from closient.http.conflicts import writing
from closient.text.urls import clean_url
from closient.text.validators import InvalidField
from dashboard.imports.layouts import AUTO, LAYOUTS, check_layout
from dashboard.imports.layouts.mapping import InvalidMapping
from dashboard.imports.sources import fetch
from offers.url_checks.fetch.urls import NotAllowed, target_of

MAX_SOURCES = 20
# Another value of these means that an unchanged file is to be imported again.
_HOW_TO_READ = (
    *("url", "layout", "mapping", "retailer", "shop", "currency"),
    "overwrite_blank",
)
_LOGIN = ("username", "encrypted_password")


class TooManySources(Exception):
    """The organization has as many sources as it may have; the message is for the user."""


def layout_choices() -> list[tuple[str, str]]:
    """Return the key and the title of each layout, the recognition first."""
    return [
        (AUTO, "Recognize it by the columns"),
        *((name, layout.title) for name, layout in LAYOUTS.items()),
    ]


def clean_address(url: str) -> str:
    """Return an address in canonical form; raises ``InvalidField`` for the field ``url``."""
    try:
        target = target_of(url, ports=fetch.POLICY.url_ports)
    except NotAllowed as refusal:
        raise InvalidField(
            refusal.detail.replace("The URL", "The address"), field="url", code="url"
        ) from None
    if not fetch.POLICY.permits_file(target):
        raise InvalidField("The address must start with https://.", field="url", code="https")
    if len(target.url) > MAX_ADDRESS_LENGTH:
        raise InvalidField(
            f"The address has more than {MAX_ADDRESS_LENGTH:,} characters.", field="url", code="url"
        )
    return target.url


def create_source(organization: Organization, values: Mapping[str, Any]) -> ImportSource:
    """Create a source, which is due at once unless it is paused. Must be in a transaction.

    ``values`` are fields by name, and ``password``. Raises ``InvalidField`` and
    :class:`TooManySources`.
    """
    lock_until_commit(f"import sources of {organization.pk}")
    if ImportSource.objects.of(organization).count() >= MAX_SOURCES:
        raise TooManySources(f"An organization has at most {MAX_SOURCES} sources: delete one.")
    source = ImportSource(organization=organization)
    _set(source, values)
    source.next_run_at = None if source.is_paused else timezone.now()
    with writing(source):
        source.save(force_insert=True)
    return source


def change_source(source: ImportSource, values: Mapping[str, Any]) -> None:
    """Change fields of a source whose row the caller has locked; raises ``InvalidField``.

    A new address or login, and another way to read the file, make it due. A stored password is not
    sent to a new origin: it has to be given again.
    """
    before = {field.attname: getattr(source, field.attname) for field in source._meta.fields}
    _set(source, values)
    origins = {tuple(urlsplit(url)[:2]) for url in (before["url"], source.url)}
    if len(origins) > 1 and source.has_password and not values.get("password"):
        raise InvalidField(
            "The address has another host: enter the password again, or remove the user.",
            field="password",
            code="required",
        )
    changes = {name for name, value in before.items() if getattr(source, name) != value}
    if changes.intersection(_HOW_TO_READ):
        source.etag = source.last_modified = source.sha256 = ""
        # A file that waits for a person, or was rejected, is fetched again, too.
        source.runs.exclude(status=ImportStatus.DONE).update(fetched=None)
    if changes.intersection((*_HOW_TO_READ, *_LOGIN)):
        source.next_run_at = timezone.now()
        source.failures, source.detail = 0, ""
    if before["url"] != source.url:
        # Another file: nothing is known about its rows and columns.
        source.imported_rows = source.imported_columns = None
    if changes.intersection(("layout", "mapping")):
        # A person has said what the columns are, so that they differ is no reason to ask.
        source.imported_columns = None
    if before["interval_hours"] != source.interval_hours and source.last_run_at:
        source.next_run_at = _next_after(source)
    if source.is_paused:
        source.next_run_at = None
    elif before["is_paused"]:
        source.next_run_at = timezone.now()
    changed = [name for name, value in before.items() if getattr(source, name) != value]
    if changed:
        with writing(source):
            source.save(update_fields=[*changed, "updated_by"])


def run_now(source: ImportSource) -> None:
    """Make a source due, also a paused one, once."""
    source.next_run_at = timezone.now()
    ImportSource.objects.filter(pk=source.pk).update(next_run_at=source.next_run_at)


def _next_after(source: ImportSource) -> datetime.datetime:
    last_run_at: datetime.datetime = source.last_run_at or timezone.now()
    return max(last_run_at + source.interval, timezone.now())


def _set(source: ImportSource, values: Mapping[str, Any]) -> None:
    """Set fields, and check what depends on several of them."""
    for name, value in values.items():
        setattr(source, name, value)
    source.url = clean_address(source.url)
    if not source.name:
        source.name = (urlsplit(source.url).hostname or source.url)[:100]
    if source.shop:
        try:
            source.shop = clean_url(source.shop)
        except ValueError as error:
            raise InvalidField(str(error), field="shop", code="url") from None
    try:
        check_layout(source.layout, source.mapping)
    except InvalidMapping as error:
        raise InvalidField(str(error), field="mapping", code="mapping") from None
    if not source.username:
        if values.get("password"):
            raise InvalidField("A password needs a user.", field="username", code="required")
        source.encrypted_password = ""
    elif ":" in source.username:
        raise InvalidField("A user has no colon (RFC 7617).", field="username", code="colon")
