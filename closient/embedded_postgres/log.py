"""The server's log, and the one line in it that says why the server did not start."""

import fcntl
import os
import re
from pathlib import Path
from typing import Final

from closient.embedded_postgres.locks import open_lock

_MAX_LOG_BYTES: Final = 10 * 1024 * 1024
# "2026-01-31 12:00:00.000 UTC [123] FATAL:  could not ..." and "initdb: error: could not ..."
_TELLING: Final = re.compile(r"^.*?\b(?:FATAL|PANIC|ERROR|error): +")
# Answers to those who ask whether it is up yet, and last words of a killed server's backends.
_NOT_TELLING: Final = re.compile("the database system is|unexpected postmaster exit")
_DETAIL: Final = re.compile(r"^.*?\b(?:DETAIL|HINT): +")


class Log:
    """The log file at `path`, open for appending; raises OSError.

    One that has grown large is put aside, in place of the one put aside before.
    """

    def __init__(self, path: Path, *, owner: tuple[int, int] | None) -> None:
        if path.exists() and path.stat().st_size > _MAX_LOG_BYTES:
            path.replace(path.with_name(f"{path.name}.old"))
        self._path = path
        self.descriptor = open_lock(path, owner=owner)
        fcntl.fcntl(self.descriptor, fcntl.F_SETFL, os.O_APPEND)
        self._beginning = os.fstat(self.descriptor).st_size

    def close(self) -> None:
        os.close(self.descriptor)

    def reason(self) -> str:
        """Return, on one line, what was first complained about since this log was opened.

        What follows that is mostly its consequence.
        """
        with self._path.open("rb") as file:
            file.seek(self._beginning)
            text = file.read().decode(errors="replace")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        complaints = [
            number
            for number, line in enumerate(lines)
            if _TELLING.match(line) and not _NOT_TELLING.search(line)
        ]
        if complaints:
            number = complaints[0]
            reason = _TELLING.sub("", lines[number])
            following = lines[number + 1] if number + 1 < len(lines) else ""
            if _DETAIL.match(following):
                return f"{reason.rstrip('.')} ({_DETAIL.sub('', following).rstrip('.')})"
            return reason
        return lines[-1] if lines else f"it ended without a word in {self._path}"
