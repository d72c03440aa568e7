"""Backups: a restore drill, and what happens when a backup fails."""

from __future__ import annotations

import datetime
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests import programs
from tests.postgres_cluster import Cluster, as_postgres, give_to_postgres
from tests.project_files import PROJECT
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(programs.find("initdb") is None, reason=programs.reason("initdb")),
]

ROLE = "closient_backup"
TIMEOUT_SECONDS = 120.0

# Creates products until it is stopped, and prints the GTIN of each that is committed.
WRITER = """
import sys, django
django.setup()
from closient.accounts.models import Organization
from tests.factories import ProductFactory, gtin
organization = Organization.objects.get(name="Writers")
number = int(sys.argv[1])
while True:
    number += 1
    ProductFactory(organization=organization, gtin=gtin(number))
    print(gtin(number), flush=True)
"""
IMAGES = """
import django
django.setup()
from django.core.files.base import ContentFile
from catalog.models import Product, ProductImage
for number, product in enumerate(Product.objects.filter(organization__name="Writers")[:5]):
    image = ProductImage(product=product, organization=product.organization)
    image.image.save("picture.png", ContentFile(b"picture %d" % number), save=False)
    ProductImage.objects.bulk_create([image])
"""


class Backup:
    """The script, with a new folder."""

    def __init__(self, folder: Path, cluster: Cluster, media: Path) -> None:
        self.folder = folder
        # The account that runs PostgreSQL may not be able to read the project.
        self.script = folder.parent / "backup.sh"
        shutil.copy(PROJECT / "closient" / "backup" / "backup.sh", self.script)
        self.environment = {
            "PATH": os.environ["PATH"],
            "PGHOST": "127.0.0.1",
            "PGPORT": str(cluster.port),
            "PGUSER": ROLE,
            "BACKUP_FOLDER": str(folder),
            "BACKUP_MEDIA": str(media),
            "BACKUP_MEDIA_INTERVAL": "1",
        }

    def start(self, *words: str | Path, **variables: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*as_postgres(), str(self.script), *map(str, words)],
            cwd="/",
            env=self.environment | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *words: str | Path, **variables: str) -> tuple[int, str]:
        """Return the exit status and the output."""
        process = self.start(*words, **variables)
        output, _ = process.communicate(timeout=TIMEOUT_SECONDS)
        return process.returncode, output

    def names(self) -> list[str]:
        return [line.split()[0] for line in self.run("list")[1].splitlines()]

    @contextmanager
    def running(self, **variables: str) -> Iterator[subprocess.Popen[str]]:
        """Run it as a service for a block."""
        process = self.start("run", **variables)
        try:
            yield process
        finally:
            process.terminate()
            process.communicate(timeout=TIMEOUT_SECONDS)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that the account of PostgreSQL can reach."""
    path = Path(tempfile.mkdtemp(prefix="closient-backup-"))
    give_to_postgres(path)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def cluster(folder: Path) -> Iterator[Cluster]:
    created = Cluster(folder / "data")
    created.create()
    with created.running():
        with created.connect("postgres") as connection:
            connection.execute(f"CREATE ROLE {ROLE} LOGIN REPLICATION")
            connection.execute("CREATE DATABASE closient")
        yield created


@pytest.fixture
def backup(folder: Path, cluster: Cluster) -> Backup:
    media = folder / "media"
    media.mkdir(mode=0o755)
    give_to_postgres(media)
    return Backup(folder / "backups", cluster, media)


def variables(cluster: Cluster, backup: Backup) -> dict[str, str]:
    return {
        **os.environ,
        "DATABASE_URL": cluster.url(),
        "MEDIA_ROOT": backup.environment["BACKUP_MEDIA"],
        "DJANGO_SETTINGS_MODULE": "closient.settings",
    }


def manage(cluster: Cluster, backup: Backup, *words: str) -> str:
    return subprocess.run(
        [sys.executable, *words],
        cwd=PROJECT,
        env=variables(cluster, backup),
        check=True,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS * 2,
    ).stdout


@contextmanager
def writing(cluster: Cluster, backup: Backup, first: int) -> Iterator[Path]:
    """Write products for a block, which gets the file of their GTINs."""
    path = backup.folder.parent / f"written-{first}"
    with path.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(first)],
            cwd=PROJECT,
            env=variables(cluster, backup),
            stdout=file,
        )
    try:
        yield path
    finally:
        process.terminate()
        process.wait(TIMEOUT_SECONDS)


def lines(path: Path) -> set[str]:
    # The last line may be incomplete.
    return set(path.read_text().split("\n")[:-1])


def is_received(cluster: Cluster) -> bool:
    """Return whether the backup has all of the log that was written until now."""
    return bool(
        cluster.value(
            "SELECT coalesce(max(flush_lsn) >= %s::pg_lsn, false) FROM pg_stat_replication "
            "WHERE application_name = 'pg_receivewal'",
            cluster.value("SELECT pg_current_wal_lsn()"),
        )
    )


def test_deleted_products_come_back_and_no_write_is_lost(cluster: Cluster, backup: Backup) -> None:
    manage(cluster, backup, "manage.py", "migrate")
    manage(cluster, backup, "manage.py", "seed_demo", "--products", "700")
    manage(cluster, backup, "manage.py", "create_organization", "Writers")
    with backup.running() as service, writing(cluster, backup, 1_000_000) as written:
        wait_until(backup.names)
        wait_until(lambda: len(lines(written)) > 50)
        manage(cluster, backup, "-c", IMAGES)
        before = lines(written)
        until: datetime.datetime = cluster.value("SELECT clock_timestamp()")
        deleted = cluster.value(
            "WITH gone AS (DELETE FROM catalog_product USING accounts_organization AS o "
            "WHERE organization_id = o.id AND o.name = 'Demo Foods' RETURNING 1) "
            "SELECT count(*) FROM gone"
        )
        assert deleted == 700
        with writing(cluster, backup, 2_000_000) as later:
            wait_until(lambda: lines(later))
        wait_until(lambda: is_received(cluster))
        images = set(Path(backup.environment["BACKUP_MEDIA"]).rglob("*.png"))
        wait_until(
            lambda: len(list((backup.folder / "media").rglob("*.png"))) == len(images),
        )
        assert service.poll() is None
    status, output = backup.run("check")
    assert status == 0, output

    restored = Cluster(backup.folder.parent / "restored")
    status, output = backup.run("restore", restored.folder, "--until", until.isoformat())
    assert status == 0, output
    with restored.running():
        wait_until(lambda: not restored.value("SELECT pg_is_in_recovery()"))
        assert "0 differences" in manage(restored, backup, "manage.py", "audit_tally")
        assert (
            restored.value(
                "SELECT count(*) FROM catalog_product AS p JOIN accounts_organization AS o "
                "ON organization_id = o.id WHERE o.name = 'Demo Foods'"
            )
            == 700
        )
        found = restored.value(
            "SELECT array_agg(gtin) FROM catalog_product AS p JOIN accounts_organization AS o "
            "ON organization_id = o.id WHERE o.name = 'Writers'"
        )
        assert len(found) == len(set(found))
        assert before <= set(found)
        assert not lines(later) & set(found)
        with restored.connect() as connection:
            names = connection.execute("SELECT image FROM catalog_productimage WHERE image <> ''")
            files = [backup.folder / "media" / name for (name,) in names]
        assert sorted(file.read_bytes() for file in files) == [
            b"picture %d" % number for number in range(5)
        ]


@pytest.mark.campaign
def test_restored_database_is_backed_up_and_restored_again(
    cluster: Cluster, backup: Backup
) -> None:
    def add_place(server: Cluster, name: str) -> None:
        with server.connect() as connection:
            connection.execute("INSERT INTO place (name) VALUES (%s)", (name,))

    with cluster.connect() as connection:
        connection.execute("CREATE TABLE place (name text)")
    with backup.running():
        wait_until(backup.names)
        until: datetime.datetime = cluster.value("SELECT clock_timestamp()")
        add_place(cluster, "after the first restore's time")
        wait_until(lambda: is_received(cluster))
    first = Cluster(backup.folder.parent / "first")
    assert backup.run("restore", first.folder, "--until", until.isoformat())[0] == 0
    with first.running():
        wait_until(lambda: not first.value("SELECT pg_is_in_recovery()"))
        again = Backup(backup.folder.parent / "again", first, backup.folder.parent / "media")
        with again.running():
            wait_until(again.names)
            add_place(first, "after the second backup")
            wait_until(lambda: is_received(first))
    second = Cluster(backup.folder.parent / "second")
    status, output = again.run("restore", second.folder)
    assert status == 0, output
    with second.running():
        wait_until(lambda: not second.value("SELECT pg_is_in_recovery()"))
        assert second.value("SELECT string_agg(name, ', ') FROM place") == "after the second backup"


@pytest.mark.campaign
def test_backup_that_is_killed_never_looks_complete(cluster: Cluster, backup: Backup) -> None:
    # Slow enough to be killed.
    with cluster.connect() as connection:
        connection.execute(
            "CREATE TABLE filler AS SELECT repeat(md5(n::text), 60) FROM "
            "generate_series(1, 60000) AS n"
        )
    process = backup.start("once")
    wait_until((backup.folder / "base" / ".unfinished" / "data").exists)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=TIMEOUT_SECONDS)
    assert (backup.folder / "base" / ".unfinished").exists()
    assert backup.names() == []
    status, output = backup.run("restore", backup.folder.parent / "restored")
    assert status == 1
    assert "no base backup" in output.lower()
    # The next one removes what is left of it.
    assert backup.run("once")[0] == 0
    assert len(backup.names()) == 1
    assert not (backup.folder / "base" / ".unfinished").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
@pytest.mark.parametrize(
    ("size", "sentence"),
    [
        ("12m", "The disk of {} is too full: a base backup takes about"),
        # Enough for the databases, too small for the log that is written with them.
        ("36m", "The base backup failed: see the lines above."),
    ],
)
@pytest.mark.campaign
def test_full_disk_is_a_sentence_and_leaves_no_backup(
    cluster: Cluster, backup: Backup, size: str, sentence: str
) -> None:
    backup.folder.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=777", "tmpfs", backup.folder], check=True
    )
    try:
        status, output = backup.run("once")
        assert status == 1
        assert sentence.format(backup.folder) in output
        assert backup.names() == []
        assert list((backup.folder / "base").iterdir()) == []
    finally:
        subprocess.run(["umount", backup.folder], check=True)


def test_two_backups_do_not_run_at_once(cluster: Cluster, backup: Backup) -> None:
    with backup.running():
        wait_until(backup.names)
        status, output = backup.run("once")
        assert (status, output) == (1, f"backup: Another backup is running in {backup.folder}.\n")


def switch(cluster: Cluster) -> None:
    """Write to the log and end its segment."""
    cluster.value("SELECT txid_current()")
    cluster.value("SELECT pg_switch_wal()")


@pytest.mark.campaign
def test_missing_log_and_damaged_files_are_found(cluster: Cluster, backup: Backup) -> None:
    with backup.running():
        wait_until(backup.names)
        for _ in range(4):
            switch(cluster)
        wait_until(lambda: is_received(cluster))
    status, output = backup.run("check")
    assert status == 0, output
    segments = sorted((backup.folder / "wal").glob("?" * 24))
    kept = segments[-2].rename(backup.folder / "kept")
    status, output = backup.run("check")
    assert status == 1
    assert f"The log between {segments[-3].name} and {segments[-1].name} is missing." in output
    kept.rename(segments[-2])
    assert backup.run("check")[0] == 0
    [name] = backup.names()
    damaged = backup.folder / "base" / name / "data" / "PG_VERSION"
    damaged.write_text("99\n")
    status, output = backup.run("check")
    assert status == 1
    assert f"{name} is damaged." in output


@pytest.mark.campaign
def test_only_the_newest_backups_and_their_log_are_kept(cluster: Cluster, backup: Backup) -> None:
    picture = Path(backup.environment["BACKUP_MEDIA"]) / "picture.png"
    picture.write_bytes(b"picture")
    with backup.running(BACKUP_INTERVAL="1", BACKUP_KEEP="2"):
        wait_until(backup.names)
        first = backup.names()[0]
        manifest = (backup.folder / "base" / first / "manifest").read_text()
        segment = manifest.partition("wal ")[2].split()[0]
        copy = backup.folder / "media" / "picture.png"
        wait_until(copy.exists)
        picture.unlink()
        for _ in range(3):
            switch(cluster)
        wait_until(lambda: not copy.exists())
    assert first not in backup.names()
    assert 1 <= len(backup.names()) <= 2
    assert not (backup.folder / "wal" / segment).exists()
    status, output = backup.run("check")
    assert status == 0, output


@pytest.mark.campaign
def test_lost_slot_is_reported_and_a_new_backup_is_made(cluster: Cluster, backup: Backup) -> None:
    with backup.running():
        wait_until(backup.names)
    with cluster.connect() as connection:
        connection.execute("ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'")
        connection.execute("SELECT pg_reload_conf()")
    for _ in range(4):
        switch(cluster)
    with cluster.connect() as connection:
        connection.execute("CHECKPOINT")
    assert cluster.value("SELECT wal_status FROM pg_replication_slots") == "lost"
    with backup.running() as service:
        wait_until(lambda: len(backup.names()) == 2)
        wait_until(lambda: is_received(cluster))
        assert service.poll() is None
    status, output = backup.run("check")
    assert status == 1
    assert "is missing" in output
    newest: Any = backup.names()[-1]
    status, output = backup.run("restore", backup.folder.parent / "restored", "--backup", newest)
    assert status == 0, output


def test_health_needs_a_receiver_and_a_new_backup(cluster: Cluster, backup: Backup) -> None:
    with backup.running():
        wait_until(backup.names)
        assert backup.run("health") == (0, "")
        status, output = backup.run("health", BACKUP_INTERVAL="-9000")
        assert (status, "The newest base backup is" in output) == (1, True)
    wait_until(lambda: not cluster.value("SELECT active FROM pg_replication_slots"))
    assert backup.run("health") == (1, "backup: The write-ahead log is not being received.\n")


def test_role_may_only_replicate(cluster: Cluster, backup: Backup) -> None:
    script = PROJECT / "closient" / "backup" / "create_role.sh"
    password = backup.folder.parent / "password"
    environment = {
        "PATH": os.environ["PATH"],
        "PGHOST": "127.0.0.1",
        "PGPORT": str(cluster.port),
        "PGDATA": str(cluster.folder),
        "POSTGRES_USER": "closient",
        "POSTGRES_DB": "closient",
        "BACKUP_PASSWORD_FILE": str(password),
    }
    for text in ("it's one", "another"):
        password.write_text(text)
        subprocess.run([script], env=environment, check=True)
    rules = (cluster.folder / "pg_hba.conf").read_text()
    assert rules.count("\nhost replication closient_backup all scram-sha-256\n") == 1
    with cluster.connect() as connection:
        role = connection.execute(
            "SELECT rolcanlogin, rolreplication, rolsuper, rolcreatedb, rolcreaterole, "
            "rolbypassrls FROM pg_roles WHERE rolname = %s",
            [ROLE],
        ).fetchone()
    assert role == (True, True, False, False, False, False)
    # Of all rules only this one is left, so the password is checked.
    (cluster.folder / "pg_hba.conf").write_text(
        "host all all all scram-sha-256\nhost replication closient_backup all scram-sha-256\n"
    )
    with cluster.connect() as connection:
        connection.execute("SELECT pg_reload_conf()")
    status, output = backup.run("once", BACKUP_PASSWORD_FILE=str(password))
    assert status == 0, output
    password.write_text("wrong")
    status, output = backup.run("once", BACKUP_PASSWORD_FILE=str(password))
    assert status == 1
    assert "password authentication failed" in output


def test_wrong_arguments_are_sentences(cluster: Cluster, backup: Backup) -> None:
    target = backup.folder.parent / "restored"
    assert "There is no base backup" in backup.run("check")[1]
    assert backup.run("once")[0] == 0
    occupied = backup.folder
    for words, sentence in (
        (("restore", occupied), f"{occupied} is not empty"),
        (("restore", target, "--until", "soon"), "soon is not a time such as"),
        (("restore", target, "--until", "2001-01-01"), "No base backup ended before 2001-01-01"),
        (("restore", target, "--backup", "other"), "There is no base backup other"),
        (("restore",), "Name the empty folder"),
        (("destroy",), "destroy is not a command"),
    ):
        status, output = backup.run(*words)
        assert status == 1
        assert sentence in output
    status, output = backup.run("once", PGPORT="1")
    assert status == 1
    assert "does not respond" in output
