"""``stopping record`` and ``stopping tune`` with ``--workers``: on a real Ray of this machine."""

from __future__ import annotations

import ipaddress
import json
import os
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import psutil  # type: ignore[import-untyped]  # its stubs are a package of their own
import pytest

from stopping_core.traces.run import Trace
from stopping_core.traces.store import read_trace, write_trace
from tests.cli.asking import at, record
from tests.cli.recorded import reading
from tests.cli.recording import begun, save_questions, start
from tests.cli.test_record_killed import assert_equal
from tests.cli.test_tune import BUDGETS, _front, stopping
from tests.support.sse_server import CountingServer, Script

pytest.importorskip("ray", reason="no Ray: it is in requirements-dev.txt, and CI has it")

ROOT = Path(__file__).parents[2]
QUESTIONS = 12
SHARED = ("--workers", "2", "--concurrency", "2")


def answering(body: Any) -> Script:
    """An answer of the question's own, whoever asks and when."""
    asked = zlib.crc32(str(body["messages"]).encode())
    tokens = [f" {asked >> shift & 15}" for shift in range(4 + asked % 8)]
    return Script(tokens, logprobs=[-0.125 * (asked >> shift & 7) for shift in range(len(tokens))])


class At:
    """Answers, and does something when so many questions have come: the first is 1.

    Args:
        number: When.
        act: What, in the server's thread.
    """

    def __init__(self, number: int, act: Callable[[], object]) -> None:
        self.asked = 0
        self._number = number
        self._act = act

    def __call__(self, body: Any) -> Script:
        if body["max_tokens"] > 1:  # else a worker that begins
            self.asked += 1
            if self.asked == self._number:
                self._act()
        return answering(body)


def below(pid: int | None = None) -> list[Any]:
    """Processes that a process has started, and those that they have."""
    found: list[Any] = psutil.Process(pid).children(recursive=True)
    return found


def agents(processes: list[Any]) -> list[Any]:
    """Those of them that end a minute after a kill only, as they look for someone to tell it."""
    return [one for one in processes if "Agent" in " ".join(one.cmdline())]


def workers(processes: list[Any]) -> list[Any]:
    """Those of them that are workers, by what Ray has them call themselves."""
    return [one for one in processes if "ray::Actor" in " ".join(one.cmdline())]


def ports(process: Any) -> set[int]:
    """Its ends of connections."""
    return {socket.laddr.port for socket in process.net_connections("inet")}


def assert_gone(processes: list[Any], within: float = 15) -> None:
    """Wait for the end of processes."""
    assert processes
    _, left = psutil.wait_procs(processes, timeout=within)
    assert [" ".join(one.cmdline()) for one in left] == []


@pytest.fixture
def arguments(tmp_path: Path) -> list[str | Path]:
    return [save_questions(tmp_path / "q.jsonl", QUESTIONS), "--top-logprobs", "1"]


@pytest.fixture
def plain(arguments: list[str | Path], tmp_path: Path) -> Trace:
    """What a recording in one process makes."""
    with CountingServer(answering, delay=0) as server:
        status, said = record(*arguments, "--out", tmp_path / "plain.parquet", *at(server))
    assert status == 0, said
    return read_trace(tmp_path / "plain.parquet")


def test_a_worker_is_killed(arguments: list[str | Path], plain: Trace, tmp_path: Path) -> None:
    """Its runs are asked for again, and the file is that of one process; all ends with the call."""
    out = tmp_path / "shared.parquet"
    others = below()
    seen: list[Any] = []
    both: list[Any] = []
    listening: set[str] = set()

    def kill() -> None:
        seen.extend(one for one in below() if one not in others)
        for one in seen:
            listening.update(
                socket.laddr.ip
                for socket in one.net_connections("inet")
                if socket.status == psutil.CONN_LISTEN
            )
        both.extend(workers(seen))
        port = server.calls[-1].port  # of the one that waits for an answer
        (asks,) = (one for one in both if port in ports(one))
        os.kill(asks.pid, signal.SIGKILL)

    script = At(4, kill)
    with CountingServer(script, delay=0.02) as server:
        status, said = record(*arguments, "--out", out, *at(server), *SHARED)
    assert status == 0, said
    assert f"shared.parquet: {QUESTIONS} runs, {QUESTIONS} of them new" in said
    assert_equal(plain, read_trace(out))
    assert QUESTIONS < script.asked <= QUESTIONS + 2
    assert len(both) == 2
    assert all(ipaddress.ip_address(one.split("::ffff:")[-1]).is_loopback for one in listening)
    assert_gone(seen)
    assert not list(tmp_path.glob("*shared.parquet?*"))


