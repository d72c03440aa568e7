"""Brings an archive into an empty organization, all or nothing."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from django.db import connection, models, transaction

from catalog.images.reencoding import InvalidImage, read_picture
from catalog.images.storage import discard, store
from catalog.models import Brand, CompletenessRule, Product
from catalog.rule_editing import set_rule
from certifications.models import Certification, CertificationAssignment
from closient.accounts.actors import current_actor
from closient.accounts.models import Organization
from dashboard.archive.contents import FORMAT, MANIFEST, TRADE_ITEMS, VERSION
from dashboard.archive.reading import ArchiveFile, InvalidArchive
from dashboard.archive.rows import (
    MAX_LISTED,
    AssignmentRow,
    BrandRow,
    CertificationRow,
    ImageRow,
    InvalidRows,
    OfferRow,
    assignment_rows,
    brand_rows,
    certification_rows,
    image_rows,
    offer_rows,
    own_rule,
    product_rows,
)
from dashboard.imports.merge import apply
from dashboard.imports.staging import Staging
from dashboard.numbers import NUMBERS, current_numbers
from offers.models import Offer

# Called with a word for the step, how much of it is done, and its total if known.
Progress = Callable[[str, int, int | None], object]


class NotEmpty(ValueError):
    """The organization has rows already; the message is a sentence."""


@dataclasses.dataclass(frozen=True)
class LoadResult:
    """What an import of an archive has created, and the numbers by name.

    ``expected`` are the numbers of the manifest, on ``day`` in the time zone ``time_zone``.
    """

    counts: Mapping[str, int]
    numbers: Mapping[str, int]
    expected: Mapping[str, int]
    day: datetime.date
    time_zone: str
    images_without_file: int


class _Stored(NamedTuple):
    """The file of an image in the storage, and its size in pixels."""

    name: str
    width: int
    height: int


def load_archive(
    path: Path,
    organization: Organization,
    *,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> LoadResult:
    """Import an archive in one transaction.

    With ``dry_run`` everything is done and rolled back, and no image is stored. Raises
    :class:`InvalidArchive` and :class:`NotEmpty`, and then nothing was imported.
    """
    with ArchiveFile(path) as archive:
        manifest = _Manifest(archive.read_json(MANIFEST))
        rule = own_rule(archive)
        _require_empty(organization)
        report = progress or (lambda step, done, total: None)
        with _images_of(archive, dry_run=dry_run, report=report) as files:
            with transaction.atomic(durable=True):
                # Rows of the organization can only be created once this lock is released.
                locked = Organization.objects.select_for_update().get(pk=organization.pk)
                _require_empty(locked)
                counts = _load(archive, locked, files.by_name, report)
                manifest.compare(counts)
                if rule is not None:
                    set_rule(locked, rule)
                numbers = current_numbers(Organization.objects.get(pk=organization.pk))
                if dry_run:
                    transaction.set_rollback(True)
                else:
                    # From here on the rows may be committed.
                    files.have_rows = True
            return LoadResult(
                counts,
                numbers,
                manifest.numbers,
                manifest.day,
                manifest.time_zone,
                manifest.images_without_file,
            )


class _Manifest:
    """The manifest of an archive, validated."""

    def __init__(self, item: Mapping[str, Any]) -> None:
        if item.get("format") != FORMAT:
            raise InvalidArchive(f"{MANIFEST}: format must be {FORMAT!r}.")
        version = item.get("version")
        if version != VERSION or isinstance(version, bool):
            raise InvalidArchive(
                f"{MANIFEST}: version is {version!a:.40}, and this installation reads version "
                f"{VERSION} only: import the archive with a newer one."
            )
        names = [number.name for number in NUMBERS]
        self.numbers = _integers(item.get("numbers"), names, "numbers")
        self._counts = _integers(item.get("counts"), _COUNTS, "counts")
        of_organization = item.get("organization")
        time_zone = of_organization.get("time_zone") if isinstance(of_organization, dict) else None
        day, without = item.get("day"), item.get("images_without_file")
        if not isinstance(time_zone, str) or not isinstance(day, str) or not _is_count(without):
            raise InvalidArchive(
                f"{MANIFEST}: organization.time_zone, day or images_without_file is missing."
            )
        self.time_zone = time_zone[:64]
        self.images_without_file: int = without  # type: ignore[assignment]
        try:
            self.day = datetime.date.fromisoformat(day)
        except ValueError:
            raise InvalidArchive(f"{MANIFEST}: day must be a date.") from None

    def compare(self, counts: Mapping[str, int]) -> None:
        """Raise :class:`InvalidArchive` unless the archive has what its manifest says."""
        for name, count in self._counts.items():
            if counts[name] != count:
                raise InvalidArchive(
                    f"{MANIFEST}: {name} is {count:,}, and the archive has {counts[name]:,}: it is "
                    "incomplete or was changed."
                )


_COUNTS = (
    *("trade_items", "images", "image_files", "offers", "certifications"),
    *("unused_brands", "unused_certifications"),
)


def _integers(value: object, names: Iterable[str], what: str) -> dict[str, int]:
    found = value if isinstance(value, dict) else {}
    for name in names:
        if not _is_count(found.get(name)):
            raise InvalidArchive(f"{MANIFEST}: {what}.{name} must be a number of 0 or more.")
    return {name: found[name] for name in names}


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


_MODELS: tuple[tuple[str, type[models.Model]], ...] = (
    ("products", Product),
    ("brands", Brand),
    ("offers", Offer),
    ("certifications", Certification),
    ("certificates", CertificationAssignment),
    ("a completeness rule", CompletenessRule),
)


def _require_empty(organization: Organization) -> None:
    """Raise :class:`NotEmpty` if the organization has anything that an archive contains."""
    for nouns, model in _MODELS:
        if model._default_manager.filter(organization=organization).order_by().exists():
            raise NotEmpty(
                f"The organization {organization.name} has {nouns}: an archive is imported into an "
                "empty organization only. Create one with manage.py create_organization."
            )


class _ImageFiles:
    """The stored files of images by their name in the archive."""

    def __init__(self) -> None:
        self.by_name: dict[str, _Stored] = {}
        self.have_rows = False


@contextlib.contextmanager
def _images_of(archive: ArchiveFile, *, dry_run: bool, report: Progress) -> Iterator[_ImageFiles]:
    """Re-encode and store the images; the files are deleted again unless they have rows."""
    files = _ImageFiles()
    try:
        for number, name in enumerate(sorted(archive.images), start=1):
            with archive.image(name) as (file, size):
                try:
                    picture = read_picture(file, size)
                except InvalidImage as error:
                    raise InvalidArchive(f"{name}: {error}") from None
            stored = name if dry_run else store(picture)
            files.by_name[name] = _Stored(stored, picture.width, picture.height)
            report("images", number, len(archive.images))
        yield files
    finally:
        if not files.have_rows and not dry_run:
            for one in files.by_name.values():
                discard(one.name)


def _load(
    archive: ArchiveFile,
    organization: Organization,
    files: Mapping[str, _Stored],
    report: Progress,
) -> dict[str, int]:
    """Create all rows in the current transaction, and return their counts."""
    counts = {"trade_items": _load_products(archive, organization, report)}
    tables = _Tables(organization)
    images = _reported(image_rows(archive), "image rows", report)
    counts["images"] = tables.copy("archive_image", ImageRow, images)
    counts["image_files"] = len(archive.images)
    tables.copy("archive_file", _FileRow, (_FileRow(name, *file) for name, file in files.items()))
    tables.insert_images()
    offers = _reported(offer_rows(archive), "offers", report)
    counts["offers"] = tables.copy("archive_offer", OfferRow, offers)
    tables.insert_offers()
    assignments = _reported(assignment_rows(archive), "certificates", report)
    counts["certifications"] = tables.copy("archive_assignment", AssignmentRow, assignments)
    tables.insert_assignments()
    counts["unused_brands"] = tables.copy("archive_brand", BrandRow, brand_rows(archive))
    unused = certification_rows(archive)
    counts["unused_certifications"] = tables.copy("archive_certification", CertificationRow, unused)
    tables.insert_unused()
    return counts


def _load_products(archive: ArchiveFile, organization: Organization, report: Progress) -> int:
    """Create the products and their brands, with the statements of the import."""
    staging = Staging(organization.pk, overwrite_blank=False)
    with staging.tables():
        rows = (row for row in _reported(product_rows(archive), "trade items", report))
        total = staging.copy(rows)
        staging.reject_conflicts()
        problems = []
        for problem in staging.rejected():
            problems.append(f"{TRADE_ITEMS}, line {problem.line}: {problem.reason}.")
            if len(problems) == MAX_LISTED:
                break
        if problems:
            raise InvalidRows(problems)
        apply(staging)
    return total


def _reported(rows: Iterator[Any], step: str, report: Progress) -> Iterator[Any]:
    for number, row in enumerate(rows, start=1):
        if number % 1_000 == 0:
            report(step, number, None)
        yield row


class _FileRow(NamedTuple):
    """A stored file, by its name in the archive."""

    file: str
    name: str
    width: int
    height: int


_TYPES = {
    "id": "uuid",
    "line": "bigint",
    "is_primary": "boolean",
    "is_imported": "boolean",
    "priority": "integer",
    "width": "integer",
    "height": "integer",
    "price": "numeric",
    "metadata": "jsonb",
    "http_status": "smallint",
    "url_checked_at": "timestamptz",
    "url_failing_since": "timestamptz",
    "valid_from": "date",
    "expiry_date": "date",
}
_PRODUCT = "JOIN catalog_product p ON p.organization_id = %(org)s AND p.gtin = r.gtin"


class _Tables:
    """The temporary tables of the rows that belong to products, and the inserts from them."""

    def __init__(self, organization: Organization) -> None:
        self._parameters: dict[str, Any] = {"org": organization.pk, "actor": current_actor()}

    def copy(self, table: str, row: type[Any], rows: Iterable[Any]) -> int:
        """Copy rows into a new temporary table, and return how many there are."""
        fields = row._fields
        columns = ", ".join(f"{name} {_TYPES.get(name, 'text')}" for name in fields)
        self._run(f"CREATE TEMP TABLE {table} ({columns}) ON COMMIT DROP")
        count = 0
        with (
            connection.cursor() as cursor,
            cursor.copy(f"COPY {table} ({', '.join(fields)}) FROM STDIN") as copy,
        ):
            for values in rows:
                copy.write_row(values)
                count += 1
        self._run(f"ANALYZE {table}")
        return count

    def insert_images(self) -> None:
        """Create the images."""
        self._run(
            f"""
            INSERT INTO catalog_productimage (id, organization_id, product_id, image, external_url,
                title, is_primary, priority, is_imported, width, height)
            SELECT r.id, %(org)s, p.id, coalesce(f.name, ''), r.external_url, r.title,
                r.is_primary, r.priority, r.is_imported, f.width, f.height
            FROM archive_image r {_PRODUCT} LEFT JOIN archive_file f ON f.file = r.file
            ORDER BY r.id
            """
        )

    def insert_offers(self) -> None:
        """Create the offers; the URLs of online ones are due for a check."""
        self._check_products("archive_offer", "offers.jsonl")
        own = "channel, retailer, store, sku"
        self._check_duplicates(
            "archive_offer",
            "offers.jsonl",
            f"gtin, {own}",
            "the product has an offer of this channel, retailer, store and SKU already",
        )
        names = (
            f"{own}, url, price, currency, status, metadata, url_status, http_status, "
            "url_checked_at, url_failing_since, url_detail"
        )
        values = ", ".join(f"r.{name}" for name in names.split(", "))
        self._run(
            f"""
            INSERT INTO offers_offer (id, organization_id, product_id, updated_by, {names})
            SELECT r.id, %(org)s, p.id, %(actor)s, {values} FROM archive_offer r {_PRODUCT}
            ORDER BY r.id
            """
        )

    def insert_assignments(self) -> None:
        """Create the certifications and the certificates."""
        name = "certifications.jsonl"
        self._check_products("archive_assignment", name)
        self._check_duplicates(
            "archive_assignment",
            name,
            "gtin, code, certificate_number",
            "the product has this certification with this certificate number already",
        )
        self._reject(
            f"""
            SELECT r.line, 'label and body of ' || r.code || ' differ from those in line '
                || first.line
            FROM archive_assignment r JOIN (
                SELECT DISTINCT ON (code) code, label, body, line FROM archive_assignment
                ORDER BY code, line
            ) first ON first.code = r.code AND (first.label, first.body) <> (r.label, r.body)
            ORDER BY r.line LIMIT {MAX_LISTED}
            """,
            name,
        )
        self._run(
            """
            INSERT INTO certifications_certification (id, organization_id, code, label, body)
            SELECT DISTINCT ON (code) id, %(org)s, code, label, body
            FROM archive_assignment ORDER BY code, line
            """
        )
        names = (
            "certificate_number, issuing_body, valid_from, expiry_date, verification_status, "
            "verification_url, metadata"
        )
        values = ", ".join(f"r.{name}" for name in names.split(", "))
        self._run(
            f"""
            INSERT INTO certifications_certificationassignment
                (id, organization_id, product_id, certification_id, updated_by, {names})
            SELECT r.id, %(org)s, p.id, c.id, %(actor)s, {values}
            FROM archive_assignment r {_PRODUCT}
            JOIN certifications_certification c ON c.organization_id = %(org)s AND c.code = r.code
            ORDER BY r.id
            """
        )

    def insert_unused(self) -> None:
        """Create the brands and certifications that nothing uses."""
        self._run(
            """
            INSERT INTO catalog_brand (id, organization_id, name)
            SELECT id, %(org)s, name FROM archive_brand ORDER BY id
            ON CONFLICT (organization_id, key) DO NOTHING
            """
        )
        self._run(
            """
            INSERT INTO certifications_certification (id, organization_id, code, label, body)
            SELECT id, %(org)s, code, label, body FROM archive_certification ORDER BY id
            ON CONFLICT (organization_id, code) DO NOTHING
            """
        )

    def _check_products(self, table: str, file: str) -> None:
        self._reject(
            f"""
            SELECT r.line, 'gtin: ' || r.gtin || ' is not in {TRADE_ITEMS}'
            FROM {table} r LEFT {_PRODUCT} WHERE p.id IS NULL ORDER BY r.line LIMIT {MAX_LISTED}
            """,
            file,
        )

    def _check_duplicates(self, table: str, file: str, columns: str, reason: str) -> None:
        self._reject(
            f"""
            SELECT line, '{reason} in line ' || first_line FROM (
                SELECT line, min(line) OVER (PARTITION BY {columns}) AS first_line FROM {table}
            ) numbered
            WHERE line > first_line ORDER BY line LIMIT {MAX_LISTED}
            """,
            file,
        )

    def _reject(self, query: str, file: str) -> None:
        """Raise :class:`InvalidRows` if a query returns problems: lines with reasons."""
        with connection.cursor() as cursor:
            cursor.execute(query, self._parameters)
            problems = [f"{file}, line {line}: {reason}." for line, reason in cursor.fetchall()]
        if problems:
            raise InvalidRows(problems)

    def _run(self, statement: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(statement, self._parameters)
