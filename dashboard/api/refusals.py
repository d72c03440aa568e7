"""Why imports and sources refuse a request, as problems of the API."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from closient.http.problems import FieldError, Problem
from dashboard.imports.layouts.mapping import InvalidMapping
from dashboard.imports.runs.actions import InvalidTransition, RefusedFile, TooLarge, TooManyRuns
from dashboard.imports.sources.editing import TooManySources


@contextmanager
def refusals(field: str = "") -> Iterator[None]:
    """Turn what the block refuses into a problem; ``field`` is the one that has the file."""
    try:
        yield
    except (TooManyRuns, TooManySources, InvalidTransition) as error:
        raise Problem("conflict", str(error)) from None
    except TooLarge as error:
        raise Problem("payload_too_large", str(error)) from None
    except RefusedFile as error:
        raise _invalid(field, "file", error) from None
    except InvalidMapping as error:
        raise _invalid("mapping", "mapping", error) from None


def _invalid(field: str, code: str, error: Exception) -> Problem:
    return Problem("validation_error", errors=[FieldError(f"#/{field}", code, str(error))])