def test_the_call_is_killed(arguments: list[str | Path], plain: Trace, tmp_path: Path) -> None:
    """Ray ends with it; the next call, with or without workers, asks for what is missing."""
    out, log = tmp_path / "shared.parquet", tmp_path / "log"
    with CountingServer(answering, delay=0.1) as server:
        process = start(log, *arguments, "--out", out, *at(server), *SHARED)
        begun(process, log)
        parts = tmp_path / "shared.parquet.parts"
        while process.is_alive() and not list(parts.glob("0*.parquet")):
            time.sleep(0.01)
        seen = below(process.pid)
        idle = agents(seen)
        process.kill()
        process.join()
        assert_gone([one for one in seen if one not in idle])
        kept = len(list(parts.glob("0*.parquet")))
        server.delay = 0
        status, said = record(*arguments, "--out", out, *at(server))
    assert status == 0, said
    assert 0 < kept < QUESTIONS
    assert f"{QUESTIONS} runs, {QUESTIONS - kept} of them new" in said
    assert_equal(plain, read_trace(out))


def test_a_search_is_shared(tmp_path: Path) -> None:
    """The same trials in the same order as in one process, for the same seed and rounds."""
    runs = tmp_path / "runs.parquet"
    write_trace(runs, reading(24))
    call = (runs, "--space", BUDGETS, "--trials", 14, "--batch", 4)
    fronts = []
    for name, more in (("alone", ()), ("shared", ("--workers", 2))):
        code, printed = stopping(*call, "--out", tmp_path / name, *more)
        assert code == 0, printed
        fronts.append(_front(tmp_path / name))
    assert fronts[0] == fronts[1]
    assert len(fronts[0]["trials"]) == 14


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--ray", "127.0.0.1:1"), "--ray 127.0.0.1:1: no cluster can be reached: "),
        (("--ray", "nowhere.invalid:6379"), "--ray nowhere.invalid:6379: no cluster can be reac"),
        (("--ray", "ray://127.0.0.1:1"), "--ray must be local, or HOST:PORT of a cluster, got 'r"),
        (("--ray", "auto"), "--ray must be local, or HOST:PORT of a cluster, got 'auto'"),
    ],
)
def test_no_cluster(
    arguments: list[str | Path], tmp_path: Path, more: tuple[str, ...], message: str
) -> None:
    """An address where there is none is told at once, in a line."""
    began = time.monotonic()
    out, model = tmp_path / "t.parquet", ("--base-url", "http://127.0.0.1:1", "--model", "m")
    status, said = record(*arguments, "--out", out, *model, *more)
    assert (status, message in said) == (1, True), said
    assert time.monotonic() - began < 15
    assert not out.exists()


def test_something_else_answers(arguments: list[str | Path], tmp_path: Path) -> None:
    """What is no server of gRPC is not tried for minutes."""
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"127.0.0.1:{server.server_port}"
        out, model = tmp_path / "t.parquet", ("--base-url", "http://127.0.0.1:1", "--model", "m")
        status, said = record(*arguments, "--out", out, *model, "--ray", address)
        server.shutdown()
    assert (status, "no cluster can be reached: what answers there is none" in said) == (1, True)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--workers", 0), "--workers must be in [1, 8], the settings a round, got 0"),
        (("--workers", 9), "--workers must be in [1, 8], the settings a round, got 9"),
        (("--workers", 3, "--batch", 2), "--workers must be in [1, 2], the settings a round, got"),
        (("--batch", 0), "--batch must be >= 1, got 0"),
    ],
)
def test_arguments_of_a_search(tmp_path: Path, more: tuple[Any, ...], message: str) -> None:
    """What cannot be is refused before anything is read."""
    code, printed = stopping("none.parquet", "--out", tmp_path / "out", *more)
    assert (1, True) == (code, message in printed), printed


def test_workers_are_counted(arguments: list[str | Path], tmp_path: Path) -> None:
    """Fewer than one are refused."""
    status, said = record(*arguments, "--out", tmp_path / "t.parquet", "--workers", "0")
    assert (status, "--workers" in said) == (2, True), said


def test_without_ray(tmp_path: Path) -> None:
    """Not asked for, it is not imported; asked for and missing, its extra is named."""
    write_trace(tmp_path / "runs.parquet", reading(24))
    questions = save_questions(tmp_path / "q.jsonl", 1)
    call = ["record", str(questions), "--model", "m", "--base-url", "http://127.0.0.1:1/v1"]
    call += ["--out", str(tmp_path / "t.parquet")]
    search = ["tune", str(tmp_path / "runs.parquet"), "--out", str(tmp_path / "out")]
    search += ["--space", BUDGETS, "--trials", "1", "--batch", "2"]
    program = """
import json, sys
from typer.testing import CliRunner
from stopping_core.cli.app import app
call, search = json.loads(sys.argv[1])
outputs = [CliRunner().invoke(app, one).output for one in (call, search)]
imported = "ray" in sys.modules
sys.modules["ray"] = None
outputs += [CliRunner().invoke(app, [*one, "--workers", "1"]).output for one in (call, search)]
print(json.dumps([imported, *(" ".join(one.split()) for one in outputs)]))
"""
    command = [sys.executable, "-c", program, json.dumps([call, search])]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    imported, recorded, found, *missing = json.loads(told)
    assert not imported
    assert "APIConnectionError" in recorded
    assert "Wrote front.json" in found
    assert ["'stopping-core[ray]'" in one for one in missing] == [True, True], missing
