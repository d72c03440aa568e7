"""Writes the archive of an organization as a stream, from one snapshot."""

from __future__ import annotations

import datetime
import json
import pathlib
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from django.db.models import Exists, OuterRef, Prefetch
from django.utils import timezone

from catalog.completeness import FACTS
from catalog.images.storage import storage
from catalog.models import Brand, Product, ProductImage, effective_rule
from catalog.rule_editing import has_own_rule
from catalog.serializers import ProductSerializer
from certifications.exporting import assignment_objects
from certifications.lists import AssignmentList
from certifications.models import Certification, CertificationAssignment
from certifications.serializers import CertificationSerializer
from closient.accounts.models import Organization
from dashboard.archive.contents import (
    CERTIFICATIONS,
    FORMAT,
    MANIFEST,
    OFFERS,
    RULE,
    TRADE_ITEMS,
    UNUSED_BRANDS,
    UNUSED_CERTIFICATIONS,
    VERSION,
)
from dashboard.exports.formats import json_lines_pieces
from dashboard.numbers import current_numbers
from offers.exporting import offer_objects
from offers.lists import OfferList

# Rows in memory at a time.
BATCH = 250
# Image files are read between two fetches, and some storages take a while for each.
IMAGES_BATCH = 50
PIECE_BYTES = 256 * 1024


def archive_pieces(organization: Organization) -> Iterator[bytes]:
    """Yield the archive of an organization in pieces; its entries are in ``contents``.

    Must run in a snapshot. Memory is constant, except for some hundred bytes for each image file:
    they are for the directory at the end of a ZIP file. The files come first, and the manifest
    last, because only then is it known which files the storage has lost: images without their
    file are left out and counted in ``images_without_file``. Raises the errors of the storage.
    """
    # With the rule of the snapshot.
    organization = Organization.objects.select_related("completeness_rule").get(pk=organization.pk)
    writer = _Writer(organization)
    yield from writer.image_files()
    yield from writer.lines(TRADE_ITEMS, writer.trade_items())
    yield from writer.lines(OFFERS, offer_objects(_OldestOffers.of(organization, {})))
    assignments = AssignmentList.of(organization, {})
    yield from writer.lines(CERTIFICATIONS, assignment_objects(assignments))
    yield from writer.lines(UNUSED_BRANDS, _unused_brands(organization))
    yield from writer.lines(UNUSED_CERTIFICATIONS, _unused_certifications(organization))
    yield from writer.json(RULE, _rule(organization))
    yield from writer.json(MANIFEST, writer.manifest())
    yield from writer.end()


def entry_name(image: ProductImage) -> str:
    """Return the name of a stored image in the archive; its own name in the storage is secret."""
    return f"images/{image.pk.hex}{pathlib.PurePosixPath(image.image.name).suffix.lower()}"


class _OldestOffers(OfferList):
    """All offers, the oldest first: they get their ids in this order again."""

    def everything(self) -> Any:
        """Return all offers with their GTIN."""
        return self.matching.with_gtin().order_by("pk")


class _Pieces:
    """The stream that :mod:`zipfile` writes to, which cannot seek."""

    def __init__(self) -> None:
        self._written: list[bytes] = []
        self._size = 0

    def write(self, data: Any) -> int:
        """Take bytes that a piece will contain."""
        self._written.append(bytes(data))
        self._size += len(data)
        return len(data)

    def flush(self) -> None:
        """Do nothing: pieces are taken."""

    def close(self) -> None:
        """Do nothing: there is nothing to close."""

    def full(self) -> Iterator[bytes]:
        """Yield what was written, if it fills a piece."""
        if self._size >= PIECE_BYTES:
            yield self.rest()

    def rest(self) -> bytes:
        """Return everything that was written since the last piece."""
        piece = b"".join(self._written)
        self._written, self._size = [], 0
        return piece


