"""The commands and the SQL of the operators' pages work word for word."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from django.core.management import get_commands, load_command_class
from django.db import connection, transaction
from django.utils import timezone

from offers.models import CheckedHost
from offers.url_checks.schedule.host_limits import delete_idle_hosts
from tests.project_files import PROJECT

PAGES = ("runbook.md", "security.md", "backup.md")
# What stands for a value, and a value.
VALUES = {"ORGANIZATION": "2" * 22, "EMAIL": "a@example.com", "NUMBER": "0001"}


def texts() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        yield page, (PROJECT / "docs" / page).read_text()


def statements() -> list[str]:
    return [
        statement.strip()
        for _, text in texts()
        for block in re.findall(r"^ *```sql\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)
        for statement in block.split(";")
        if statement.strip()
    ]


def commands() -> list[str]:
    pattern = r"`manage\.py ([^`\n]+)`|^(?:closient|docker .* manage\.py) (.+)$"
    found = {
        inline or line
        for _, text in texts()
        for inline, line in re.findall(pattern, text, re.MULTILINE)
    }
    return sorted(found)


@pytest.mark.django_db
@pytest.mark.parametrize("statement", statements())
def test_statement_runs(statement: str) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)


@pytest.mark.parametrize("command", commands())
def test_command_and_its_options_exist(command: str) -> None:
    name, *words = command.split()
    if name == "loaddata":
        # The page names it without its file.
        words = ["rows.json"]
    loaded = load_command_class(get_commands()[name], name)
    loaded.create_parser("manage.py", name).parse_args([VALUES.get(word, word) for word in words])


def test_there_are_statements_and_commands() -> None:
    assert len(statements()) > 5
    assert "compact_tally" in commands()


@pytest.mark.django_db
def test_paused_host_stays_paused() -> None:
    [pause] = [statement for statement in statements() if "offers_checkedhost" in statement]
    with connection.cursor() as cursor:
        cursor.execute(pause)
        cursor.execute("UPDATE offers_checkedhost SET next_start_at = now() - interval '30 days'")
    delete_idle_hosts()
    host = CheckedHost.objects.get(host="shop.example.com")
    assert host.paused_until
    assert (host.paused_until - timezone.now()).days > 300
