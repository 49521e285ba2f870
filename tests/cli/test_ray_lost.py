"""``--workers`` on a local model, on a cluster whose machines die, and under Ctrl-C."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from stopping_core.traces.run import Trace
from stopping_core.traces.store import read_trace, write_trace
from tests.cli.asking import at, record
from tests.cli.recorded import reading
from tests.cli.recording import begun, save_model, save_questions, start
from tests.cli.test_ray import SHARED, answering, assert_gone, below, workers
from tests.cli.test_record_killed import assert_equal
from tests.cli.test_tune import BUDGETS, _front, stopping
from tests.support.sse_server import CountingServer

pytest.importorskip("ray", reason="no Ray: it is in requirements-dev.txt, and CI has it")

from stopping_core.cli.cluster import workers as workers_module
from stopping_core.cli.cluster.workers import Workers

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
QUESTIONS = 12


def loud() -> dict[str, int]:
    """A tool whose making is not free of doubts."""
    logging.getLogger("stopping_core").warning("hear me")
    return {}


def broken() -> dict[str, int]:
    """A tool that there is not."""
    raise OSError("no such model here")


def dying() -> dict[str, int]:
    """A tool that takes its worker with it."""
    os._exit(1)


def poisonous(tool: dict[str, int], job: str) -> str:
    """One job ends its worker."""
    if job == "poison":
        os._exit(1)
    return job.upper()


def _shared(make: Callable[[], dict[str, int]]) -> Workers[dict[str, int]]:
    return Workers("local", 2, make, len, ("stopping-core",))


def test_a_job_that_ends_its_workers(caplog: pytest.LogCaptureFixture) -> None:
    """It is named after the fourth, with how many are not done; warnings are heard once."""
    jobs = {0: "a", 1: "b", 2: "poison"}
    with _shared(loud) as shared:
        assert shared.ask(poisonous, "alone") == "ALONE"
        with pytest.raises(ConnectionError, match=r"4 workers died of doing 'poison': .*: 1 of 3"):
            list(shared.deal(poisonous, jobs))
    assert caplog.messages.count("hear me") == 1
    assert sum("a worker died: " in message for message in caplog.messages) == 4


def test_workers_that_cannot_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    """They die, or raise, or have another version: each is told."""
    with pytest.raises(OSError, match=r"^no such model here$"), _shared(broken):
        pass
    with pytest.raises(ConnectionError, match=r"^4 workers died of beginning: "), _shared(dying):
        pass
    monkeypatch.setattr(workers_module, "version", lambda name: "9")
    with pytest.raises(ValueError, match="must have stopping-core 9, as this"), _shared(loud):
        pass


@pytest.fixture
def local(tmp_path: Path) -> list[str | Path]:
    """Arguments that record a local model in batches of two, with probes."""
    asked = save_questions(tmp_path / "q.jsonl", QUESTIONS)
    model = save_model(tmp_path / "model")
    return [
        *(asked, "--model", model, "--template", "raw", "--threads", "1", "--batch", "2"),
        *("--max-tokens", "60", "--probe-every", "20", "--probe-tokens", "4"),
        *("--samples", "2", "--temperature", "1", "--top-logprobs", "4"),
    ]


def _whole(arguments: list[str | Path], out: Path) -> Trace:
    status, said = record(*arguments, "--out", out)
    assert status == 0, said
    return read_trace(out)


def _first_part(process: Any, parts: Path) -> None:
    while process.is_alive() and not list(parts.glob("0*.parquet")):
        time.sleep(0.005)


def test_local_under_kills(local: list[str | Path], tmp_path: Path) -> None:
    """Two workers killed, Ctrl-C, the call killed: the file equals that of one process."""
    whole = _whole(local, tmp_path / "whole.parquet")
    out, log = tmp_path / "shared.parquet", tmp_path / "log"
    parts = tmp_path / "shared.parquet.parts"
    shared = [*local, "--out", out, "--workers", "2"]
    seen: list[Any] = []
    for signum in (signal.SIGINT, signal.SIGKILL):
        process = start(log, *shared)
        begun(process, log)
        assert process.pid is not None
        seen += below(process.pid)
        os.kill(workers(below(process.pid))[0].pid, signal.SIGKILL)
        kept = len(list(parts.glob("0*.parquet")))
        while process.is_alive() and len(list(parts.glob("0*.parquet"))) <= kept:
            time.sleep(0.005)
        seen += [one for one in below(process.pid) if one not in seen]
        os.kill(process.pid, signum)
        process.join()
        assert process.exitcode == (130 if signum == signal.SIGINT else -signal.SIGKILL)
        assert parts.exists()
    process = start(log, *shared)
    process.join()
    assert process.exitcode == 0, log.read_text()
    assert_equal(whole, read_trace(out))
    assert_gone(seen, within=90)


def test_ctrl_c(tmp_path: Path) -> None:
    """At a terminal it reaches all of Ray as well: a line that says how to go on, nothing left."""
    questions = save_questions(tmp_path / "q.jsonl", QUESTIONS)
    out = tmp_path / "t.parquet"
    listens = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    begin = "from stopping_core.cli.app import main; main()"
    with CountingServer(answering, delay=0.2) as server:
        process = subprocess.Popen(
            [
                *(sys.executable, "-c", f"{listens}; {begin}", "record", str(questions)),
                *("--out", str(out), *at(server), *SHARED, "--top-logprobs", "1"),
            ],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        while process.poll() is None and not list(Path(f"{out}.parts").glob("0*.parquet")):
            time.sleep(0.01)
        seen = below(process.pid)
        os.killpg(process.pid, signal.SIGINT)
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"of {QUESTIONS} runs are recorded: the same `stopping record` goes on" in said
    assert "Traceback" not in said
    assert_gone(seen)


@pytest.fixture
def cluster() -> Iterator[Any]:
    """Three machines, which are processes: one for the call, and two with a CPU each."""
    command = [sys.executable, "-c", _CLUSTER]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        seen = below(process.pid)
        process.communicate("end\n", timeout=60)
        assert_gone([one for one in seen if one.is_running()] or [process], within=90)


_CLUSTER = """
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
cluster.wait_for_nodes()
print("at", cluster.address, flush=True)
while (line := input()) != "end":
    if line == "lose":
        cluster.remove_node(nodes.pop(), allow_graceful=False)
    if line == "add":
        nodes.append(cluster.add_node(num_cpus=1))
    print("done", flush=True)
