"""README.md and docs/*.md: links, paths, modules and the example of the tally are right."""

from __future__ import annotations

import datetime
import importlib.util
import re
from pathlib import Path

import pytest
from django.db import migrations

from catalog.completeness import DEFAULT_RULE
from dashboard.numbers import StatsQuery, stats
from tests.factories import (
    CertificationAssignmentFactory,
    OfferFactory,
    OrganizationFactory,
    ProductFactory,
    ProductImageFactory,
)
from tests.project_files import PROJECT, files

# A test module, or a test in it, as pytest names them.
TEST = re.compile(r"`tests/(test_\w+)\.py(?:::(\w+))?`")
PAGES = sorted(files("README.md", "docs/*.md"))
# Where the paths and modules that they name begin.
ROOTS = {path.relative_to(PROJECT).parts[0] for path in files()}
# The words in the names of the project's files.
FILE_WORDS = {word for path in files() for word in re.findall(r"[A-Za-z_]+", path.name)}
# The pages that describe the code.
CODE_PAGES = ["architecture.md", "contributing.md"]
PACKAGES = ("benchmarks", "catalog", "certifications", "closient", "dashboard", "offers", "tests")


def code_of(page: Path) -> list[str]:
    """Everything that a page sets in code: inline, and the words of its blocks."""
    text = page.read_text()
    blocks = re.findall(r"^```.*?\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S))
    return [*inline, *(word for block in blocks for word in block.split())]


def paths_of(page: Path) -> set[str]:
    """The paths that a page names: they start with a file or folder of the project's root."""
    words = {word.rstrip(",.:;") for text in code_of(page) for word in text.split()}
    return {
        word
        for word in words
        if re.fullmatch(r"[\w.][\w./*-]*", word)
        and (word.partition("/")[0] in ROOTS if "/" in word else word in ROOTS)
    }


def modules_of(page: Path) -> set[str]:
    """The dotted names below one of the project's packages that a page names."""
    name = re.compile(rf"\b(?:{'|'.join(PACKAGES)})(?:\.\w+)+\b(?!/)")
    return {found for text in code_of(page) if "/" not in text for found in name.findall(text)}


def is_importable(name: str) -> bool:
    """Whether a dotted name is a module, or an attribute of one (of a class, too)."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        module = ".".join(parts[:count])
        try:
            found = importlib.util.find_spec(module)
        except ModuleNotFoundError:
            continue
        if found is not None:
            value: object = importlib.import_module(module)
            for attribute in parts[count:]:
                if not hasattr(value, attribute):
                    return False
                value = getattr(value, attribute)
            return True
    return False


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text())
    local = [link for link in links if "://" not in link]
    assert [link for link in local if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_paths_exist(page: Path) -> None:
    missing = [path for path in sorted(paths_of(page)) if not any(PROJECT.glob(path.rstrip("/")))]
    assert missing == []


@pytest.mark.parametrize("name", CODE_PAGES)
def test_code_pages_name_paths(name: str) -> None:
    # Otherwise the test above checks nothing.
    assert len(paths_of(PROJECT / "docs" / name)) > 20


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_modules_exist(page: Path) -> None:
    assert [name for name in sorted(modules_of(page)) if not is_importable(name)] == []


@pytest.mark.parametrize("name", CODE_PAGES)
def test_names_occur_in_the_code(name: str) -> None:
    text = (PROJECT / "docs" / name).read_text()
    inline = re.findall(r"`([\w.]+(?:\(\))?)`", text)
    named = {word for code in inline for word in re.findall(r"[A-Za-z_]{4,}", code)}
    sources = "\n".join(path.read_text() for path in files("*.py", "*.toml"))
    known = {*re.findall(r"[A-Za-z_]+", sources), *dir(migrations), *FILE_WORDS}
    assert sorted(named - known) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_tests_exist(page: Path) -> None:
    missing = []
    for module, name in TEST.findall(page.read_text()):
        file = PROJECT / "tests" / f"{module}.py"
        defined = re.findall(r"^def (test_\w+)", file.read_text(), re.M) if file.exists() else []
        if not defined or (name and name not in defined):
            missing.append((module, name))
    assert missing == []


def test_quality_page_names_tests() -> None:
    # Otherwise the test above checks nothing.
    named = TEST.findall((PROJECT / "docs" / "quality.md").read_text())
    assert sum(bool(name) for _, name in named) > 60


def test_docs_show_every_image() -> None:
    shown = {
        (page.parent / path).resolve()
        for page in PAGES
        for path in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", page.read_text())
    }
    assert shown == set(files("docs/images/*"))


@pytest.mark.django_db
def test_example_of_the_tally_shows_the_real_averages() -> None:
    page = (PROJECT / "docs" / "architecture.md").read_text()
    steps = [int(average) for average in re.findall(r"^\|.*\baverage (\d+)%", page, re.MULTILINE)]
    organization = OrganizationFactory()

    def average(day: datetime.date = datetime.date(2026, 11, 28)) -> int:
        return stats(StatsQuery(organization.pk, DEFAULT_RULE, day)).avg_completeness

    product = ProductFactory(
        organization=organization,
        name="Oat drink",
        description="A drink made of oats.",
        category="Drinks",
        country_of_origin="DE",
        nutrition={"nutrients": [{"name": "fat", "unit": "g", "amount": "1"}]},
    )
    shown = [average()]
    ProductImageFactory(product=product)
    shown.append(average())
    CertificationAssignmentFactory(
        product=product,
        valid_from=datetime.date(2026, 1, 1),
        expiry_date=datetime.date(2026, 12, 31),
    )
    shown.append(average())
    OfferFactory(product=product, status="active")
    shown.append(average())
    assert shown == steps == [60, 75, 80, 90]
    assert average(datetime.date(2027, 1, 1)) == 85
    assert "the average at 85%" in page
