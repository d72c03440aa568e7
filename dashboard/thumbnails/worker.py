"""The worker's side of thumbnails: takes what is due, and makes it.

Pictures on other servers are fetched, uploaded ones are read from the storage; both are decoded by
the code that decodes uploads, whatever they claim to be. One picture is in memory at a time for
each caller.
"""

from __future__ import annotations

import logging
import threading
from datetime import timedelta

from django.db import InterfaceError, OperationalError

from catalog.images.reencoding import DecoderBusy, InvalidImage, RejectReason, make_thumbnail
from catalog.images.storage import StorageFailed, discard, storage, store
from catalog.models import ProductImage
from dashboard.imports.sources.fetch import CannotFetch, FetchFailed, FetchStopped
from dashboard.thumbnails import fetch, schedule
from offers.url_checks.schedule.host_limits import SlotUnavailable

logger = logging.getLogger("dashboard.thumbnails")

# How long a thumbnail waits that this machine cannot make now.
POSTPONED = timedelta(minutes=1)
FILE_MISSING = "The file of the image is missing in the storage: upload the image again."
INTERNAL_ERROR = "The thumbnail failed because of an error in the service, which is in its log."


class ThumbnailMaker:
    """Makes thumbnails one after the other; any number of makers and workers share the work.

    Each scan looks at up to ``max_hosts`` hosts.
    """

    def __init__(self, max_hosts: int = schedule.MAX_SCANNED_HOSTS) -> None:
        self._max_hosts = max_hosts
        # The host after which the next scan begins, and whether the current round over all hosts
        # has found anything to do.
        self._after: str | None = None
        self._has_found = False

    def make_next(self, stop: threading.Event) -> bool:
        """Make a thumbnail; return whether to call it again at once.

        The hosts follow each other, so each gets its turn. When ``stop`` is set, the fetch ends
        and its image is due again.
        """
        scanned = schedule.scan_hosts(self._after, self._max_hosts)
        for host in fetch.free_hosts(scanned.due):
            if stop.is_set():
                return False
            image = schedule.claim(host)
            if image is not None:
                self._after, self._has_found = host, True
                make(image, stop)
                return True
        self._after = scanned.after
        if self._after is not None:
            return True
        # The next round begins at once unless this one was in vain.
        has_found, self._has_found = self._has_found, False
        return has_found


def make(image: ProductImage, stop: threading.Event) -> None:
    """Make the thumbnail of a claimed image, or save why that fails."""
    try:
        outcome = _make(image, stop)
    except (FetchFailed, InvalidImage) as failure:
        problem = _problem(image, failure)
        delay = schedule.fail(image, problem, getattr(failure, "retry_after", None))
        outcome = f"failed, {'given up' if delay is None else f'again in {delay}'}: {problem}"
    except FileNotFoundError:
        schedule.fail(image, FILE_MISSING)
        outcome = "failed: the file is missing"
    except FetchStopped:
        schedule.release(image)
        outcome = "stopped, and due again"
    except SlotUnavailable as error:
        schedule.release(image, timedelta(seconds=error.wait))
        outcome = "postponed: no free slot at its host"
    except (CannotFetch, DecoderBusy, StorageFailed) as error:
        schedule.release(image, POSTPONED)
        outcome = f"postponed: {type(error).__name__}"
    except (InterfaceError, OperationalError):
        raise
    # Each storage raises its own exceptions.
    except Exception:
        logger.exception("thumbnail of %s: failed", image.pk)
        schedule.fail(image, INTERNAL_ERROR)
        return
    logger.info("thumbnail of %s: %s", image.pk, outcome)


def _problem(image: ProductImage, failure: FetchFailed | InvalidImage) -> str:
    """Return why an attempt failed; a picture on another server cannot be uploaded again."""
    sentence = str(failure)
    is_damaged = isinstance(failure, InvalidImage) and failure.reason is RejectReason.DAMAGED
    if image.external_url and is_damaged:
        return f"{sentence.partition(':')[0]}: replace the file at its address."
    return sentence


def _make(image: ProductImage, stop: threading.Event) -> str:
    content = fetch.fetch_picture(image.external_url, stop) if image.external_url else _read(image)
    thumbnail = make_thumbnail(content)
    name = store(thumbnail.picture)
    is_saved = False
    try:
        is_saved = schedule.end(image, name, thumbnail, len(content))
    except (InterfaceError, OperationalError):
        # It may have been saved: at worst the file is an orphan.
        is_saved = True
        raise
    finally:
        if not is_saved:
            discard(name)
    return "made" if is_saved else "dropped: the image was changed meanwhile"


def _read(image: ProductImage) -> bytes:
    with storage().open(image.image.name) as file:
        content: bytes = file.read()
    return content
