"""The private PostgreSQL, with real servers in separate folders."""

import contextlib
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import psycopg
import pytest

from closient import embedded_postgres
from closient.embedded_postgres import server as server_module
from closient.embedded_postgres.account import account_for
from closient.embedded_postgres.layout import ADMIN_ROLE, ROLE
from closient.embedded_postgres.programs import programs_folder
from closient.embedded_postgres.server import Server, ServerError

PROJECT = Path(__file__).resolve().parents[1]

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can run this as another user")

# A process that uses the server until its input ends.
USER = """
import sys
import psycopg
from closient.embedded_postgres.server import Server
server = Server(sys.argv[1])
server.ensure_running()
with psycopg.connect(**server.connection_parameters()) as connection:
    print(connection.execute("SELECT pg_postmaster_start_time()").fetchone()[0], flush=True)
sys.stdin.read()
"""


def as_user(user: pwd.struct_passwd) -> tuple[str, ...]:
    """Return the command of Python as a user, who may not have access to the interpreter."""
    reading = "+dac_read_search"
    return (
        *("setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"),
        *(f"--inh-caps={reading}", f"--ambient-caps={reading}", sys.executable),
    )


StartUser = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def new_folder(tmp_path: Path) -> Path:
    """Return a path for a new data folder."""
    return tmp_path / "data"


@pytest.fixture(scope="session")
def finished_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("postgres") / "data"
    with running(folder):
        return folder


@pytest.fixture
def data_folder(new_folder: Path, finished_folder: Path) -> Path:
    """Return a data folder with a cluster in it."""
    subprocess.run(["cp", "-a", finished_folder, new_folder], check=True)
    return new_folder


@pytest.fixture
def server(data_folder: Path) -> Iterator[Server]:
    with running(data_folder) as server:
        yield server


