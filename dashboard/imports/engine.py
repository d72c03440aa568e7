"""Imports a file: all of its rows, or with ``skip_bad_rows`` the valid ones."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from django.db import OperationalError, transaction
from psycopg.errors import DeadlockDetected

from closient.accounts.models import Organization
from dashboard.imports import groups, rejects
from dashboard.imports.detected_file import detected_file
from dashboard.imports.files import InputFile, UnreadableFile
from dashboard.imports.formats import format_of
from dashboard.imports.formats.base import Table
from dashboard.imports.layouts import AUTO, UnknownLayout, is_header, layout_of, own_csv
from dashboard.imports.layouts.base import ColumnMap, ColumnsNotFound, Layout, LayoutOptions
from dashboard.imports.layouts.mapping import fingerprint, mapped_layout, names_of
from dashboard.imports.merge import apply
from dashboard.imports.records import Problem, Record
from dashboard.imports.rejects import BadRow, Rejected, UnwritableRejects
from dashboard.imports.repair.conventions import Conventions
from dashboard.imports.saved_mappings import SavedMappings
from dashboard.imports.sources.gone import SourceRows
from dashboard.imports.staging import ProblemGroup, Staging, TableCounts
from dashboard.imports.validate import StagedRecord, bad_row, clean_record

MAX_LISTED = 20
_ROWS_PER_REPORT = 1000
_RETRIES = 3

# Called repeatedly with the rows and bytes read so far, and the size of the file in bytes.
Progress = Callable[[int, int, int], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """How to import.

    ``layout`` is a key of ``LAYOUTS``, and ``layout_options`` are for it. ``mapping`` is used
    instead of a layout (:mod:`dashboard.imports.layouts.mapping`). ``rejects`` is the file
    for rejected rows, by default next to the input. With ``dry_run`` the import is rolled back at
    the end; rejected rows are still written. ``source`` are the rows of the source that the file
    comes from.
    """

    layout: str = AUTO
    layout_options: LayoutOptions = dataclasses.field(default_factory=LayoutOptions)
    mapping: Mapping[str, str] | None = None
    skip_bad_rows: bool = False
    rejects: Path | None = None
    overwrite_blank: bool = False
    dry_run: bool = False
    source: SourceRows | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImportResult:
    """What an import did, in rows of the file: the last four add up to the total.

    ``tables`` are the rows created and updated in each table (``products``, ``offers``,
    ``certificates``). ``problems`` are the first rejected rows; ``rejects`` is the file with all of
    them, and ``problem_groups`` count them by the broken rule. ``ignored_columns`` are the columns
    that no field uses. ``repairs`` are the cells that were repaired, counted by what was repaired.
    ``has_names`` is false for a file of products without a column for their names. ``preview`` are
    the first valid rows (:meth:`Staging.preview`). ``gone`` are the rows that the
    source no longer has, ``None`` if that is not known.
    """

    total: int
    created: int
    updated: int
    unchanged: int
    rejected: int
    tables: Mapping[str, TableCounts]
    problems: tuple[Rejected, ...] = ()
    rejects: Path | None = None
    ignored_columns: tuple[str, ...] = ()
    has_names: bool = True
    preview: tuple[Mapping[str, Any], ...] = ()
    repairs: Mapping[str, int] = dataclasses.field(default_factory=dict)
    problem_groups: tuple[ProblemGroup, ...] = ()
    gone: int | None = None


class BadRows(ValueError):
    """Some rows were rejected, so nothing was imported.

    ``problems`` are the first of them, ``count`` is how many there are.
    """

    def __init__(self, problems: tuple[Rejected, ...], count: int) -> None:
        super().__init__(f"{count:,} rows were rejected, so nothing was imported.")
        self.problems = problems
        self.count = count


def import_file(
    path: Path,
    organization: Organization,
    options: Options | None = None,
    progress: Progress | None = None,
) -> ImportResult:
    """Import a file in one transaction, with the organization's own mapping for its columns if any.

    Starts again after a deadlock with another writer, at most three times. Raises :class:`BadRows`
    if rows are rejected and ``skip_bad_rows`` is off, :class:`UnreadableFile` if the file cannot be
    read to its end, :class:`InvalidMapping` and :class:`UnwritableRejects`; then nothing was
    imported.
    """
    options = options or Options()
    file = ImportFile.of(path, organization, options)
    return file.load(organization, options, progress)


class ImportFile:
    """A file, opened far enough to know its format, layout and columns (``detected``).

    With a mapping no layout is used. With ``layout="auto"`` the mapping that the organization has
    saved for this header takes precedence over the layouts. Raises :class:`UnreadableFile` and
    :class:`InvalidMapping`.
    """

    def __init__(
        self,
        path: Path,
        layout: str = AUTO,
        layout_options: LayoutOptions | None = None,
        *,
        mapping: Mapping[str, str] | None = None,
        organization: Organization | None = None,
    ) -> None:
        self._path = path
        source = InputFile(path)
        found = format_of(source)
        mapped = mapped_layout(mapping) if mapping is not None else None
        saved = SavedMappings(organization if mapped is None and layout == AUTO else None)

        def is_known(names: Sequence[str]) -> bool:
            if mapping is not None:
                return names_of(mapping) <= set(names)
            return is_header(names) or fingerprint(names) in saved

        self._table = found.open(source, is_known)
        if mapped is None and (columns := saved.get(fingerprint(self._table.names))):
            mapped = mapped_layout(columns)
        try:
            self._layout = mapped or layout_of(self._table, layout)
            self._columns = self._opened(layout_options or LayoutOptions())
        except UnknownLayout as error:
            error.format = found.name
            raise
        self._table = self._columns.table or self._table
        suggestion = own_csv.suggested(self._table, self._columns) if self._is_own_csv() else {}
        self.detected = detected_file(
            found.name, self._layout, self._table, self._columns, suggestion
        )

    def _opened(self, layout_options: LayoutOptions) -> ColumnMap:
        try:
            return self._layout.open(self._table, layout_options)
        except ColumnsNotFound as error:
            raise UnknownLayout(self._table, str(error)) from error

    def _is_own_csv(self) -> bool:
        """Whether the file has the layout that takes every file with a GTIN."""
        return self._layout.name == own_csv.LAYOUT.name

    @classmethod
    def of(cls, path: Path, organization: Organization, options: Options) -> ImportFile:
        """The file of an import into an organization."""
        return cls(
            path,
            options.layout,
            options.layout_options,
            mapping=options.mapping,
            organization=organization,
        )

    @property
    def names(self) -> Sequence[str]:
        """The names of the columns, for which a mapping can be saved."""
        return self._table.names

    def load(
        self,
        organization: Organization,
        options: Options,
        progress: Progress | None = None,
        before_commit: Callable[[ImportResult], None] | None = None,
    ) -> ImportResult:
        """Import the file as :func:`import_file` does.

        ``before_commit`` is called at the end of the import's transaction, so that what it writes
        is committed with the import or not at all; an exception rolls the import back. A dry run
        does not call it.
        """
        rejects_path = options.rejects or rejects.default_path(self._path, self._table.suffix)
        if rejects_path.resolve() == self._path.resolve():
            raise UnwritableRejects("The rejects file would overwrite the input.")
        job = _Import(
            organization,
            self._table,
            self._layout,
            self._columns,
            options,
            rejects_path,
            progress,
            before_commit,
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
    table: Table
    layout: Layout
    columns: ColumnMap
    options: Options
    rejects_path: Path
    progress: Progress | None
    before_commit: Callable[[ImportResult], None] | None

    def run(self) -> ImportResult:
        """Import once; the rejects file appears when the transaction is committed."""
        staging = Staging(
            self.organization.pk,
            overwrite_blank=self.options.overwrite_blank,
            creates_products=self.layout.creates_products,
        )
        with (
            rejects.replacing(
                self.rejects_path, encoding=self.table.encoding, errors=self.table.errors
            ) as open_rejects,
            transaction.atomic(durable=True),
        ):
            with staging.tables():
                repairs: Counter[str] = Counter()
                total = staging.copy(self._staged(repairs))
                rejected, problems = self._reject(staging, total)
                by_rule = staging.problem_groups() if rejected else ()
                merged = apply(staging)
                preview = staging.preview()
                source = self.options.source
                gone = source.update(staging) if source else None
                if rejected:
                    with open_rejects() as rejects_file:
                        self.table.write_rejects(rejects_file, staging.rejected())
            result = ImportResult(
                total=total,
                created=merged.created,
                updated=merged.updated,
                unchanged=total - rejected - merged.created - merged.updated,
                rejected=rejected,
                tables=merged.tables,
                problems=problems,
                rejects=self.rejects_path if rejected else None,
                ignored_columns=self.columns.ignored_columns,
                has_names=self._has_names(),
                preview=preview,
                repairs=dict(repairs.most_common()),
                problem_groups=by_rule,
                gone=gone,
            )
            if self.options.dry_run:
                transaction.set_rollback(True)
            elif self.before_commit:
                self.before_commit(result)
        return result

    def _has_names(self) -> bool:
        """Whether the file has names of products, or only parts of products that exist.

        Our own JSON Lines have no columns; each object has what it has.
        """
        fields = self.columns.fields.values()
        return not self.layout.creates_products or not fields or "name" in fields

    def _reject(self, staging: Staging, total: int) -> tuple[int, tuple[Rejected, ...]]:
        """Reject rows that conflict with others; return how many are rejected, and the first."""
        if not total:
            raise UnreadableFile("The file has no rows.")
        staging.lock()
        staging.reject_conflicts()
        rejected = staging.rejected_count
        if not rejected:
            return 0, ()
        first = tuple(itertools.islice(staging.rejected(), MAX_LISTED))
        if not self.options.skip_bad_rows:
            raise BadRows(first, rejected)
        return rejected, first

    def _staged(self, repairs: Counter[str]) -> Generator[StagedRecord, None, None]:
        """Yield the validated records, count what was repaired, and report the progress."""
        source = self.table.source
        conventions = Conventions(self._readable_records)
        number = 0
        for number, (line, record) in enumerate(self._records(), start=1):
            if isinstance(record, BadRow):
                yield StagedRecord(bad_row(line, [Problem("", "not readable", record.reason)]))
            else:
                staged = clean_record(
                    line,
                    record,
                    overwrite_blank=self.options.overwrite_blank,
                    conventions=conventions,
                )
                if staged.repairs:
                    repairs.update(staged.repairs)
                yield staged
            if self.progress and number % _ROWS_PER_REPORT == 0:
                self.progress(number, source.bytes_read, source.size)
        if self.progress:
            self.progress(number, source.size, source.size)

    def _readable_records(self) -> Iterator[Record]:
        """Yield the records of the file from its start, without their lines."""
        return (record for _, record in self._records() if not isinstance(record, BadRow))

    def _records(self) -> Iterator[tuple[int, Record | BadRow]]:
        """Yield the records with their lines."""
        columns = self.columns
        if columns.parse_group is not None:
            yield from groups.records(self.table.rows(), columns.group_by, columns.parse_group)
            return
        for line, cells in self.table.rows():
            if isinstance(cells, BadRow):
                yield line, cells
            else:
                yield line, columns.parse(cells)
