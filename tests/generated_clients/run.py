"""Generates clients from the OpenAPI document and uses each against the running service.

Run by `make client-check`, in the service's own environment. The service is a real one with a
private database, as `make run` starts it; it is stopped and its data removed at the end.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TOOLS = HERE / ".venv" / "bin"
GENERATED = HERE / "generated"
TIMEOUT_SECONDS = 300


def main() -> int:
    """Return the exit status: 0 when everything that was generated works."""
    shutil.rmtree(GENERATED, ignore_errors=True)
    GENERATED.mkdir()
    # Readable for the database's own user where this one is root.
    with tempfile.TemporaryDirectory(prefix="dashboard-clients-") as folder:
        Path(folder).chmod(0o755)
        with service(Path(folder)) as world:
            return check(world)


def check(world: dict[str, str]) -> int:
    """Generate all clients, then use them one after the other; return the exit status."""
    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(run, GENERATORS.items()))
    if not all(made):
        return 1
    used = [run(item, **world) for item in USES.items()]
    return 0 if all(used) else 1


NPM = [str(TOOLS / "npm"), "run", "--silent"]
PYTHON = str(TOOLS / "python")
GENERATORS: dict[str, list[str]] = {
    "openapi-generator": [
        *(str(TOOLS / "openapi-generator-cli"), "generate", "--input-spec", "openapi.json"),
        *("--generator-name", "python", "--output", "openapi_generator"),
        "--additional-properties=packageName=dashboard_client",
        "--global-property=models,apis,supportingFiles",
        "--global-property=apiTests=false,modelTests=false,apiDocs=false,modelDocs=false",
    ],
    "openapi-typescript, @hey-api/openapi-ts, orval": [*NPM, "generate"],
    "openapi-python-client": [
        *(str(TOOLS / "openapi-python-client"), "generate", "--path", "openapi.json"),
        *("--output-path", "python_client", "--meta", "none", "--fail-on-warning"),
        *("--config", "../openapi-python-client.yaml"),
    ],
    "Redocly and Spectral": [*NPM, "lint"],
}
USES: dict[str, list[str]] = {
    "TypeScript compiles": [*NPM, "compile"],
    "TypeScript is bundled": [*NPM, "bundle"],
    "openapi-typescript with openapi-fetch": [
        str(TOOLS / "node"),
        "generated/bundles/openapi_fetch.mjs",
    ],
    "@hey-api/openapi-ts": [str(TOOLS / "node"), "generated/bundles/hey_api.mjs"],
    "orval": [str(TOOLS / "node"), "generated/bundles/orval.mjs"],
    "openapi-python-client": [PYTHON, "use_openapi_python_client.py"],
    "openapi-generator (Python)": [PYTHON, "use_openapi_generator.py"],
}
IN_GENERATED = ("openapi-generator", "openapi-python-client")


def run(item: tuple[str, list[str]], **variables: str) -> bool:
    """Run a command, print how long it took, and what it said if it failed."""
    name, command = item
    start = time.monotonic()
    done = subprocess.run(
        command,
        cwd=GENERATED if name in IN_GENERATED and not variables else HERE,
        env={
            **os.environ,
            "PATH": f"{TOOLS}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join([str(GENERATED), str(GENERATED / "openapi_generator")]),
            **variables,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    is_fine = done.returncode == 0
    print(f"{'ok' if is_fine else 'FAILED'}  {name} ({time.monotonic() - start:.0f} s)", flush=True)
    if not is_fine:
        print(done.stdout, flush=True)
    return is_fine


@contextmanager
def service(folder: Path) -> Iterator[dict[str, str]]:
    """Serve for a block, which gets the variables that tell a client where and with which key."""
    os.environ |= {
        # Not the developer's own settings.
        "ENV_FILE": "",
        "DJANGO_SETTINGS_MODULE": "closient.settings",
        "SECRET_KEY": "only-for-this-check-nothing-else-is-signed-with-it-0123456789",
        "DATA_FOLDER": str(folder),
        "DATABASE_URL": "",
        "ALLOW_EMBEDDED_POSTGRES": "1",
        "ALLOWED_HOSTS": "127.0.0.1",
        "DEBUG": "0",
        "HTTPS": "0",
        "LOG_LEVEL": "WARNING",
        "PYTHONWARNINGS": "ignore:No directory at:UserWarning",
        "SERVE_IMAGES": "1",
        "WEB_CONCURRENCY": "1",
    }
    sys.path.insert(0, str(ROOT))
    import django  # noqa: PLC0415

    django.setup()
    from django.core.management import call_command  # noqa: PLC0415

    from closient.accounts.api_keys import create_api_key  # noqa: PLC0415
    from closient.accounts.models import Organization  # noqa: PLC0415
    from closient.db.ids import format_id  # noqa: PLC0415
    from dashboard.demo.server import WebServer, reserve  # noqa: PLC0415

    call_command("migrate", verbosity=0)
    organization = Organization.objects.create(name="Example Foods")
    _, key = create_api_key(name="Generated clients", organization=organization, role="manager")
    with WebServer(reserve(0)) as server:
        status, document = server.get("/dashboard/api/v1/openapi.json", {})
        if status != 200:
            raise SystemExit(f"The OpenAPI document: {status} {document}")
        json.loads(document)
        (GENERATED / "openapi.json").write_text(document)
        yield {
            "DASHBOARD_URL": f"http://127.0.0.1:{server.port}",
            "DASHBOARD_KEY": key,
            "DASHBOARD_ORGANIZATION": format_id(organization.id),
        }


if __name__ == "__main__":
    sys.exit(main())
