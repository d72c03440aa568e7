"""The database's roles, and the system accounts that may connect as them.

Authentication is `peer`: PostgreSQL learns from the kernel which account connected to the socket.
The application's role is not a superuser. The superuser of the cluster is a separate role, used
only at the start to create the application's role and database.
"""

import os
import pwd
from collections.abc import Callable
from typing import Any, Final

import psycopg
from psycopg import sql

from closient.embedded_postgres.account import Account
from closient.embedded_postgres.layout import ADMIN_ROLE, DATABASE, ROLE

# A temporary superuser that renames the former one: a session cannot rename its own role.
_UPGRADE_ROLE: Final = "closient_upgrade"
_MAP: Final = "closient"
_HBA: Final = f"""\
# Written at every start of the server.
local all all peer map={_MAP}
"""

# Gives the role everything in a database that the superuser owns outside of system schemas.
_TRANSFER: Final = """
DO $do$
DECLARE
    command text;
BEGIN
    FOR command IN
        SELECT format('ALTER SCHEMA %I OWNER TO {role}', nspname)
        FROM pg_namespace n
        WHERE nspowner = 10 AND nspname <> 'information_schema' AND nspname !~ '^pg_'
            AND nspname <> 'public'
        UNION ALL
        SELECT format(
            'ALTER %s %I.%I OWNER TO {role}',
            CASE relkind
                WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'S' THEN 'SEQUENCE'
                WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'TABLE'
            END,
            nspname, relname
        )
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE relowner = 10 AND relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
            AND nspname <> 'information_schema' AND nspname !~ '^pg_'
            AND NOT EXISTS (
                SELECT FROM pg_depend d
                WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                    AND d.deptype IN ('a', 'i', 'e')
            )
        UNION ALL
        SELECT format('ALTER ROUTINE %s OWNER TO {role}', p.oid::regprocedure)
        FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE proowner = 10 AND nspname <> 'information_schema' AND nspname !~ '^pg_'
            AND NOT EXISTS (
                SELECT FROM pg_depend d
                WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
            )
        UNION ALL
        SELECT format('ALTER TYPE %I.%I OWNER TO {role}', nspname, typname)
        FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
        WHERE typowner = 10 AND typtype IN ('e', 'd', 'r')
            AND nspname <> 'information_schema' AND nspname !~ '^pg_'
            AND NOT EXISTS (
                SELECT FROM pg_depend d
                WHERE d.classid = 'pg_type'::regclass AND d.objid = t.oid AND d.deptype = 'e'
            )
    LOOP
        EXECUTE command;
    END LOOP;
END
$do$
"""

Connect = Callable[[str, str], "psycopg.Connection[Any]"]


def client_names(account: Account) -> list[str]:
    """Return the names of the system accounts that may connect to a server started now.

    These are root and the account that the server runs as, but not `nobody` if root starts the
    server: other programs run as that account, too.
    """
    names = []
    for uid in {0, account.uid}:
        try:
            name = pwd.getpwuid(uid).pw_name
        except KeyError:
            continue
        if name != "nobody" or os.geteuid() != 0:
            names.append(name)
    return sorted(names)


def write_access_files(cluster: str, names: list[str]) -> None:
    """Write the access rules into the cluster, as the account that owns it; raises OSError."""
    lines = [
        f'{_MAP} "{name}" {role}\n' for name in names for role in (ROLE, ADMIN_ROLE, _UPGRADE_ROLE)
    ]
    _write(f"{cluster}/pg_hba.conf", _HBA)
    _write(f"{cluster}/pg_ident.conf", "".join(lines))


def set_up(connect: Connect) -> None:
    """Create the application's role and database, in a cluster of any age.

    `connect` takes a role and a database. In clusters of earlier versions the application's role
    was the superuser: it is renamed, and the new role becomes the owner of its objects. Every step
    can be repeated, so the next start finishes an interrupted one.
    """
    try:
        admin = connect(ADMIN_ROLE, "postgres")
    except psycopg.OperationalError:
        _rename_former_superuser(connect)
        admin = connect(ADMIN_ROLE, "postgres")
    with admin:
        admin.autocommit = True
        admin.execute(f"DROP ROLE IF EXISTS {_UPGRADE_ROLE}")
        if not _exists(admin, "pg_roles", "rolname", ROLE):
            admin.execute(f"CREATE ROLE {ROLE} LOGIN CREATEDB")
        if not _exists(admin, "pg_database", "datname", DATABASE):
            admin.execute(f"CREATE DATABASE {DATABASE} OWNER {ROLE}")
        owned = admin.execute(
            "SELECT datname FROM pg_database "
            "WHERE datdba = 10 AND NOT datistemplate AND datname <> 'postgres'"
        ).fetchall()
        for (name,) in owned:
            with connect(ADMIN_ROLE, name) as database:
                database.execute(_TRANSFER.replace("{role}", ROLE))
            statement = sql.SQL("ALTER DATABASE {} OWNER TO {}")
            admin.execute(statement.format(sql.Identifier(name), sql.Identifier(ROLE)))


def _rename_former_superuser(connect: Connect) -> None:
    try:
        helper = connect(_UPGRADE_ROLE, "postgres")
    except psycopg.OperationalError:
        with connect(ROLE, "postgres") as former:
            former.execute(f"CREATE ROLE {_UPGRADE_ROLE} LOGIN SUPERUSER")
        helper = connect(_UPGRADE_ROLE, "postgres")
    with helper:
        helper.execute(f"ALTER ROLE {ROLE} RENAME TO {ADMIN_ROLE}")


def _exists(connection: "psycopg.Connection[Any]", table: str, column: str, name: str) -> bool:
    statement = sql.SQL("SELECT 1 FROM {} WHERE {} = %s")
    found = connection.execute(
        statement.format(sql.Identifier(table), sql.Identifier(column)), [name]
    )
    return found.fetchone() is not None


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
