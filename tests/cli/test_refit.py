"""``stopping refit``: from requests that production answers to the certificate in use next."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from langchain_openai import ChatOpenAI
from pydantic import SecretStr
from typer.testing import CliRunner

from langchain_stopping import AdaptiveChatModel
from stopping_core.certificates import Certificate
from stopping_core.cli.app import app
from stopping_core.cli.refit import run as refitting
from stopping_core.steering import Catalogue, Entry
from stopping_core.traces.run import Header, Run
from stopping_core.traces.run_log import RunLog, read_log
from tests.calibration.certified import made_certificate, made_scope
from tests.cli.certifiable import TEMPLATE, certifiable
from tests.support.sse_server import MODEL, CountingServer, Script

RISK = "0.1"
HEADER = Header(MODEL, "", TEMPLATE.name, TEMPLATE.fingerprint, 100)
BEFORE, SINCE = 280, 120


def _runs(start: int, number: int) -> tuple[Run, ...]:
    return certifiable(start + number).runs[start:]


def refit(folder: Path, *more: object) -> tuple[int, str]:
    arguments = ["refit", folder, "--levels", RISK, "--after", 200, *more]
    done = CliRunner().invoke(app, [str(one) for one in arguments])
    return done.exit_code, " ".join(done.output.split())


def entry_of(folder: Path) -> Entry:
    return Catalogue(folder).entry(MODEL, TEMPLATE)


def log(folder: Path, runs: Sequence[Run], since: float) -> None:
    """Put runs where production would have, all in one frame."""
    log = RunLog(entry_of(folder).runs, HEADER)
    for place, run in enumerate(runs):
        log.append(run, since + place)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A catalogue with a challenger."""
    folder = tmp_path_factory.mktemp("challenged")
    log(folder, _runs(0, BEFORE), 1.0)
    code, told = refit(folder)
    assert (0, True) == (code, "refit 1: a challenger is certified by 280 runs" in told), told
    return folder


@pytest.fixture
def challenged(made: Path, tmp_path: Path) -> Path:
    """One of its own."""
    return Path(shutil.copytree(made, tmp_path / "catalogue"))


def _worse(run: Run) -> Run:
    """What a stop after the first sentences loses: it is right in its last one only."""
    (city,) = run.gold
    tokens = [one.replace(city, "Nowhere") for one in run.tokens]
    return replace(run, tokens=(*tokens, " It", " is", f" {city}", "."))


@pytest.fixture
def server() -> Iterator[CountingServer]:
    """Says what was recorded, to whoever asks for it."""
    known = {_message(run): list(run.tokens) for run in _runs(0, BEFORE + SINCE + 1)}

    def said(body: Mapping[str, Any]) -> Script:
        return Script(tuple(known[body["messages"][-1]["content"]]))

    with CountingServer(said, delay=0) as server:
        yield server


def _message(run: Run) -> str:
    return run.prompt.removeprefix("<|user|>").removesuffix("<eos><|assistant|>")


def test_from_shadow_to_a_certificate_in_use(tmp_path: Path, server: CountingServer) -> None:
    """A model that nobody has certified is answered uncut, recorded, and cut in the end."""
    catalogue = Catalogue(tmp_path)
    gold = {run.question: run.gold for run in _runs(0, BEFORE + SINCE)}
    inner = ChatOpenAI(
        base_url=server.base_url,
        model=MODEL,
        api_key=SecretStr("none"),
        max_retries=0,
        temperature=0,
    )

    def serve(runs: Sequence[Run]) -> AdaptiveChatModel:
        entry = catalogue.entry(MODEL, TEMPLATE)
        recorder = entry.recorder(
            "contains",
            lambda request, answer: _gold(request.question, gold),
            share=1,
            max_tokens=100,
        )
        model = AdaptiveChatModel(inner=inner, stopping=entry.load(float(RISK), hooks=(recorder,)))
        for run in runs:
            assert run.text == model.invoke(_message(run)).content
        assert {} == dict(recorder.skipped)
        return model

    serve(_runs(0, BEFORE))
    assert (0, True) == _said(refit(tmp_path), "a challenger is certified by 280 runs")
    serve(_runs(BEFORE, SINCE))
    assert (0, True) == _said(refit(tmp_path), "promoted as 1")
    (unseen,) = _runs(BEFORE + SINCE, 1)
    model = serve(())
    assert "active" == model.stopping.mode
    answer = model.invoke(_message(unseen))
    assert "learned" == answer.response_metadata["stopping"]["reason"]
    assert len(str(answer.content)) < len(unseen.text)


