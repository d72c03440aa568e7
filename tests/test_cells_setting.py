"""The setting CELLS, and a service without it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from closient.accounts.models import Organization
from closient.cells.fence import cell_models
from closient.cells.routing import cell_of, in_cell_of, in_directory, is_in_directory
from closient.db.ids import uuid7
from closient.db.tenancy import tenant_models
from closient.env import read_cells
from tests.servers import ROOT, environment

NORTH = "postgres://user:a=b@/closient?host=10.0.0.1,10.0.0.2&port=5432,5432"
SOUTH = "postgresql://user@10.0.0.3/closient"


def test_urls_may_contain_several_hosts() -> None:
    assert read_cells(f"north={NORTH}, south={SOUTH}") == {"north": NORTH, "south": SOUTH}
    assert read_cells("") == {}


@pytest.mark.parametrize(
    "text",
    [
        SOUTH,
        f"North={SOUTH}",
        "north=mysql://user:secret@10.0.0.3/closient",
        f"default={SOUTH}",
        f"directory={SOUTH}",
        f"replica={SOUTH}",
        f"north={SOUTH},north={SOUTH}",
    ],
)
def test_wrong_values_are_rejected_without_showing_them(text: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"^CELLS ") as raised:
        read_cells(text)
    assert "secret" not in str(raised.value)
    assert "10.0.0.3" not in str(raised.value)


@pytest.mark.django_db
def test_cells_come_from_a_file_and_take_the_password_of_the_database(tmp_path: Path) -> None:
    file = tmp_path / "cells"
    file.write_text(f"north={NORTH},south={SOUTH}\n")
    script = (
        "from django.conf import settings\n"
        "for name in settings.CELLS:\n"
        "    cell = settings.DATABASES[name]\n"
        "    print(name, cell['PASSWORD'], cell['ENGINE'], cell['CONN_MAX_AGE'])"
    )
    printed = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=environment(
            DJANGO_SETTINGS_MODULE="closient.settings",
            DATABASE_URL="postgres://closient@127.0.0.1/closient",
            DATABASE_PASSWORD="secret",
            CELLS_FILE=str(file),
        ),
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert printed.splitlines() == [
        "north a=b closient.db.postgresql 600",
        "south secret closient.db.postgresql 600",
    ]


def test_without_cells_nothing_is_queried() -> None:
    # This test has no access to the database.
    assert settings.CELLS == {}
    with in_directory(), in_cell_of(uuid7()):
        assert is_in_directory()
    assert cell_of(uuid7()) == "default"


def test_all_rows_of_an_organization_but_its_members_are_in_its_cell() -> None:
    labels = {model._meta.label for model in cell_models()}
    tenants = {model._meta.label for model in tenant_models()}
    assert tenants - labels == {"accounts.Membership"}
    # Without a foreign key, which would delete row by row or forbid to audit what is left.
    assert labels - tenants == {
        "catalog.ProductSummary",
        "changes.CountChange",
        "changes.RowChange",
        "tally.Audit",
        "tally.PastEntry",
        "tally.TallyEntry",
    }


def test_rows_of_a_cell_need_no_rows_of_the_directory() -> None:
    here = {*cell_models(), Organization}
    constrained = {
        f"{model._meta.label}.{field.name}"
        for model in cell_models()
        for field in model._meta.concrete_fields
        if field.is_relation and field.db_constraint and field.related_model not in here
    }
    # Null for the keys of organizations.
    assert constrained == {"accounts.ApiKey.user"}