class _Writer:
    """Writes the entries of an archive one after the other, and counts what is in them."""

    def __init__(self, organization: Organization) -> None:
        self._organization = organization
        self._pieces = _Pieces()
        self._zip = zipfile.ZipFile(self._pieces, "w", allowZip64=True)
        self._now = timezone.now()
        self._lost: set[str] = set()
        self._counts = {"image_files": 0, "images": 0}

    def image_files(self) -> Iterator[bytes]:
        """Write the files of stored images."""
        images = ProductImage.objects.filter(organization=self._organization).exclude(image="")
        for image in images.order_by("pk").iterator(chunk_size=IMAGES_BATCH):
            name = entry_name(image)
            try:
                file = storage().open(image.image.name)
            except FileNotFoundError:
                self._lost.add(name)
                continue
            with file:
                # A picture is compressed already.
                yield from self._entry(name, file.chunks(PIECE_BYTES), zipfile.ZIP_STORED)
            self._counts["image_files"] += 1

    def trade_items(self) -> Iterator[dict[str, Any]]:
        """Yield the products, the oldest first, each with its images."""
        organization = self._organization
        context = {"rule": effective_rule(organization), "day": organization.today()}
        serializer = ProductSerializer(context=context)
        images = ProductImage.objects.filter(organization=organization)
        products = (
            Product.objects.of(organization)
            .select_related("brand", "summary")
            .prefetch_related(Prefetch("images", images))
            .order_by("pk")
        )
        for product in products.iterator(chunk_size=BATCH):
            shown = [self._image(image) for image in product.images.all()]
            found = [image for image in shown if image is not None]
            self._counts["images"] += len(found)
            yield {**serializer.to_representation(product), "images": found}
            # The rows refer to each other: otherwise they would wait for the garbage collector.
            product.__dict__.clear()

    def _image(self, image: ProductImage) -> dict[str, Any] | None:
        """Return an image as the archive has it; ``None`` without its file."""
        file = entry_name(image) if image.image else None
        if file in self._lost:
            return None
        return {
            "external_url": image.external_url or None,
            "file": file,
            "title": image.title,
            "is_primary": image.is_primary,
            "priority": image.priority,
            "is_imported": image.is_imported,
        }

    def lines(self, name: str, objects: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
        """Write a file of JSON Lines, and count them."""
        count = 0

        def counted() -> Iterator[Mapping[str, Any]]:
            nonlocal count
            for item in objects:
                count += 1
                yield item

        yield from self._entry(name, json_lines_pieces(counted()))
        self._counts[name.removesuffix(".jsonl").replace("-", "_")] = count

    def json(self, name: str, value: object) -> Iterator[bytes]:
        """Write a JSON file."""
        text = json.dumps(value, ensure_ascii=False, indent=2) + "\n"
        yield from self._entry(name, [text.encode()])

    def manifest(self) -> dict[str, Any]:
        """Return the manifest."""
        organization = self._organization
        return {
            "format": FORMAT,
            "version": VERSION,
            "organization": {"name": organization.name, "time_zone": organization.time_zone},
            "exported_at": self._now.astimezone(datetime.UTC).isoformat(timespec="seconds"),
            # The day of the numbers, in the time zone of the organization.
            "day": organization.today().isoformat(),
            "counts": self._counts,
            "images_without_file": len(self._lost),
            "numbers": current_numbers(organization),
        }

    def end(self) -> Iterator[bytes]:
        """Write the directory of the ZIP file, and yield what is left."""
        self._zip.close()
        yield self._pieces.rest()

    def _entry(
        self, name: str, pieces: Iterable[bytes], compression: int = zipfile.ZIP_DEFLATED
    ) -> Iterator[bytes]:
        entry = zipfile.ZipInfo(name, self._now.timetuple()[:6])
        entry.compress_type = compression
        with self._zip.open(entry, "w", force_zip64=True) as file:
            for piece in pieces:
                file.write(piece)
                yield from self._pieces.full()
        yield from self._pieces.full()


def _unused_brands(organization: Organization) -> Iterator[dict[str, Any]]:
    """Yield the brands without products: the others come back with their products."""
    brands = Brand.objects.filter(
        ~Exists(Product.objects.of(organization).filter(brand=OuterRef("pk"))),
        organization=organization,
    )
    for brand in brands.order_by("pk").iterator(chunk_size=BATCH):
        yield {"name": brand.name}


def _unused_certifications(organization: Organization) -> Iterator[dict[str, Any]]:
    """Yield the certifications without certificates."""
    assignments = CertificationAssignment.objects.of(organization)
    certifications = Certification.objects.filter(
        ~Exists(assignments.filter(certification=OuterRef("pk"))), organization=organization
    )
    serializer = CertificationSerializer()
    for certification in certifications.order_by("pk").iterator(chunk_size=BATCH):
        yield serializer.to_representation(certification)


def _rule(organization: Organization) -> dict[str, Any]:
    rule = effective_rule(organization)
    return {
        "weights": {fact.name: rule.weight(fact) for fact in FACTS},
        "threshold": rule.threshold,
        "is_default": not has_own_rule(organization),
    }
