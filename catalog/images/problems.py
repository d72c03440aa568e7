"""The errors of image writes as problems of the API, which pages show too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from catalog.images import editing
from catalog.images.reencoding import DecoderBusy, InvalidImage, RejectReason
from catalog.images.storage import StorageFailed
from closient.http.exceptions import RETRY_AFTER
from closient.http.problems import FieldError, Problem

_ERROR_CODES = {
    RejectReason.TOO_LARGE: "payload_too_large",
    RejectReason.UNKNOWN_KIND: "unsupported_media_type",
}


def problem_of_image(error: Exception, *, field: str = "image") -> Problem | None:
    """Return the problem of an image write's error, ``None`` for other errors.

    ``field`` is the field of the file in the body, and what the sentences call the file.
    """
    if isinstance(error, editing.NoSuchProduct | editing.NoSuchImage):
        return Problem("not_found")
    if isinstance(error, StorageFailed):
        detail = f"The {field} could not be stored; nothing was changed. Try again shortly."
        return Problem("unavailable", detail, retry_after=RETRY_AFTER)
    if isinstance(error, DecoderBusy):
        detail = f"Too many {field}s are being uploaded; nothing was changed. Try again shortly."
        return Problem("unavailable", detail, retry_after=RETRY_AFTER)
    if isinstance(error, InvalidImage):
        error_code = _ERROR_CODES.get(error.reason)
        if error_code:
            return Problem(error_code, str(error))
        found = FieldError(f"#/{field}", error.reason, str(error))
        return Problem("validation_error", errors=[found])
    return None


@contextmanager
def image_problems(
    problem_of: Callable[[Exception], Problem | None] = problem_of_image,
) -> Iterator[None]:
    """Raise the errors of image writes as problems."""
    try:
        yield
    except Exception as error:
        problem = problem_of(error)
        if problem is None:
            raise
        raise problem from None
