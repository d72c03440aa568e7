"""The layout of the project: import order, module names and lock files."""

from __future__ import annotations

import ast
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.project_files import PROJECT, files

# Each package may import only packages of the lines above its own.
ORDER = [
    ["closient.embedded_postgres"],
    ["closient.text"],
    ["closient.db"],
    ["closient.cells"],
    ["closient.http"],
    ["closient.changes"],
    ["closient.tally"],
    ["closient.admin"],
    ["closient.periodic"],
    ["closient.accounts"],
    ["catalog"],
    ["offers", "certifications"],
    ["dashboard"],
]
MAY_IMPORT = {
    package: {lower for line in ORDER[:place] for lower in line}
    for place, line in enumerate(ORDER)
    for package in line
}
VAGUE_NAMES = {"utils", "util", "common", "core", "services", "selectors", "helpers", "misc"}


def modules_of(package: str) -> list[Path]:
    folder = package.replace(".", "/")
    return [path for path in files(f"{folder}/**.py") if "migrations" not in path.parts]


def imports_of(path: Path) -> Iterator[str]:
    """Yield the dotted names of all imports of a module, at any level."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


CHECKS = "offers.url_checks"
HTTP_CLIENTS = {
    "aiohttp",
    "http.client",
    "httpx",
    "pycurl",
    "requests",
    "socket",
    "urllib.request",
}


def all_imports_of(package: str) -> set[str]:
    """Return the imports of a package of the URL checker, direct and through its other modules."""
    found: set[str] = set()
    pending = modules_of(package)
    seen = set(pending)
    while pending:
        for name in imports_of(pending.pop()):
            found.add(name)
            if name.startswith(f"{CHECKS}."):
                path = PROJECT / f"{name.replace('.', '/')}.py"
                path = path if path.exists() else path.parent.with_suffix(".py")
                if path.exists() and path not in seen:
                    seen.add(path)
                    pending.append(path)
    return found


def imported_from(names: set[str], packages: set[str]) -> set[str]:
    return {name for name in names if any(f"{name}.".startswith(f"{each}.") for each in packages)}


def test_fetch_package_imports_no_models_and_no_database() -> None:
    names = all_imports_of(f"{CHECKS}.fetch")
    assert imported_from(names, HTTP_CLIENTS)
    wrong = {"django.db", "psycopg", "closient.db", "offers.models", "catalog", "closient.accounts"}
    assert imported_from(names, wrong) == set()


def test_schedule_package_imports_no_http_client() -> None:
    names = all_imports_of(f"{CHECKS}.schedule")
    assert imported_from(names, {"django.db"})
    clients = HTTP_CLIENTS | {f"{CHECKS}.fetch.client", f"{CHECKS}.fetch.connections"}
    assert imported_from(names, clients) == set()


def application_of(name: str) -> str | None:
    return next((app for app in MAY_IMPORT if f"{name}.".startswith(f"{app}.")), None)


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_run_one_way(package: str) -> None:
    modules = modules_of(package)
    assert modules
    wrong = [
        f"{path.relative_to(PROJECT)} imports {name}"
        for path in modules
        for name in imports_of(path)
        if application_of(name) not in {None, package, *MAY_IMPORT[package]}
    ]
    assert wrong == []


def test_pages_do_not_import_the_api() -> None:
    apis = {f"{package}.api" for package in MAY_IMPORT} | {"catalog.images.api"}
    names = {name for path in modules_of("dashboard.pages") for name in imports_of(path)}
    assert imported_from(names, apis) == set()


def test_modules_have_descriptive_names() -> None:
    names = {part.removesuffix(".py") for path in files("*.py") for part in path.parts}
    assert names & VAGUE_NAMES == set()


def test_files_contain_no_machine_paths() -> None:
    # Written so that it does not match this file.
    places = re.compile(r"/(?:home/\w+|wor[k]/|roo[t]/|User[s]/\w+|tmp/brief[s])|file[:]///")
    found = []
    for path in files():
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        found += [f"{path.relative_to(PROJECT)}: {match[0]}" for match in places.finditer(text)]
    assert found == []


@pytest.mark.parametrize(
    "lock",
    ["requirements.txt", "requirements-dev.txt", "tests/generated_clients/requirements.txt"],
)
def test_locks_pin_by_hash_and_name_no_index(lock: str) -> None:
    text = (PROJECT / lock).read_text()
    requirements = re.split(r"\n(?=\w)", text.split("make lock\n", 1)[1])
    assert len(requirements) > 10
    for requirement in requirements:
        assert re.match(r"[\w.-]+(\[[\w,]+\])?==\S+", requirement), requirement
        assert "--hash=sha256:" in requirement
    assert "://" not in text
    assert "--index-url" not in text


def test_npm_lock_pins_by_hash_and_names_no_registry() -> None:
    text = (PROJECT / "tests/generated_clients/package-lock.json").read_text()
    packages = json.loads(text)["packages"]
    assert len(packages) > 100
    for name, package in packages.items():
        assert name == "" or package["integrity"].startswith("sha512-"), name
    assert '"resolved"' not in text


def test_locks_contain_every_dependency() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    for lock, wanted in (
        ("requirements.txt", project["project"]["dependencies"]),
        ("requirements-dev.txt", project["dependency-groups"]["dev"]),
    ):
        pinned = set(re.findall(r"^([\w.-]+)(?:\[.*\])?==", (PROJECT / lock).read_text(), re.M))
        names = {re.split(r"[\[<>=~! ]", name, maxsplit=1)[0].lower() for name in wanted}
        assert {re.sub(r"[-_.]+", "-", name) for name in names} - pinned == set()
