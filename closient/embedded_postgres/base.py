"""The Django database backend: the one for PostgreSQL, whose first connection starts the server."""

from collections.abc import Iterable
from typing import Any

from django.db.backends.postgresql import base, client

from closient.embedded_postgres.programs import programs_folder
from closient.embedded_postgres.server import server_for


class DatabaseClient(client.DatabaseClient):
    """`manage.py dbshell`, with the psql that comes with the server if it has one."""

    def runshell(self, parameters: Iterable[str]) -> None:
        """Run psql until the user exits; raises OperationalError if the server cannot start."""
        server_for(self.connection.settings_dict["DATA_FOLDER"]).ensure_running()
        psql = programs_folder() / "psql"
        if psql.exists():
            self.executable_name = str(psql)
        super().runshell(list(parameters))


class DatabaseWrapper(base.DatabaseWrapper):
    """A connection to the private server with its data in `settings_dict["DATA_FOLDER"]`."""

    client_class = DatabaseClient

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """Return a new psycopg connection.

        Raises OperationalError; if the server cannot be started, its message is one sentence.
        """
        server_for(self.settings_dict["DATA_FOLDER"]).ensure_running()
        return super().get_new_connection(conn_params)
