"""A private PostgreSQL server on the loopback, which tests may stop and start."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from uuid import uuid4

import sqlalchemy as sa

PASSWORD = "s3cr3t-pa55word"
"""Of the tests' own server; looked for where it must not be."""


def binaries() -> Path | None:
    """The folder of the newest server that is installed: Debian keeps it off the path."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    found = str(folders[-1]) if folders else shutil.which("initdb")
    return Path(found).resolve().parent if found else None


class Server:
    """Made in a folder of its own, and removed with it. It does not wait for the disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="stopping-postgres-"))
        self._binaries = folder
        self._as: list[str] = []
        if os.getuid() == 0:  # which the server refuses to run as
            user = pwd.getpwnam("postgres")
            os.chown(self._folder, user.pw_uid, user.pw_gid)
            self._as = ["runuser", "-u", "postgres", "--"]
        secret = self._folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        data = str(self._folder / "data")
        how = ["--auth=scram-sha-256", "--username=stopping", f"--pwfile={secret}", "--no-sync"]
        self._run("initdb", "-D", data, "--encoding=UTF8", "--locale=C", *how)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.start()

    def start(self) -> None:
        """Start, and wait until it answers."""
        settings = f"-p {self.port} -k {self._folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        self._control("start", "-l", str(self._folder / "log"), "-o", settings)

    def stop(self) -> None:
        """Stop at once, as in a crash: connections break, and it recovers at the next start."""
        self._control("stop", "-m", "immediate")

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self._folder)

    def database(self) -> str:
        """Create a schema, which is empty, and return the URL that leads to it alone."""
        name = f"test_{uuid4().hex}"
        url = f"postgresql+psycopg://stopping:{PASSWORD}@127.0.0.1:{self.port}/postgres"
        engine = sa.create_engine(url)
        with engine.begin() as connection:
            connection.execute(sa.schema.CreateSchema(name))
        engine.dispose()
        return f"{url.replace('+psycopg', '')}?options=-csearch_path%3D{name}"

    def _control(self, *arguments: str) -> None:
        self._run("pg_ctl", "-D", str(self._folder / "data"), "-w", *arguments)

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self._as, str(self._binaries / program), *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=self._folder)
