"""``stopping dashboard`` as a process of its own, for tests that talk to it over the network."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

TOKEN = "a token, with a space"

EVIL = (
    "**b** _x_ `c` [link](http://evil.invalid) ![i](http://evil.invalid/i) $x^2$ $$y^2$$ :red[r] "
    ":smile: <b>b</b> <script>document.title='run'</script> <img src=x "
    "onerror=\"document.title='run'\"> <a href='javascript:alert(1)'>a</a> &lt;"
)
"""What a browser, Markdown, LaTeX or Streamlit would make something else of, short as a name."""

_HEARS = "Setting up signal handler"
"""What Streamlit logs once it hears Ctrl-C, a moment after it listens."""


@dataclass(frozen=True, slots=True)
class Served:
    """A dashboard that runs.

    Args:
        port: Where it listens, on 127.0.0.1.
        process: Its id.
        log: The file that holds all that it has written.
    """

    port: int
    process: int
    log: Path


@contextmanager
def served(folder: Path, url: str, token: str | None = TOKEN) -> Iterator[Served]:
    """Run the command, and end it with Ctrl-C."""
    port = free_port()
    code = "from stopping_core.cli.app import main; main()"
    command = [sys.executable, "-c", code, "dashboard", f"--port={port}"]
    told = {"STOPPING_DASHBOARD_STORE": url, "STREAMLIT_LOGGER_LEVEL": "debug"}
    if token is not None:
        told["STOPPING_DASHBOARD_TOKEN"] = token
    path = folder / "log"
    with path.open("w+") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=os.environ | told, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            end = time.monotonic() + 60
            while not (reaches("127.0.0.1", port) and _HEARS in path.read_text("utf-8")):
                waiting = process.poll() is None and time.monotonic() < end
                assert waiting, path.read_text("utf-8")
                time.sleep(0.1)
            yield Served(port, process.pid, path)
            process.send_signal(signal.SIGINT)
            assert 0 == process.wait(30)
        finally:
            process.kill()
            process.wait()


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def reaches(host: str, port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex((host, port)) == 0
