"""Imports products from a file: all of them, or with ``skip_bad_rows`` all that are right."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Generator
from pathlib import Path

from django.db import OperationalError, transaction
from psycopg.errors import DeadlockDetected

from catalog.csv_columns import GTIN_COLUMNS
from closient.accounts.models import Organization
from dashboard.imports import rejects
from dashboard.imports.columns import own_layout
from dashboard.imports.delimited import DelimitedFile
from dashboard.imports.drafts import Layout
from dashboard.imports.formats import Format, InputFile, UnreadableFile
from dashboard.imports.jsonlines import JsonLinesFile
from dashboard.imports.load import write
from dashboard.imports.objects import object_layout
from dashboard.imports.openfoodfacts import is_open_food_facts, open_food_facts_layout
from dashboard.imports.recognized import recognized
from dashboard.imports.rejects import BadRow, Rejected, UnwritableRejects
from dashboard.imports.rows import Row, bad_row, clean_row
from dashboard.imports.staging import Staging

MAX_LISTED = 20
_ROWS_PER_REPORT = 1000
_RETRIES = 3

# Called now and then with the rows and the bytes of the file that are read, and its size in bytes.
Progress = Callable[[int, int, int], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """How to import.

    ``rejects`` says where the refused rows go, by default beside the file. With ``dry_run``
    everything is done, and undone at the end; refused rows are still written out.
    """

    format: Format = Format.AUTO
    skip_bad_rows: bool = False
    rejects: Path | None = None
    overwrite_blank: bool = False
    dry_run: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImportResult:
    """What an import did, in rows: the last four add up to the total.

    ``problems`` are the first refused rows; ``rejects`` is the file that holds all of them.
    ``ignored_columns`` are those that mean nothing to an import.
    """

    total: int
    created: int
    updated: int
    unchanged: int
    rejected: int
    problems: tuple[Rejected, ...] = ()
    rejects: Path | None = None
    ignored_columns: tuple[str, ...] = ()


class BadRows(ValueError):
    """Some rows were rejected, so nothing was imported.

    ``problems`` are the first of them, ``count`` is how many there are.
    """

    def __init__(self, problems: tuple[Rejected, ...], count: int) -> None:
        super().__init__(f"{count:,} rows were rejected, so nothing was imported.")
        self.problems = problems
        self.count = count


def import_products(
    path: Path,
    organization: Organization,
    options: Options | None = None,
    progress: Progress | None = None,
) -> ImportResult:
    """Import a file in one transaction and return what was done.

    Should the database end the transaction because of a deadlock with another writer, the import
    begins anew, three times at most. Raises :class:`BadRows` where rows are refused and
    ``skip_bad_rows`` is off, :class:`UnreadableFile` where the file cannot be read to its end,
    and :class:`UnwritableRejects`; then nothing was imported.
    """
    options = options or Options()
    return ProductFile(path, options.format).load(organization, options, progress)


class ProductFile:
    """A file of products, opened far enough to know what it is: ``recognized`` says so.

    Raises :class:`UnreadableFile`.
    """

    def __init__(self, path: Path, wanted: Format = Format.AUTO) -> None:
        self._path = path
        source = InputFile(path)
        self._file: DelimitedFile | JsonLinesFile
        if source.is_json if wanted == Format.AUTO else wanted == Format.JSON_LINES:
            found = Format.JSON_LINES
            self._file, self._layout = JsonLinesFile(source), object_layout()
        else:
            self._file = DelimitedFile(source, GTIN_COLUMNS)
            found = wanted
            if wanted == Format.AUTO:
                is_foreign = is_open_food_facts(self._file.header)
                found = Format.OPEN_FOOD_FACTS if is_foreign else Format.CSV
            layout = open_food_facts_layout if found == Format.OPEN_FOOD_FACTS else own_layout
            self._layout = layout(self._file.header)
        self.recognized = recognized(self._file, self._layout, found)

    def load(
        self,
        organization: Organization,
        options: Options,
        progress: Progress | None = None,
        before_commit: Callable[[ImportResult], None] | None = None,
    ) -> ImportResult:
        """Do what :func:`import_products` says, and raise what it raises.

        ``before_commit`` runs in the import's transaction when all else is done: what it writes
        is committed with the import or not at all, and what it raises undoes the import. A dry run
        does not call it.
        """
        rejects_path = options.rejects or rejects.default_path(self._path, self._file.suffix)
        if rejects_path.resolve() == self._path.resolve():
            raise UnwritableRejects("The rejects would be written over the file itself.")
        job = _Import(
            organization, self._file, self._layout, options, rejects_path, progress, before_commit
        )
        for _ in range(_RETRIES):
            try:
                return job.run()
            except OperationalError as error:
                if not isinstance(error.__cause__, DeadlockDetected):
                    raise
        return job.run()


@dataclasses.dataclass(frozen=True)
class _Import:
    organization: Organization
    file: DelimitedFile | JsonLinesFile
    layout: Layout
    options: Options
    rejects_path: Path
    progress: Progress | None
    before_commit: Callable[[ImportResult], None] | None

    def run(self) -> ImportResult:
        """Do everything once; the rejects appear when the transaction is committed."""
        source = self.file.source
        staging = Staging(self.organization.pk, overwrite_blank=self.options.overwrite_blank)
        with (
            rejects.replacing(
                self.rejects_path, encoding=source.encoding, errors=source.errors
            ) as open_rejects,
            transaction.atomic(durable=True),
        ):
            with staging.tables():
                total = staging.copy(self._rows())
                rejected, problems = self._judge(staging, total)
                written = write(staging)
                if rejected:
                    with open_rejects() as rejects_file:
                        self.file.write_rejects(rejects_file, staging.rejected())
            result = ImportResult(
                total=total,
                created=written.created,
                updated=written.updated,
                unchanged=total - rejected - written.created - written.updated,
                rejected=rejected,
                problems=problems,
                rejects=self.rejects_path if rejected else None,
                ignored_columns=self.layout.ignored_columns,
            )
            if self.options.dry_run:
                transaction.set_rollback(True)
            elif self.before_commit:
                self.before_commit(result)
        return result

    def _judge(self, staging: Staging, total: int) -> tuple[int, tuple[Rejected, ...]]:
        """Judge the rows against one another; return how many are refused, and the first."""
        if not total:
            raise UnreadableFile("The file has no rows.")
        staging.lock()
        staging.refuse_repeated()
        staging.refuse_overfull()
        rejected = staging.count_rejected()
        if not rejected:
            return 0, ()
        first = tuple(itertools.islice(staging.rejected(), MAX_LISTED))
        if not self.options.skip_bad_rows:
            raise BadRows(first, rejected)
        return rejected, first

    def _rows(self) -> Generator[Row, None, None]:
        source = self.file.source
        number = 0
        for number, (line, content) in enumerate(self.file.rows(), start=1):
            if isinstance(content, BadRow):
                yield bad_row(line, [content.reason])
            else:
                draft = self.layout.draft(content)
                yield clean_row(line, draft, overwrite_blank=self.options.overwrite_blank)
            if self.progress and number % _ROWS_PER_REPORT == 0:
                self.progress(number, source.bytes_read, source.size)
        if self.progress:
            self.progress(number, source.size, source.size)
