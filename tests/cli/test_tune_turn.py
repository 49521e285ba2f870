"""``stopping tune``: one call at a time is at work on a search, wherever it writes to."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from stopping_core.cli.tune.turn import Turn
from stopping_core.policies import MaxTokens, Policy
from stopping_core.traces.store import write_trace
from tests.cli.recorded import reading
from tests.cli.test_tune import BUDGETS, _front, stopping

TRIALS = 3
LOCKED, TOLD = "sqlite:///{}/tune.db", "sqlite:///file:{}/tune.db?mode=rwc&uri=true"
"""A file that is known to be one, and a database that stands for one on a server."""

_second: list[object] = []
"""The call that a trial makes in the middle of another call, once."""

_said: list[tuple[int, str]] = []


def intruded(trial: optuna.Trial) -> Policy:
    """Budgets; in the first trial somebody makes a second call."""
    if _second:
        call = _second.copy()
        _second.clear()
        _said.append(stopping(*call))
    return MaxTokens(trial.suggest_int("tokens", 4, 60))


def ended(trial: optuna.Trial) -> Policy:
    """Budgets; somebody ends the trial while it runs."""
    trial.study.tell(trial.number, state=TrialState.FAIL)
    return MaxTokens(8)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("turn") / "runs.parquet"
    write_trace(path, reading(12))
    return path


@pytest.mark.parametrize("url", [LOCKED, TOLD], ids=["file", "elsewhere"])
def test_a_second_call_is_refused_and_the_first_goes_on(
    runs: Path, tmp_path: Path, url: str
) -> None:
    """It names the database and another folder: the running trial stays the first call's."""
    database = url.format(tmp_path)
    command = (runs, "--storage", database, "--trials", TRIALS, "--space", f"{__name__}:intruded")
    _said.clear()
    _second[:] = (*command, "--out", tmp_path / "second")
    code, printed = stopping(*command, "--out", tmp_path / "first")
    ((refused, why),) = _said
    assert (1, 0) == (refused, code), printed
    assert "--storage must be a database that no other call is at work on, got sqlite:" in why
    counts = _front(tmp_path / "first")["counts"]
    assert (TRIALS, 0) == (counts["tried"], counts["interrupted"])
    code, printed = stopping(*command, "--out", tmp_path / "second")
    assert code == 0, printed


def test_a_trial_that_was_ended_is_told(runs: Path, tmp_path: Path) -> None:
    """In a line, with the status of a failure."""
    space = f"{__name__}:ended"
    code, printed = stopping(runs, "--out", tmp_path, "--space", space, "--trials", TRIALS)
    assert (1, True) == (code, "it ended the running trial" in printed), printed


def test_two_calls_into_one_folder_are_refused(runs: Path, tmp_path: Path) -> None:
    """Its database is the same by default; the lock goes with the call that took it."""
    command = (runs, "--out", tmp_path, "--space", BUDGETS, "--trials", TRIALS)
    turn = Turn(f"sqlite:///{tmp_path}/tune.db")
    turn.take()
    code, printed = stopping(*command)
    assert (1, True) == (code, "no other call is at work on" in printed), printed
    turn.end()
    assert 0 == stopping(*command)[0]


def test_word_is_left_where_there_is_no_lock() -> None:
    """It stands while it is renewed, and ten minutes after a call that was killed."""
    now = [0.0]
    study = optuna.create_study()
    killed, other = (Turn("postgresql://host/base", lambda: now[0]) for _ in range(2))
    for now[0] in (0.0, 400.0):
        killed.take()
        killed.hold(study)
    now[0] = 999.0
    with pytest.raises(ValueError, match=r"got postgresql://host/base: .* again in 1 min"):
        other.hold(study)
    now[0] = 1000.0
    other.hold(study)
    with pytest.raises(ValueError, match="again in 10 min"):
        killed.hold(study)
    killed.end(study)
    with pytest.raises(ValueError, match="again in 10 min"):
        killed.hold(study)
    other.end(study)
    killed.hold(study)