def _gold(message: str, gold: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    return next(answers for question, answers in gold.items() if question in message)


def _said(done: tuple[int, str], words: str) -> tuple[int, bool]:
    assert words in done[1], done[1]
    return done[0], words in done[1]


def test_nothing_is_fitted_before_there_is_enough(tmp_path: Path) -> None:
    """Nor without an entry, nor without a run."""
    code, told = refit(tmp_path)
    assert (1, True) == (code, "must have entries" in told)
    entry_of(tmp_path)
    assert (0, True) == _said(refit(tmp_path), "no run was recorded yet")
    log(tmp_path, _runs(0, 199), 1.0)
    assert (0, True) == _said(refit(tmp_path), "199 runs, 199 of them new; refitted after 200 new")
    assert not entry_of(tmp_path).releases.history


def test_a_challenger_is_certified_on_runs_that_it_was_not_fitted_on(challenged: Path) -> None:
    """And compared on others still, which came later."""
    made = Certificate.load(entry_of(challenged).folder / "refits/0001/certificate.json")
    assert not set(made.fitted.passages) & set(made.certified.passages)
    log(challenged, _runs(BEFORE, SINCE), 1000.0)
    assert (0, True) == _said(refit(challenged), "promoted as 1")
    assert [] == list(challenged.glob("**/*.parquet"))  # they hold prompts, as the log does
    (release,) = entry_of(challenged).releases.history
    assert made.fingerprint == release.certificate
    assert "points of an answer" in release.why


def test_few_runs_decide_nothing(challenged: Path) -> None:
    """However often it is looked at."""
    log(challenged, _runs(BEFORE, 10), 1000.0)
    for _ in range(2):
        assert (0, True) == _said(refit(challenged), "10 runs compared at 0.1")
        assert "undecided" in refit(challenged)[1]
    assert not entry_of(challenged).releases.history


def test_one_that_loses_too_much_is_dropped(challenged: Path) -> None:
    """Though it was certified: prompts have changed since."""
    log(challenged, [_worse(run) for run in _runs(BEFORE, SINCE)], 1000.0)
    assert (0, True) == _said(refit(challenged), "the one in use is kept")
    assert not entry_of(challenged).releases.history
    assert (0, True) == _said(refit(challenged), "400 runs, 0 of them new")


def test_one_that_is_no_better_is_given_up(challenged: Path) -> None:
    """After as many runs as are kept: a champion that cuts alike leaves nothing to win."""
    log(challenged, _runs(BEFORE, SINCE), 1000.0)
    refit(challenged)
    entry = entry_of(challenged)
    log(challenged, _runs(500, 200), 2000.0)
    assert (0, True) == _said(refit(challenged), "refit 2: a challenger is certified by 600 runs")
    log(challenged, _runs(800, 100), 3000.0)
    told = refit(challenged, "--most", 200)[1]
    assert "undecided" in told, told
    log(challenged, _runs(900, 100), 4000.0)
    told = refit(challenged, "--most", 200)[1]
    assert "given up, as 200 requests could not decide" in told, told
    assert 1 == len(entry.releases.history)


def test_held_back_it_is_promoted_by_hand(challenged: Path) -> None:
    """By the command that is told; then it is in use, and compared no longer."""
    log(challenged, _runs(BEFORE, SINCE), 1000.0)
    told = refit(challenged, "--hold")[1]
    command = told[told.index("promote ") :].split()
    assert not entry_of(challenged).releases.history
    assert 0 == CliRunner().invoke(app, command).exit_code
    assert (0, True) == _said(refit(challenged, "--hold"), "refit 1 is in use")


def test_runs_that_certify_nothing_make_no_challenger(tmp_path: Path) -> None:
    """They are tried again when there are as many more."""
    log(tmp_path, _runs(0, BEFORE), 1.0)
    assert (0, True) == _said(refit(tmp_path, "--levels", "0.001"), "no level is certified")
    assert (0, True) == _said(refit(tmp_path), "0 of them new")


def test_a_level_that_the_challenger_lacks_ends_it(challenged: Path) -> None:
    """What is in use is 1 percent, and it keeps 10."""
    log(challenged, _runs(BEFORE, SINCE), 1000.0)
    assert (0, True) == _said(
        refit(challenged, "--risk", 0.01), "certified from 0.1 on only, and 0.01 is needed"
    )


def test_entries_do_not_wait_for_each_other(challenged: Path) -> None:
    """One that is damaged is told, one that is being refitted left alone."""
    catalogue = Catalogue(challenged)
    other = catalogue.entry("other", "explain")
    (other.folder / "refit.json").write_text("{]", "utf-8")
    with FileLock(entry_of(challenged).folder / ".refit.lock"):
        code, told = refit(challenged)
    assert 1 == code
    assert "another process is at it" in told
    assert "refit.json: not a JSON text" in told


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--after", 0), "--after must be >= 1, got 0"),
        (("--most", 100), "--after must be at most --most, 100, got 200"),
        (("--risk", 1.5), "--risk must be in (0, 1), got 1.5"),
        (("--delta", 0), "--delta must be in (0, 1), got 0"),
        (("--cron", "daily"), "--cron must be five fields of a crontab, got 'daily'"),
    ],
)
def test_wrong_settings_are_named(tmp_path: Path, more: tuple[object, ...], message: str) -> None:
    code, told = refit(tmp_path, *more)
    assert (1, True) == (code, message in told), told
    assert 1 == refit(tmp_path / "nowhere")[0]