@pytest.fixture
def start_user() -> Iterator[StartUser]:
    """Return a function that starts a process using the server of a data folder."""
    users: list[subprocess.Popen[str]] = []

    def start(folder: Path, program: str = USER, *prefix: str) -> subprocess.Popen[str]:
        user = subprocess.Popen(
            [*(prefix or (sys.executable,)), "-c", program, str(folder)],
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        users.append(user)
        return user

    yield start
    for user in users:
        user.communicate(timeout=60)


@contextlib.contextmanager
def running(data_folder: Path) -> Iterator[Server]:
    server = Server(data_folder)
    server.ensure_running()
    try:
        yield server
    finally:
        server.stop()


def query(server: Server, statement: str) -> object:
    with psycopg.connect(**server.connection_parameters(), autocommit=True) as connection:
        cursor = connection.execute(statement)
        row = cursor.fetchone() if cursor.description else None
        return row[0] if row else None


def postmasters(data_folder: Path) -> list[psutil.Process]:
    """Return the PostgreSQL servers that were started with this data folder."""
    return [
        process
        for process in psutil.process_iter()
        if server_arguments(process)[1:2] == ["-D"]
        and {f"closient.cluster={data_folder / 'cluster'}", str(data_folder / "cluster")}
        & set(server_arguments(process))
    ]


def supervisors(data_folder: Path) -> list[psutil.Process]:
    return [
        process
        for process in psutil.process_iter()
        if server_arguments(process)[2:4]
        == ["closient.embedded_postgres.supervisor", str(data_folder)]
    ]


def wait_count(data_folder: Path) -> int:
    """Return how many times a supervisor has waited."""
    rounds = [0]
    for process in supervisors(data_folder):
        with contextlib.suppress(psutil.Error):
            rounds.append(process.num_ctx_switches().voluntary)
    return max(rounds)


def server_arguments(process: psutil.Process) -> list[str]:
    arguments: list[str] = []
    # A process that has ended has no arguments.
    with contextlib.suppress(psutil.Error):
        arguments = process.cmdline()
    return arguments


def wait_for(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, f"never came: {what}"
        time.sleep(0.02)


def first_line(user: "subprocess.Popen[str]") -> str:
    assert user.stdout is not None
    return user.stdout.readline()


def stop_user(user: "subprocess.Popen[str]") -> str:
    """Close a user's input, wait for it and return its standard error."""
    _, complaints = user.communicate(timeout=60)
    return complaints


def kill(*processes: psutil.Process) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def test_settings_start_and_create_nothing(new_folder: Path) -> None:
    program = (
        "import sys; from closient.embedded_postgres import database_settings;"
        " print(database_settings(sys.argv[1])['HOST'], 'django' in sys.modules)"
    )
    response = subprocess.run(
        [sys.executable, "-c", program, new_folder],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert response.stdout == f"{Server(new_folder).socket_folder} False\n"
    assert not new_folder.exists()


@pytest.mark.slow
def test_server_listens_only_on_its_socket(server: Server) -> None:
    assert query(server, "SELECT 1") == 1
    assert query(server, "SHOW listen_addresses") == ""
    assert query(server, "SHOW server_encoding") == "UTF8"
    assert query(server, "SHOW timezone") == "UTC"
    assert query(server, "SHOW fsync") == "on"
    for folder in (server.layout.root, server.layout.cluster, server.socket_folder):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.slow
def test_server_keeps_data_after_a_restart(data_folder: Path) -> None:
    with running(data_folder) as server:
        query(server, "CREATE TABLE kept AS SELECT 42 AS answer")
    assert postmasters(data_folder) == []
    with running(data_folder) as server:
        assert query(server, "SELECT answer FROM kept") == 42


@pytest.mark.slow
def test_django_connects_and_creates_test_databases(new_folder: Path) -> None:
    program = """
import sys
import django
from django.conf import settings
from closient.embedded_postgres import database_settings
settings.configure(DATABASES={"default": database_settings(sys.argv[1])})
django.setup()
from django.db import connection
with connection.cursor() as cursor:
    cursor.execute("SELECT current_database()")
    print(connection.vendor, cursor.fetchone()[0])
connection.creation.create_test_db(verbosity=0)
with connection.cursor() as cursor:
    cursor.execute("SELECT current_database()")
    print(cursor.fetchone()[0])
connection.creation.destroy_test_db("closient", verbosity=0)
"""
    response = subprocess.run(
        [sys.executable, "-c", program, new_folder],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert response.stdout == "postgresql closient\ntest_closient\n", response.stderr
    assert postmasters(new_folder) == []


@pytest.mark.slow
@needs_root
def test_root_does_not_change_parent_folders_or_accounts(tmp_path: Path) -> None:
    parent = tmp_path / "only for root"
    parent.mkdir(mode=0o700)
    folders = (parent, *parent.parents)
    before = [(folder.stat().st_mode, folder.stat().st_uid) for folder in folders]
    accounts = Path("/etc/passwd").read_bytes()

    with running(parent / "with a space") as server:
        assert query(server, "SELECT 1") == 1
        [postmaster] = postmasters(parent / "with a space")
        assert {process.uids().real for process in (postmaster, *postmaster.children())} == {
            pwd.getpwnam("nobody").pw_uid
        }

    assert [(folder.stat().st_mode, folder.stat().st_uid) for folder in folders] == before
    assert Path("/etc/passwd").read_bytes() == accounts


@pytest.mark.slow
@needs_root
def test_root_runs_programs_that_only_root_can_reach(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = next((Path(folder) for folder in sys.path if has_package(folder)), None)
    if package is None:
        pytest.skip("embedded-postgres is not installed, and no other PostgreSQL can be moved")
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    for name in ("embedded_postgres", "embedded_postgres.libs"):
        if (package / name).exists():
            shutil.copytree(package / name, closed / name)
    monkeypatch.setenv("POSTGRES_BIN", str(closed / "embedded_postgres" / "pginstall" / "bin"))

    with running(tmp_path / "data") as server:
        assert query(server, "SELECT 1") == 1
        [postmaster] = postmasters(tmp_path / "data")
        assert_without_privileges(postmaster)
        # It runs a copy that only root can change.
        program = Path(postmaster.exe())
        assert closed not in program.parents
        for path in (program, *program.parents[:3]):
            assert (path.stat().st_uid, path.stat().st_mode & 0o022) == (0, 0)
    wait_for(lambda: not program.exists(), "removal of the copy")
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


@needs_root
def test_root_copies_only_an_installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    (home / "bin").mkdir(parents=True)
    tmp_path.chmod(0o700)
    (home / "lib").mkdir()
    (home / "lib" / "secret").write_text("for root alone")
    for name in ("postgres", "initdb"):
        (home / "bin" / name).symlink_to(programs_folder() / name)
    monkeypatch.setenv("POSTGRES_BIN", str(home / "bin"))
    before = set(Path("/tmp").iterdir())  # noqa: S108
    reason = error_message(tmp_path / "data")
    assert reason.startswith("root has to run PostgreSQL as nobody, who cannot use "), reason
    assert reason.endswith("or set DATABASE_URL to a PostgreSQL of your own.")
    copies = [path for path in set(Path("/tmp").iterdir()) - before if "programs" in path.name]  # noqa: S108
    assert copies == []


def assert_without_privileges(*processes: psutil.Process) -> None:
    for process in processes:
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        state = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
        for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            assert int(state[kind], base=16) == 0
        assert state["NoNewPrivs"] == "1"


def as_nobody(action: Callable[[], object]) -> str:
    """Return the result of an action in a process of the account nobody."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        nobody = pwd.getpwnam("nobody")
        os.setgroups([])
        os.setgid(nobody.pw_gid)
        os.setuid(nobody.pw_uid)
        try:
            result = f"done: {action()}"
        except Exception as error:
            result = f"{type(error).__name__}: {error}"
        os.write(writing, result.encode()[:4000])
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as response:
        text = response.read()
    os.waitpid(child, 0)
    return text


@pytest.mark.slow
@needs_root
@pytest.mark.parametrize("is_closed", [True, False])
@pytest.mark.campaign
def test_user_nobody_gains_nothing_from_the_server_of_root(is_closed: bool, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("for root alone")
    secret.chmod(0o600)
    with tempfile.TemporaryDirectory() as parent:
        os.chmod(parent, 0o700 if is_closed else 0o755)
        folder = Path(parent) / "with a space"
        with running(folder) as server:
            [postmaster] = postmasters(folder)
            assert_without_privileges(postmaster, *postmaster.children())
            # With the path of the socket, and through the server's own folder.
            for host in (str(server.socket_folder), f"/proc/{postmaster.pid}/cwd/../socket"):
                for role in (ROLE, ADMIN_ROLE):
                    parameters = {**server.connection_parameters(role=role), "host": host}
                    rejected = as_nobody(lambda given=parameters: psycopg.connect(**given))
                    assert rejected.startswith("OperationalError: "), rejected
                    assert "Peer authentication failed" in rejected or (
                        is_closed and host == str(server.socket_folder) and "denied" in rejected
                    )
            # The application's role is no superuser, and the superuser cannot read root's files.
            for role, statement in (
                (ROLE, f"COPY (SELECT 1) TO PROGRAM 'cat > {secret}'"),
                (ROLE, f"SELECT pg_read_file('{secret}')"),
                (ADMIN_ROLE, f"SELECT pg_read_file('{secret}')"),
            ):
                parameters = server.connection_parameters(role=role)
                with (
                    psycopg.connect(**parameters) as connection,
                    pytest.raises(psycopg.Error, match="ermission denied"),
                ):
                    connection.execute(statement)
        assert Path(parent).stat().st_mode & 0o777 == (0o700 if is_closed else 0o755)


def test_application_role_can_only_create_databases(server: Server) -> None:
    rights = "SELECT (rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls)::text"
    assert query(server, f"{rights} FROM pg_roles WHERE rolname = current_user") == "(f,t,f,f,f)"
    query(server, "CREATE DATABASE another")
    query(server, "CREATE EXTENSION pg_trgm")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        query(server, "ALTER SYSTEM SET work_mem = '1MB'")


# The contents of a cluster of an earlier version, whose superuser was the application's role.
FORMER_CLUSTER_SQL = """
CREATE TABLE kept (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name varchar(9));
CREATE SEQUENCE numbers;
CREATE VIEW names AS SELECT name FROM kept;
CREATE TYPE mood AS ENUM ('fine');
CREATE SCHEMA "an other";
CREATE TABLE "an other".more (mood mood);
CREATE FUNCTION answer(a int, b text) RETURNS int LANGUAGE sql AS 'SELECT 42';
CREATE FUNCTION fire() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER fire AFTER INSERT ON kept EXECUTE FUNCTION fire();
INSERT INTO kept (name) VALUES ('old');
"""


@pytest.fixture
def former_folder() -> Iterator[Path]:
    """Return a data folder as an earlier version left it."""
    account = account_for(Path("/data"))
    with tempfile.TemporaryDirectory() as parent:
        os.chmod(parent, 0o755)  # noqa: S103
        folder = Path(parent).resolve() / "data"
        folder.mkdir(mode=0o700)
        os.chown(folder, *account)
        programs = programs_folder()

        def run(*command: object, text: str = "") -> None:
            subprocess.run(
                [str(part) for part in command],
                input=text,
                text=True,
                check=True,
                capture_output=True,
                cwd=folder,
                user=account.uid if os.geteuid() == 0 else None,
                group=account.gid if os.geteuid() == 0 else None,
            )

        cluster = folder / "cluster"
        options = ("--encoding=UTF8", "--no-locale", "--auth=trust", "--username=closient")
        run(programs / "initdb", *options, f"--pgdata={cluster}")
        for database, statements in (
            ("postgres", "CREATE DATABASE closient;\nCREATE DATABASE test_closient;\n"),
            ("closient", FORMER_CLUSTER_SQL),
            ("test_closient", "CREATE TABLE left_over ();\n"),
        ):
            run(programs / "postgres", "--single", "-D", cluster, database, text=statements)
        yield folder


@pytest.mark.slow
@pytest.mark.parametrize("interrupted_after", [None, "CREATE ROLE", "RENAME", "DROP ROLE"])
def test_data_of_an_earlier_version_is_migrated(
    former_folder: Path, interrupted_after: str | None
) -> None:
    if interrupted_after is not None:
        steps = {
            "CREATE ROLE": "CREATE ROLE closient_upgrade LOGIN SUPERUSER;\n",
            "RENAME": "ALTER ROLE closient RENAME TO closient_admin;\n",
            "DROP ROLE": "DROP ROLE closient_upgrade;\nCREATE ROLE closient LOGIN CREATEDB;\n",
        }
        server = Server(former_folder)
        done = list(steps)[: list(steps).index(interrupted_after) + 1]
        names = {"CREATE ROLE": "closient", "RENAME": "closient_upgrade"}
        # The state after an interrupted start, each step by its role.
        with start_without_set_up(server):
            for step in done:
                role = names.get(step, "closient_admin")
                parameters = server.connection_parameters("postgres", role=role)
                with psycopg.connect(**parameters, autocommit=True) as connection:
                    connection.execute(steps[step])
    for _ in range(2):
        with running(former_folder) as server:
            assert query(server, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") is (
                False
            )
            assert query(server, "SELECT name FROM names") in {"old", "new"}
            assert query(server, "SELECT answer(1, '')") == 42
            query(server, "UPDATE kept SET name = 'new'")
            query(server, "INSERT INTO \"an other\".more VALUES ('fine')")
            # It owns everything, as migrations require.
            query(server, "ALTER TABLE kept ADD COLUMN IF NOT EXISTS more text")
            query(server, "ALTER TYPE mood ADD VALUE IF NOT EXISTS 'bad'")
            query(server, "ALTER FUNCTION answer RENAME TO question")
            query(server, "ALTER FUNCTION question RENAME TO answer")
            query(server, "ALTER SEQUENCE numbers RESTART")
            query(server, "DROP DATABASE IF EXISTS test_closient")
            query(server, "CREATE DATABASE test_closient")


@contextlib.contextmanager
def start_without_set_up(server: Server) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server_module, "set_up", lambda connect: None)
        server.ensure_running()
    yield
    server.stop()


def has_package(folder: str) -> bool:
    return (Path(folder) / "embedded_postgres" / "pginstall" / "bin" / "postgres").exists()


@pytest.fixture
def ordinary_user() -> pwd.struct_passwd:
    return next(user for user in pwd.getpwall() if user.pw_uid != 0 and user.pw_name != "nobody")


@pytest.fixture
def users_folder(ordinary_user: pwd.struct_passwd) -> Iterator[Path]:
    """Return a path for a new data folder, in a folder of an ordinary user."""
    with tempfile.TemporaryDirectory() as parent:
        os.chown(parent, ordinary_user.pw_uid, ordinary_user.pw_gid)
        yield Path(parent).resolve() / "data"


@pytest.mark.slow
@needs_root
def test_root_runs_the_server_as_the_owner_of_the_folder(
    ordinary_user: pwd.struct_passwd, users_folder: Path, start_user: StartUser
) -> None:
    with running(users_folder) as server:
        [postmaster] = postmasters(users_folder)
        assert postmaster.uids().real == ordinary_user.pw_uid
        assert users_folder.stat().st_uid == ordinary_user.pw_uid
        # The owner uses the same server, at the same time and later.
        user = start_user(users_folder, USER, *as_user(ordinary_user))
        assert first_line(user), stop_user(user)
        server.stop()
        assert postmasters(users_folder) == [postmaster]
    assert stop_user(user) == ""
    user = start_user(users_folder, USER, *as_user(ordinary_user))
    assert first_line(user), stop_user(user)
    assert stop_user(user) == ""


@pytest.mark.slow
@needs_root
def test_ordinary_user_starts_it_while_root_uses_it(
    ordinary_user: pwd.struct_passwd, users_folder: Path, start_user: StartUser
) -> None:
    user = start_user(users_folder, USER, *as_user(ordinary_user))
    assert first_line(user), stop_user(user)
    for process in (*postmasters(users_folder), *supervisors(users_folder)):
        assert process.uids().real == ordinary_user.pw_uid
    assert stop_user(user) == ""


@pytest.mark.slow
def test_data_folder_longer_than_a_socket_path_is_supported(tmp_path: Path) -> None:
    folder = tmp_path / ("long " * 20).strip() / "data"
    with running(folder) as server:
        assert query(server, "SELECT 1") == 1
        socket_folder = server.socket_folder
        assert folder not in socket_folder.parents
        assert stat.S_IMODE(socket_folder.stat().st_mode) == 0o700
    wait_for(lambda: not socket_folder.exists(), "removal of the socket's folder")


def test_socket_folder_of_another_user_is_rejected(tmp_path: Path) -> None:
    folder = tmp_path / ("long " * 20).strip() / "data"
    server = Server(folder)
    target = tmp_path / "target"
    target.mkdir()
    server.socket_folder.symlink_to(target)
    try:
        with pytest.raises(ServerError, match="is not a folder"):
            server.ensure_running()
    finally:
        server.socket_folder.unlink()


@pytest.mark.slow
@pytest.mark.parametrize("victims", ["postmaster", "everything"])
@pytest.mark.campaign
def test_server_restarts_after_a_kill(server: Server, victims: str) -> None:
    data_folder = server.layout.root
    query(server, "CREATE TABLE kept AS SELECT 42 AS answer")
    [postmaster] = postmasters(data_folder)
    if victims == "everything":
        kill(*supervisors(data_folder), postmaster, *postmaster.children(recursive=True))
    else:
        kill(postmaster)
    wait_for(lambda: not postmasters(data_folder), "the end of the postmaster")
    assert server.layout.pid_file.exists()

    server.ensure_running()

    assert query(server, "SELECT answer FROM kept") == 42
    assert len(postmasters(data_folder)) == 1


@pytest.mark.slow
def test_server_waits_for_backends_of_a_killed_one(server: Server) -> None:
    data_folder = server.layout.root
    with psycopg.connect(**server.connection_parameters()) as connection:
        [postmaster] = postmasters(data_folder)
        orphan = psutil.Process(connection.info.backend_pid)
        orphan.suspend()
        try:
            kill(postmaster)
            wait_for(lambda: not supervisors(data_folder), "the end of the supervisor")
            with ThreadPoolExecutor() as pool:
                start = pool.submit(server.ensure_running)
                wait_for(
                    lambda: wait_count(data_folder) > 100 or postmasters(data_folder),
                    "a new supervisor that waits",
                )
                assert not start.done()
                assert postmasters(data_folder) == []
                orphan.resume()
                start.result(timeout=60)
        finally:
            with contextlib.suppress(psutil.NoSuchProcess):
                orphan.resume()
    assert query(server, "SELECT 1") == 1


@pytest.mark.slow
def test_pid_file_of_another_process_is_ignored(server: Server) -> None:
    layout = server.layout
    [postmaster] = postmasters(layout.root)
    owner = postmaster.uids().real
    kill(postmaster)
    wait_for(lambda: not supervisors(layout.root), "the end of the supervisor")
    with subprocess.Popen(["sleep", "60"], user=owner) as innocent:
        try:
            for path in (layout.pid_file, layout.socket_pid_file):
                _, rest = path.read_text().split("\n", 1)
                path.write_text(f"{innocent.pid}\n{rest}")
            server.ensure_running()
            assert query(server, "SELECT 1") == 1
            assert innocent.poll() is None
        finally:
            innocent.kill()


@pytest.mark.slow
def test_six_processes_start_one_server(new_folder: Path, start_user: StartUser) -> None:
    users = [start_user(new_folder) for _ in range(6)]
    starts = [first_line(user) for user in users]
    assert starts[0], stop_user(users[0])
    assert set(starts) == {starts[0]}
    assert len(postmasters(new_folder)) == 1
    assert [stop_user(user) for user in users] == [""] * 6
    assert postmasters(new_folder) == []


@pytest.mark.slow
@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM, None])
@pytest.mark.campaign
def test_last_user_stops_the_server(
    data_folder: Path, start_user: StartUser, ending: signal.Signals | None
) -> None:
    first, last = start_user(data_folder), start_user(data_folder)
    assert first_line(first) == first_line(last) != ""
    [postmaster] = postmasters(data_folder)

    end(first, ending)
    # A process that starts now uses the running server.
    visitor = start_user(data_folder)
    assert first_line(visitor)
    end(visitor, ending)
    assert postmasters(data_folder) == [postmaster]

    end(last, ending)
    wait_for(lambda: not postmasters(data_folder), "the end of the server")


def end(user: "subprocess.Popen[str]", number: signal.Signals | None) -> None:
    if number is not None:
        user.send_signal(number)
        user.wait(timeout=60)
    stop_user(user)


@pytest.mark.slow
@pytest.mark.campaign
def test_forked_process_keeps_the_server(data_folder: Path, start_user: StartUser) -> None:
    program = USER.replace("sys.stdin.read()", "import os\nif os.fork() == 0: sys.stdin.read()")
    parent = start_user(data_folder, program)
    assert first_line(parent)
    assert parent.wait(timeout=60) == 0
    assert len(postmasters(data_folder)) == 1
    stop_user(parent)
    wait_for(lambda: not postmasters(data_folder), "the end of the server")


@pytest.mark.slow
@pytest.mark.campaign
def test_forked_process_does_not_stop_the_server(data_folder: Path, start_user: StartUser) -> None:
    program = USER.replace(
        "sys.stdin.read()",
        "import os\nchild = os.fork()\nif child == 0: sys.exit()\n"
        "os.waitpid(child, 0)\nprint('child has left', flush=True)\nsys.stdin.read()",
    )
    parent = start_user(data_folder, program)
    assert first_line(parent)
    assert first_line(parent) == "child has left\n"
    assert len(postmasters(data_folder)) == 1
    assert stop_user(parent) == ""


@pytest.mark.slow
def test_server_is_shut_down_when_its_supervisor_is_killed(server: Server) -> None:
    if sys.platform != "linux":
        pytest.skip("only Linux tells a process that its parent has ended")
    [supervisor] = supervisors(server.layout.root)
    kill(supervisor)
    wait_for(lambda: not postmasters(server.layout.root), "the end of the server")
    server.ensure_running()
    assert query(server, "SELECT 1") == 1


@pytest.mark.slow
@pytest.mark.campaign
def test_start_races_with_stop(data_folder: Path) -> None:
    leaving, coming = Server(data_folder), Server(data_folder)
    leaving.ensure_running()
    with ThreadPoolExecutor() as pool:
        for _ in range(6):
            barrier = threading.Barrier(2)

            def stop(server: Server = leaving, barrier: threading.Barrier = barrier) -> None:
                barrier.wait()
                server.stop()

            stopped = pool.submit(stop)
            barrier.wait()
            coming.ensure_running()
            assert query(coming, "SELECT 1") == 1
            stopped.result(timeout=60)
            assert len(postmasters(data_folder)) == 1
            leaving, coming = coming, leaving
    leaving.stop()
    assert postmasters(data_folder) == []


@pytest.mark.slow
@pytest.mark.campaign
def test_killed_initdb_leaves_no_partial_data(new_folder: Path, start_user: StartUser) -> None:
    user = start_user(new_folder)
    unfinished = new_folder / "cluster.new"
    wait_for((unfinished / "PG_VERSION").exists, "initdb at work")
    [supervisor] = supervisors(new_folder)
    kill(*supervisor.children(recursive=True), supervisor)
    assert "cannot be started" in stop_user(user)
    assert not (new_folder / "cluster").exists()

    with running(new_folder) as server:
        assert query(server, "SELECT 1") == 1
    assert not unfinished.exists()


def error_message(data_folder: Path) -> str:
    """Return the error message of the start."""
    server = Server(data_folder)
    with pytest.raises(ServerError) as caught:
        server.ensure_running()
    start = f"The private PostgreSQL in {data_folder} cannot be started: "
    message = str(caught.value)
    assert message.startswith(start)
    assert message.endswith(".")
    assert "\n" not in message
    assert postmasters(data_folder) == supervisors(data_folder) == []
    return message.removeprefix(start)


def test_broken_cluster_is_reported(data_folder: Path) -> None:
    (data_folder / "cluster" / "global" / "pg_control").unlink()
    assert "global/pg_control" in error_message(data_folder)


def test_broken_configuration_is_reported(data_folder: Path) -> None:
    with (data_folder / "cluster" / "postgresql.conf").open("a") as file:
        file.write("shared_preload_libraries = 'missing_library'\n")
    assert 'could not access file "missing_library"' in error_message(data_folder)


def test_data_of_another_version_is_reported(data_folder: Path) -> None:
    (data_folder / "cluster" / "PG_VERSION").write_text("11\n")
    assert error_message(data_folder).startswith("its data is of PostgreSQL 11, and ")


def test_folder_with_other_files_is_reported(new_folder: Path) -> None:
    new_folder.mkdir(mode=0o755)
    (new_folder / "letter.txt").write_text("Dear all")
    assert error_message(new_folder) == "the folder contains other files."
    assert [path.name for path in new_folder.iterdir()] == ["letter.txt"]
    assert stat.S_IMODE(new_folder.stat().st_mode) == 0o755


def test_file_instead_of_the_folder_is_reported(new_folder: Path) -> None:
    new_folder.write_text("")
    assert error_message(new_folder) == f"{new_folder} is not a folder."


def test_missing_programs_are_reported(
    new_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("POSTGRES_BIN", str(tmp_path))
    assert error_message(new_folder) == (
        f"POSTGRES_BIN names no program 'postgres' in {tmp_path}: set POSTGRES_BIN or DATABASE_URL."
    )


def test_programs_of_another_platform_are_reported(
    new_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("postgres", "initdb"):
        (tmp_path / name).write_bytes(b"\x7fELF of another machine")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("POSTGRES_BIN", str(tmp_path))
    assert f"{tmp_path}/postgres does not run here ([Errno 8] Exec format error" in error_message(
        new_folder
    )


def test_database_settings_connect_to_the_server(server: Server) -> None:
    settings = embedded_postgres.database_settings(server.layout.root)
    with psycopg.connect(
        host=settings["HOST"],
        port=settings["PORT"],
        user=settings["USER"],
        dbname=settings["NAME"],
    ) as connection:
        backend = psutil.Process(connection.info.backend_pid)
        assert [backend.parent()] == postmasters(server.layout.root)
