"""Runs the commands of `docs/walkthrough.md` in order and compares the responses.

``WRITE_WALKTHROUGH=1`` writes the responses into the page first.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from closient.db.ids import ID_PATTERN
from tests.programs import need
from tests.servers import ROOT, environment, serving

pytestmark = pytest.mark.slow

PAGE = ROOT / "docs" / "walkthrough.md"
BLOCK = re.compile(r"^```(sh|json|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# Separates the outputs of two blocks; no command prints it.
END = "\x1e"
WIDTH = 110
# Values that differ in each run, by pattern.
VARIABLE_VALUES = [
    (re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z"), "<time>"),
    (re.compile(r"\d{4}-\d\d-\d\d"), "<date>"),
    (re.compile(r"127\.0\.0\.1:\d+"), "<host>"),
    (re.compile(r"/products/\d{4}/\d\d/[0-9a-f]{32}"), "/products/<file>"),
    (re.compile(rf"(?<![0-9A-Za-z]){ID_PATTERN}(?![0-9A-Za-z])"), "<id>"),
    (re.compile(r"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])"), "<request>"),
    (re.compile(r'(?<="prefix": ")[A-Za-z0-9]{8}(?=")'), "<prefix>"),
]


def blocks() -> list[tuple[str, str]]:
    """The page's blocks in order: commands (sh), and the responses that follow some of them."""
    return BLOCK.findall(PAGE.read_text())


def outputs(commands: list[str], port: int, env: dict[str, str]) -> list[str]:
    """Run commands in one shell, as a reader does; return the output of each."""
    script = f"\nprintf '{END}'\n".join(commands)
    script = script.replace(".venv/bin/python", f'"{sys.executable}"')
    script = script.replace("127.0.0.1:8000", f"127.0.0.1:{port}")
    response = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=ROOT,
        env=env,
        check=True,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert response.stderr == ""
    return response.stdout.split(END)


def shown(output: str) -> str:
    """An output as the page shows it: JSON is broken into short lines."""
    lines = output.replace("}{", "}\n{").splitlines()
    return "\n".join(pretty(json.loads(line)) if line.startswith("{") else line for line in lines)


def pretty(value: Any, indent: int = 0) -> str:
    """JSON with each object or list on one line if it fits."""
    line = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, (dict, list)) or len(line) + indent <= WIDTH:
        return line
    margin = " " * (indent + 2)
    if isinstance(value, dict):
        parts = [f"{json.dumps(k)}: {pretty(v, indent + 2)}" for k, v in value.items()]
    else:
        parts = [pretty(item, indent + 2) for item in value]
    first, last = ("{", "}") if isinstance(value, dict) else ("[", "]")
    inner = ",\n".join(f"{margin}{part}" for part in parts)
    return f"{first}\n{inner}\n{' ' * indent}{last}"


def settled(text: str) -> str:
    """A text without the values that differ in each run."""
    for pattern, name in VARIABLE_VALUES:
        text = pattern.sub(name, text)
    # Line breaks depend on the values that were replaced.
    return re.sub(r"\s+", " ", text)


@pytest.mark.usefixtures("transactional_db")
def test_walkthrough_shows_the_real_responses(tmp_path: Path) -> None:
    need("curl")
    page = blocks()
    places = [place for place, (kind, _) in enumerate(page) if kind == "sh"]
    variables = {"MEDIA_ROOT": str(tmp_path), "SERVE_IMAGES": "1", "TMPDIR": str(tmp_path)}
    with serving(**variables) as (port, _):
        responses = outputs([page[place][1] for place in places], port, environment(**variables))
    printed = {place: shown(response) for place, response in zip(places, responses, strict=True)}
    if os.environ.get("WRITE_WALKTHROUGH"):
        rewrite(page, printed, port)
        page = blocks()
    assert len(places) >= 18
    for place, response in printed.items():
        following = page[place + 1] if place + 1 < len(page) else ("sh", "")
        expected = following[1] if following[0] != "sh" else ""
        assert settled(response).strip() == settled(expected).strip(), page[place][1]


def rewrite(page: list[tuple[str, str]], printed: dict[int, str], port: int) -> None:
    """Write the responses into the page."""
    responses = iter(
        printed[place - 1].replace(f":{port}", ":8000")
        for place, (kind, _) in enumerate(page)
        if kind != "sh"
    )

    def filled(match: re.Match[str]) -> str:
        return match[0] if match[1] == "sh" else f"```{match[1]}\n{next(responses)}\n```"

    PAGE.write_text(BLOCK.sub(filled, PAGE.read_text()))