cluster.shutdown()
"""


def _told(cluster: Any, line: str = "") -> str:
    """Say a line, if any, and wait for the answer."""
    if line:
        cluster.stdin.write(f"{line}\n")
        cluster.stdin.flush()
    while not (answer := cluster.stdout.readline()).startswith(("at ", "done")):
        assert answer, "the cluster has ended"
    return str(answer).split()[-1]


def test_a_machine_is_lost(cluster: Any, tmp_path: Path) -> None:
    """The other one goes on alone, and a machine that comes takes part; the file is the same."""
    asked = save_questions(tmp_path / "q.jsonl", 40)
    whole = tmp_path / "whole.parquet"
    address = _told(cluster)
    with CountingServer(answering, delay=0) as server:
        arguments: list[str | Path] = [asked, *at(server), "--top-logprobs", "1"]
        expected = _whole(arguments, whole)
        server.delay = 0.3
        out = tmp_path / "shared.parquet"

        def lose() -> None:
            while not list(Path(f"{out}.parts").glob("00000[4-9].parquet")):
                time.sleep(0.05)
            _told(cluster, "lose")
            _told(cluster, "add")

        losing = Thread(target=lose)
        losing.start()
        command = [sys.executable, "-c", "from stopping_core.cli.app import main; main()"]
        command += ["record", *map(str, arguments), "--out", str(out), *SHARED, "--ray", address]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        losing.join()
        asked_for = sum(one["max_tokens"] > 1 for one in server.requests)
    assert done.returncode == 0, done.stdout + done.stderr
    assert_equal(expected, read_trace(out))
    assert 80 < asked_for <= 84


def test_more_workers_than_room(cluster: Any, tmp_path: Path) -> None:
    """They are refused with what there is."""
    address = _told(cluster)
    command = [sys.executable, "-c", "from stopping_core.cli.app import main; main()", "record"]
    command += [str(save_questions(tmp_path / "q.jsonl", 2)), "--out", str(tmp_path / "t.parquet")]
    command += ["--base-url", "http://127.0.0.1:1", "--model", "m", "--ray", address]
    done = subprocess.run(
        [*command, "--workers", "3"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, "--workers must be <= 2, as the" in done.stderr) == (1, True), done


def test_workers_of_a_search(tmp_path: Path) -> None:
    """One worker and two find the same front, and one setting a round is the search without."""
    runs = tmp_path / "runs.parquet"
    write_trace(runs, reading(24))
    call = (runs, "--space", BUDGETS, "--trials", 14)
    names = count()

    def front(*more: object) -> Any:
        out = tmp_path / str(next(names))
        code, printed = stopping(*call, "--out", out, *more)
        assert code == 0, printed
        return _front(out)

    assert front("--workers", 1) == front("--workers", 2)
    assert front("--workers", 1, "--batch", 1) == front()
