"""``stopping tune``: it goes on where it was left, and with nothing else; mistakes are told."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from itertools import count
from pathlib import Path

import optuna
import pytest

from stopping_core.policies import Policy
from stopping_core.traces.run import Trace
from stopping_core.traces.store import write_trace
from tests.cli.recorded import reading
from tests.cli.test_tune import BUDGETS, _front, budgets, stopping

ROOT = Path(__file__).parents[2]
TRIALS = 12
RUNS = 24

_asked = count(1)


def waiting(trial: optuna.Trial) -> Policy:
    """The same as ``budgets``, in a process of its own caught at work in its third trial."""
    policy = budgets(trial)
    if (caught := os.environ.get("TUNE_CAUGHT")) and next(_asked) > 2:
        Path(caught).touch()
        time.sleep(60)
    return policy


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tune") / "runs.parquet"
    write_trace(path, reading(RUNS))
    return path


def _finished(out: Path) -> int:
    """How many trials the database holds as complete."""
    with closing(sqlite3.connect(f"file:{out / 'tune.db'}?mode=ro", uri=True)) as base:
        sql = "SELECT count(*) FROM trials WHERE state = 'COMPLETE'"
        return int(base.execute(sql).fetchone()[0])


def _break_off(signum: int, out: Path, *arguments: object) -> int:
    """Start a search in a process of its own, and end it in the third trial from there."""
    caught = out.with_name(f"caught {signum}")
    listens = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    begin = "from stopping_core.cli.app import main; main()"  # a job in the background would not
    command = [sys.executable, "-c", f"{listens}; {begin}", "tune"]
    process = subprocess.Popen(
        [*command, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "TUNE_CAUGHT": str(caught)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while process.poll() is None and not caught.exists():
        time.sleep(0.01)
    process.send_signal(signum)
    return process.wait()


def test_a_search_that_was_broken_off_goes_on(runs: Path, tmp_path: Path) -> None:
    """After Ctrl-C and after kill -9, one trial lost each: the same trials as undisturbed."""
    space = ("--space", f"{__name__}:waiting", "--trials", TRIALS)
    whole = (runs, "--out", tmp_path / "whole", *space)
    broken = (runs, "--out", tmp_path / "broken", *space)
    assert 0 == stopping(*whole)[0]
    assert 130 == _break_off(signal.SIGINT, tmp_path / "broken", *broken)
    assert -signal.SIGKILL == _break_off(signal.SIGKILL, tmp_path / "broken", *broken)
    assert 4 == _finished(tmp_path / "broken")
    code, printed = stopping(*broken)
    assert code == 0, printed
    expected, found = _front(tmp_path / "whole"), _front(tmp_path / "broken")
    assert (TRIALS, 2) == (found["counts"]["trials"], found["counts"]["interrupted"])
    unnumbered = [
        [(one["saving"], one["lost"]) for one in each["trials"]] for each in (expected, found)
    ]
    assert unnumbered[0] == unnumbered[1]
    assert [one["params"] for one in expected["front"]] == [one["params"] for one in found["front"]]


def test_trials_are_counted_in_all(runs: Path, tmp_path: Path) -> None:
    """More of them go on, as many or fewer only report; --timeout ends a call early."""
    command = (runs, "--out", tmp_path, "--space", BUDGETS)
    counts = []
    for more in (("--trials", 2), ("--trials", 4), ("--trials", 1), ("--timeout", 1e-9)):
        code, printed = stopping(*command, *more)
        assert code == 0, printed
        counts.append(_front(tmp_path)["counts"]["trials"])
    assert [2, 4, 4, 4] == counts


def test_another_storage_is_used(runs: Path, tmp_path: Path) -> None:
    """The database stands where it was named, and its password is not shown."""
    url = f"sqlite:///{tmp_path / 'named.db'}"
    command = (runs, "--out", tmp_path / "out", "--space", BUDGETS, "--trials", 1)
    assert 0 == stopping(*command, "--storage", url)[0]
    assert (tmp_path / "named.db").exists()
    assert not (tmp_path / "out" / "tune.db").exists()


def test_another_search_is_refused(runs: Path, tmp_path: Path) -> None:
    """Other runs, another seed, another space: the argument, what is held, what was given."""
    out = ("--out", tmp_path / "out", "--trials", 1)
    assert 0 == stopping(runs, *out, "--space", BUDGETS)[0]
    write_trace(tmp_path / "other.parquet", reading(RUNS, seed=1))
    for arguments, messages in (
        ((tmp_path / "other.parquet", *out, "--space", BUDGETS), ("traces must be ['", "got ['")),
        ((runs, *out, "--space", BUDGETS, "--seed", 7), ("--seed must be 0, as in", "got 7")),
        ((runs, *out), (f"--space must be '{BUDGETS}', as in", "got 'stopping_core'")),
    ):
        code, printed = stopping(*arguments)
        assert code == 1
        for message in messages:
            assert message in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--trials", "0"), "--trials must be >= 1, got 0"),
        (("--seed", "-1"), "--seed must be >= 0, got -1"),
        (("--timeout", "0"), "--timeout must be in (0, inf), seconds, got 0.0"),
        (("--timeout", "nan"), "--timeout must be in (0, inf), seconds, got nan"),
        (("--space", "nowhere:space"), "--space must be an importable 'nowhere:space'"),
        (
            ("--space", "tests/cli/test_tune.py:budgets"),
            "must be tests.cli.test_tune:budgets",
        ),
        (("--space", "tests.cli.test_tune:RECORDED"), "--space must name a function"),
        (("--space", "tests.cli.test_tune:no_policy"), "--space must return a Policy, got"),
        (("--space", "tests.cli.test_tune:hopeless"), "one that could be tried, got none: tokens"),
        (("--space", "tests.cli.test_tune:pruned"), "one that could be tried, got none: of no use"),
        (("--timeout", "1e-9"), "got none: --timeout was over before the first"),
        (("--storage", "nonsense"), "--storage must be a database that can be used, got nonsense"),
        (
            ("--storage", "postgresql://me:secret@127.0.0.1:1/base"),
            "got postgresql://me:***@127.0.0.1:1/base",
        ),
        (("--storage", "sqlite:////nowhere/tune.db"), "unable to open database file"),
    ],
)
def test_a_mistake_in_the_call_is_told(
    runs: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    """In a line that names the argument and its value, with the status of a failure."""
    code, printed = stopping(runs, "--out", tmp_path / "out", "--trials", "2", *arguments)
    assert (1, True) == (code, message in printed), printed


def test_a_database_of_something_else_is_told(runs: Path, tmp_path: Path) -> None:
    """A file that is none."""
    (tmp_path / "tune.db").write_text("no database" * 100)
    code, printed = stopping(runs, "--out", tmp_path, "--trials", 2)
    assert (1, True) == (code, "file is not a database" in printed), printed


def test_the_folder_is_no_file(runs: Path) -> None:
    """Where a file stands, nothing is searched."""
    code, printed = stopping(runs, "--out", runs)
    assert (1, True) == (code, "--out must be a folder, got the file" in printed), printed


def test_runs_that_do_not_go_together_are_refused(runs: Path, tmp_path: Path) -> None:
    """Of another kind, twice the same, or of one family."""
    made = reading(RUNS)
    other = Trace(replace(made.header, max_tokens=7), made.runs)
    thoughts = Trace(replace(made.header, reasoning_tags=("<a>", "</a>")), made.runs)
    single = Trace(made.header, tuple(replace(run, family="one") for run in made.runs))
    for name, trace in (("other", other), ("single", single), ("thoughts", thoughts)):
        write_trace(tmp_path / f"{name}.parquet", trace)
    for files, message in (
        (("other", None), "traces must have the same max_tokens, got 7 in"),
        (("thoughts", None), "traces must have the same reasoning_tags"),
        ((None, None), "traces must not share runs, got sample 0 of question 'q0' 2 times"),
        (("single",), "traces must hold at least 2 families"),
        (("missing",), "missing.parquet: cannot be read"),
    ):
        paths = [runs if name is None else tmp_path / f"{name}.parquet" for name in files]
        code, printed = stopping(*paths, "--out", tmp_path / "out", "--trials", 2)
        assert (1, True) == (code, message in printed), printed


def test_a_missing_package_says_what_to_install(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Optuna is needed by this command only."""
    for name in [name for name in sys.modules if name.startswith("stopping_core.cli.tune.")]:
        if not name.endswith("command"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "optuna", None)
    code, printed = stopping(runs, "--out", tmp_path, "--trials", 2)
    assert (1, True) == (code, "stopping-core[tune]" in printed), printed
