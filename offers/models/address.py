"""The triggers that reset the check of an offer's URL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pgtrigger

from closient.db.triggers import UnconditionalTrigger
from offers.models.choices import Channel, UrlStatus

# The columns of a check for an unchecked URL, besides ``url_status`` (`unchecked`; NULL in a store)
# and ``url_check_at`` (now; NULL in a store). Written by the trigger below and by offers.editing.
UNCHECKED_STATE: Mapping[str, Any] = {
    "http_status": None,
    "url_checked_at": None,
    "url_failing_since": None,
    "url_detail": "",
    "url_strikes": 0,
    "url_struck_first_at": None,
    "url_struck_last_at": None,
}


def _literal(value: str | int | None) -> str:
    if value is None:
        return "NULL"
    return str(value) if isinstance(value, int) else f"'{value}'"


class ResetCheck(UnconditionalTrigger):
    """Makes a changed URL unchecked and due now, whatever changes it."""

    name = "reset_check"
    when = pgtrigger.Before
    operation = pgtrigger.Update
    condition = pgtrigger.Condition(
        "NEW.url IS DISTINCT FROM OLD.url OR NEW.channel IS DISTINCT FROM OLD.channel"
    )

    def get_func(self, model: Any) -> str:
        """Return the body, which resets every column of a check."""
        found = " ".join(f"NEW.{name} = {_literal(v)};" for name, v in UNCHECKED_STATE.items())
        return f"""
            {found}
            IF NEW.channel = {_literal(Channel.ONLINE.value)} THEN
                NEW.url_status = {_literal(UrlStatus.UNCHECKED.value)};
                NEW.url_check_at = pg_catalog.now();
            ELSE
                NEW.url_status = NULL;
                NEW.url_check_at = NULL;
            END IF;
            RETURN NEW;
        """


class StoreWithoutCheck(UnconditionalTrigger):
    """Clears ``url_check_at`` of a new offer in a store, which is never due."""

    name = "store_without_check"
    when = pgtrigger.Before
    operation = pgtrigger.Insert
    condition = pgtrigger.Condition(
        f"NEW.channel = {_literal(Channel.IN_STORE.value)} AND NEW.url_check_at IS NOT NULL"
    )

    def get_func(self, model: Any) -> str:
        """Return the body, which clears the due time."""
        return "NEW.url_check_at = NULL; RETURN NEW;"
