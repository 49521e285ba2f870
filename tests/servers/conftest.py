"""Two real servers: llama.cpp's, which counts its tokens, and ``transformers serve``."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.request import ProxyHandler, build_opener

import psutil  # type: ignore[import-untyped]  # its stubs are a package of their own
import pytest

from stopping_core.embedded import MODEL, EmbeddedServer, weights_path
from transformers_stopping.loading import cache_folder, converted

_SERVE = (
    "import os, sys, threading\n"
    "gone = lambda: (sys.stdin.read(), os._exit(0))\n"
    "threading.Thread(target=gone, daemon=True).start()\n"
    "from transformers.cli.transformers import app\n"
    "app()"
)
"""Runs the command, and ends with its standard input: also where the tests are killed."""


@dataclass(frozen=True, slots=True)
class RealServer:
    """A server under test, and what is known of it.

    Args:
        name: ``llama.cpp`` or ``transformers``.
        base_url: As an OpenAI client takes it.
        prefill: Whether it continues a last assistant message.
        embedded: The server itself, where it counts its tokens.
        process: Its process, where it is one of its own.
    """

    name: str
    base_url: str
    prefill: bool
    embedded: EmbeddedServer | None = None
    process: psutil.Process | None = None

    @property
    def model(self) -> str:
        """The name of its model."""
        return MODEL

    def settled(self) -> float:
        """What it has done so far, once that stands still: tokens, or else seconds of CPU time."""
        last = -1.0
        while (now := self._done()) > last + 0.02:
            last = now
            time.sleep(0.3)
        return now

    def _done(self) -> float:
        if self.embedded is not None:
            return float(self.embedded.tokens_generated())
        assert self.process is not None
        times = self.process.cpu_times()
        return float(times.user + times.system)


@pytest.fixture(scope="session")
def transformers_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    """``transformers serve`` with the embedded weights, one thread; about ten seconds."""
    folder = tmp_path_factory.mktemp("serve")
    (folder / MODEL).symlink_to(converted(weights_path(), cache_folder(None)))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    arguments = ["serve", MODEL, "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", _SERVE, *arguments],
            cwd=folder,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait(f"http://127.0.0.1:{port}/health", process, folder / "log")
        url = f"http://127.0.0.1:{port}/v1"
        yield RealServer("transformers", url, False, process=psutil.Process(process.pid))
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="session")
def llama_server(embedded_server: EmbeddedServer) -> RealServer:
    """llama.cpp's server, as all tests share it."""
    return RealServer("llama.cpp", embedded_server.base_url, True, embedded=embedded_server)


@pytest.fixture(params=["llama_server", "transformers_server"])
def real_server(request: pytest.FixtureRequest) -> RealServer:
    """One after the other."""
    server: RealServer = request.getfixturevalue(request.param)
    return server


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test that uses a real model."""
    for item in items:
        if {"real_server", "transformers_server"} & set(getattr(item, "fixturenames", ())):
            item.add_marker("model")


def _wait(health: str, process: subprocess.Popen[bytes], log: Path) -> None:
    opener = build_opener(ProxyHandler({}))  # loopback never goes through a proxy
    deadline = time.monotonic() + 100
    while True:
        try:
            opener.open(health, timeout=5).close()
            return
        except OSError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"transformers serve: {log.read_text()[-2000:]}") from error
            time.sleep(0.2)
