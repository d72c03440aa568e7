"""Imports products from a file: all of them, or with ``skip_bad_rows`` the valid ones."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Generator
from pathlib import Path

from django.db import OperationalError, transaction
from psycopg.errors import DeadlockDetected

from closient.accounts.models import Organization
from dashboard.imports import rejects
from dashboard.imports.detected_file import detected_file
from dashboard.imports.files import InputFile, UnreadableFile
from dashboard.imports.formats import AUTO, format_of
from dashboard.imports.formats.base import ColumnMap, RowFile
from dashboard.imports.merge import apply
from dashboard.imports.rejects import BadRow, Rejected, UnwritableRejects
from dashboard.imports.staging import Staging
from dashboard.imports.validate import Row, bad_row, clean_row

MAX_LISTED = 20
_ROWS_PER_REPORT = 1000
_RETRIES = 3

# Called repeatedly with the rows and bytes read so far, and the size of the file in bytes.
Progress = Callable[[int, int, int], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """How to import.

    ``rejects`` is the file for rejected rows, by default next to the input. With ``dry_run`` the
    import is rolled back at the end; rejected rows are still written.
    """

    format: str = AUTO
    skip_bad_rows: bool = False
    rejects: Path | None = None
    overwrite_blank: bool = False
    dry_run: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImportResult:
    """What an import did, in rows: the last four add up to the total.

    ``problems`` are the first rejected rows; ``rejects`` is the file with all of them.
    ``ignored_columns`` are the columns that no field uses.
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
    """Import a file in one transaction.

    Starts again after a deadlock with another writer, at most three times. Raises :class:`BadRows`
    if rows are rejected and ``skip_bad_rows`` is off, :class:`UnreadableFile` if the file cannot be
    read to its end, and :class:`UnwritableRejects`; then nothing was imported.
    """
    options = options or Options()
    return ProductFile(path, options.format).load(organization, options, progress)


class ProductFile:
    """A file of products, opened far enough to know its format and columns (``detected``).

    Raises :class:`UnreadableFile`.
    """

    def __init__(self, path: Path, format_name: str = AUTO) -> None:
        self._path = path
        source = InputFile(path)
        found = format_of(source, format_name)
        self._file, self._columns = found.open(source)
        self.detected = detected_file(found.name, self._file, self._columns)

    def load(
        self,
        organization: Organization,
        options: Options,
        progress: Progress | None = None,
        before_commit: Callable[[ImportResult], None] | None = None,
    ) -> ImportResult:
        """Import the file as :func:`import_products` does.

        ``before_commit`` is called at the end of the import's transaction, so that what it writes
        is committed with the import or not at all; an exception rolls the import back. A dry run
        does not call it.
        """
        rejects_path = options.rejects or rejects.default_path(self._path, self._file.suffix)
        if rejects_path.resolve() == self._path.resolve():
            raise UnwritableRejects("The rejects file would overwrite the input.")
        job = _Import(
            organization, self._file, self._columns, options, rejects_path, progress, before_commit
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
    file: RowFile
    columns: ColumnMap
    options: Options
    rejects_path: Path
    progress: Progress | None
    before_commit: Callable[[ImportResult], None] | None

    def run(self) -> ImportResult:
        """Import once; the rejects file appears when the transaction is committed."""
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
                rejected, problems = self._reject(staging, total)
                merged = apply(staging)
                if rejected:
                    with open_rejects() as rejects_file:
                        self.file.write_rejects(rejects_file, staging.rejected())
            result = ImportResult(
                total=total,
                created=merged.created,
                updated=merged.updated,
                unchanged=total - rejected - merged.created - merged.updated,
                rejected=rejected,
                problems=problems,
                rejects=self.rejects_path if rejected else None,
                ignored_columns=self.columns.ignored_columns,
            )
            if self.options.dry_run:
                transaction.set_rollback(True)
            elif self.before_commit:
                self.before_commit(result)
        return result

    def _reject(self, staging: Staging, total: int) -> tuple[int, tuple[Rejected, ...]]:
        """Reject rows that conflict with others; return how many are rejected, and the first."""
        if not total:
            raise UnreadableFile("The file has no rows.")
        staging.lock()
        staging.reject_duplicates()
        staging.reject_too_much_metadata()
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
                parsed = self.columns.parse(content)
                yield clean_row(line, parsed, overwrite_blank=self.options.overwrite_blank)
            if self.progress and number % _ROWS_PER_REPORT == 0:
                self.progress(number, source.bytes_read, source.size)
        if self.progress:
            self.progress(number, source.size, source.size)
