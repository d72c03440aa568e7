"""The server's log, and the reason in it why the server did not start."""

import fcntl
import os
import re
from pathlib import Path
from typing import Final

from closient.embedded_postgres.locks import open_lock

_MAX_LOG_BYTES: Final = 10 * 1024 * 1024
# "2026-01-31 12:00:00.000 UTC [123] FATAL:  could not ..." and "initdb: error: could not ..."
_ERROR: Final = re.compile(r"^.*?\b(?:FATAL|PANIC|ERROR|error): +")
# Responses to early connections, and the last messages of a killed server's backends.
_NOT_THE_REASON: Final = re.compile("the database system is|unexpected postmaster exit")
_DETAIL: Final = re.compile(r"^.*?\b(?:DETAIL|HINT): +")


class Log:
    """The log file at `path`, open for appending; raises OSError.

    A large log is renamed to `<name>.old` first, replacing the previous one.
    """

    def __init__(self, path: Path, *, owner: tuple[int, int] | None) -> None:
        if path.exists() and path.stat().st_size > _MAX_LOG_BYTES:
            path.replace(path.with_name(f"{path.name}.old"))
        self._path = path
        self.descriptor = open_lock(path, owner=owner)
        fcntl.fcntl(self.descriptor, fcntl.F_SETFL, os.O_APPEND)
        self._start = os.fstat(self.descriptor).st_size

    def close(self) -> None:
        os.close(self.descriptor)

    def reason(self) -> str:
        """Return the first error since this log was opened, on one line.

        Later errors are mostly consequences of the first.
        """
        with self._path.open("rb") as file:
            file.seek(self._start)
            text = file.read().decode(errors="replace")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        errors = [
            number
            for number, line in enumerate(lines)
            if _ERROR.match(line) and not _NOT_THE_REASON.search(line)
        ]
        if errors:
            number = errors[0]
            reason = _ERROR.sub("", lines[number])
            following = lines[number + 1] if number + 1 < len(lines) else ""
            if _DETAIL.match(following):
                return f"{reason.rstrip('.')} ({_DETAIL.sub('', following).rstrip('.')})"
            return reason
        return lines[-1] if lines else f"it ended without a message in {self._path}"