def test_old_runs_are_forgotten(tmp_path: Path) -> None:
    """Those before the latest that are asked for, file by file."""
    log(tmp_path, _runs(0, 50), 1.0)
    (old,) = entry_of(tmp_path).runs.glob("*.jsonl")
    os.utime(old, (1, 1))
    log(tmp_path, _runs(50, BEFORE), 1000.0)
    refit(tmp_path, "--most", BEFORE)
    assert not old.exists()
    assert BEFORE == read_log(entry_of(tmp_path).runs, 0.0, 1e12).count


def test_by_a_schedule_it_goes_on_until_it_is_told_to_end(tmp_path: Path) -> None:
    """At once, at the times of the crontab, and through what fails."""
    entry = entry_of(tmp_path)
    log(tmp_path, _runs(0, BEFORE), 1.0)
    command = [str(Path(sys.executable).with_name("stopping")), "refit", str(tmp_path)]
    command += ["--levels", RISK, "--after", "200", "--cron", "0 0 1 1 *"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        certificate = entry.folder / "refits/0001/certificate.json"
        for _ in range(600):
            if certificate.exists() or process.poll() is not None:
                break
            time.sleep(0.1)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        told, _ = process.communicate(timeout=60)
    assert 0 == process.returncode, told.decode()
    assert certificate.exists()
    assert json.loads((entry.folder / "refit.json").read_text("utf-8"))["number"] == 1


def test_a_challenger_must_have_the_levels_that_services_may_load(challenged: Path) -> None:
    """The least of those in use; else a service that asks for it would cut nothing any more."""
    log(challenged, _runs(BEFORE, SINCE), 1000.0)
    refit(challenged)
    log(challenged, _runs(500, 200), 2000.0)
    told = refit(challenged, "--levels", "0.4")[1]
    assert "refit 2: a challenger is certified" in told, told
    assert (0, True) == _said(refit(challenged), "certified from 0.4 on only, and 0.1 is needed")


def test_runs_of_another_kind_do_not_count(challenged: Path) -> None:
    """Of another cap, temperature or frame: a certificate is not compared on what it is not for."""
    runs = _runs(BEFORE, SINCE)
    others = replace(HEADER, max_tokens=40), replace(HEADER, temperature=0.7)
    for number, header in enumerate(others):
        other = RunLog(entry_of(challenged).runs, header)
        for place, run in enumerate(runs):
            other.append(replace(run, question_id=f"{number} {place}"), 1000.0 + place)
    framed = [replace(run, prompt=f"SYSTEM {run.prompt}") for run in runs]
    log(challenged, framed, 1000.0)
    told = refit(challenged)[1]
    assert "0 runs compared" in told, told
    log(challenged, _runs(500, SINCE), 2000.0)
    assert (0, True) == _said(refit(challenged), "promoted as 1")


def test_a_few_runs_in_another_frame_stop_nothing(tmp_path: Path) -> None:
    """Nor do damaged lines, or a prompt that is not of the template."""
    runs = _runs(0, BEFORE + 4)
    log(tmp_path, runs[4:], 1.0)
    log(tmp_path, [replace(run, prompt=f"SYSTEM {run.prompt}") for run in runs[:2]], 400.0)
    log(tmp_path, [replace(run, prompt="Hello!") for run in runs[2:4]], 500.0)
    for path in entry_of(tmp_path).runs.glob("*.jsonl"):
        path.write_bytes(path.read_bytes() + b"{]\n")
    assert (0, True) == _said(refit(tmp_path), "a challenger is certified by 280 runs")


def test_what_is_not_drawn_as_the_traffic_is_makes_no_challenger(tmp_path: Path) -> None:
    """Where too many of the requests that were drawn could not be recorded."""
    log(tmp_path, _runs(0, BEFORE), 1.0)
    unseen = RunLog(entry_of(tmp_path).runs, HEADER)
    for number in range(5):
        unseen.note("broke off", 2.0 + number)
    code, told = refit(tmp_path)
    assert 1 == code
    assert "got 5 of 285 (broke off: 5)" in told, told
    log(tmp_path, _runs(300, 400), 1000.0)
    assert (0, True) == _said(refit(tmp_path), "a challenger is certified by 680 runs")


def test_looking_often_is_no_second_chance(challenged: Path) -> None:
    """Each look begins with the first run that came after the fit."""
    log(challenged, [_worse(run) for run in _runs(BEFORE, 60)], 1000.0)
    log(challenged, _runs(400, 400), 2000.0)
    told = refit(challenged, "--most", 5000)[1]
    assert "promoted" not in told, told


def test_what_was_promoted_by_hand_meanwhile_stays(
    challenged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The challenger was compared with another one."""
    log(challenged, _runs(BEFORE, SINCE), 1000.0)
    entry, replayed = entry_of(challenged), refitting._replayed

    def slow(*arguments: Any) -> Any:
        made = made_certificate(scope=replace(made_scope(), model=MODEL, template=TEMPLATE))
        made.write(challenged / "by-hand.json")
        entry.releases.promote(challenged / "by-hand.json", "by hand")
        return replayed(*arguments)

    monkeypatch.setattr(refitting, "_replayed", slow)
    code, told = refit(challenged)
    assert 1 == code
    assert "over must be the certificate in use" in told
    assert ["by hand"] == [one.why for one in entry.releases.history]
