"""``stopping tune``: what is searched, what is reported, what is written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import typer
from optuna.trial import FixedTrial
from typer.testing import CliRunner

from stopping_core.cli.tune.command import tune
from stopping_core.cli.tune.half import Searched
from stopping_core.cli.tune.runs import deal
from stopping_core.cli.tune.space import DefaultSpace
from stopping_core.completeness import default_check
from stopping_core.metrics import GRADERS
from stopping_core.policies import LoopGuard, MaxTokens, MinTokens, Patience, Policy, Threshold
from stopping_core.policies.learned import LearnedStopping
from stopping_core.signals import MeanLogprob, Sentences
from stopping_core.traces.evidence import MissingEvidence
from stopping_core.traces.replay import replay
from stopping_core.traces.run import Run, Trace
from stopping_core.traces.store import read_trace, write_trace
from tests.cli.certifiable import certifiable
from tests.cli.recorded import reading, reasoning

app = typer.Typer(pretty_exceptions_enable=False)
app.command()(tune)

TRIALS = 12
"""More than are drawn at random to begin with."""

RUNS = 48

RECORDED = Path(__file__).parents[1] / "data" / "trace.parquet"


def stopping(*arguments: object) -> tuple[int, str]:
    """Run the command in this process; return its exit code and what it printed."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, " ".join(result.output.split())


def budgets(trial: optuna.Trial) -> Policy:
    """Budgets, and sentences that may not be few tokens."""
    if trial.suggest_categorical("rule", ("budget", "sentences")) == "budget":
        return MaxTokens(trial.suggest_int("tokens", 4, 60))
    least = trial.suggest_int("least", 0, 20)
    return Threshold(Sentences(), at_least=trial.suggest_int("count", 1, 4)) & MinTokens(least)


def mixed(trial: optuna.Trial) -> Policy:
    """What ``budgets`` has, and the learned rule."""
    if not trial.suggest_categorical("learned", (False, True)):
        return budgets(trial)
    learned = LearnedStopping(trial.suggest_float("threshold", -8.0, -3.0), every=4)
    return learned & MinTokens(4) | LoopGuard()


def mostly_wrong(trial: optuna.Trial) -> Policy:
    """Budgets, of which those under 30 tokens are refused by their class."""
    tokens = trial.suggest_int("tokens", 1, 60)
    return MaxTokens(0 if tokens < 30 else tokens)


def hopeless(trial: optuna.Trial) -> Policy:
    """A budget of no token, which is refused."""
    return MaxTokens(trial.suggest_int("tokens", 0, 0))


def pruned(trial: optuna.Trial) -> Policy:
    """What Optuna's own examples do with a setting that is of no use."""
    raise optuna.TrialPruned("of no use")


def no_policy(trial: optuna.Trial) -> object:
    """What a user forgets to wrap."""
    return trial.suggest_int("tokens", 1, 8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made-up runs, and what a search of budgets and sentences makes of them."""
    folder = tmp_path_factory.mktemp("tune")
    write_trace(folder / "runs.parquet", _apart(reading(RUNS)))
    code, printed = stopping(*_call(folder, "out"))
    assert code == 0, printed
    (folder / "printed").write_text(printed, "utf-8")
    return folder


def _apart(trace: Trace) -> Trace:
    """Make each question a family: a few families have no intervals."""
    return replace(trace, runs=tuple(replace(run, group="", family="") for run in trace.runs))


def _call(
    folder: Path, out: str, *more: object, space: str = "budgets", runs: str = "runs.parquet"
) -> tuple[object, ...]:
    named = ("--space", f"{__name__}:{space}", "--trials", TRIALS)
    return (folder / runs, "--out", folder / out, *named, *more)


def _front(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "front.json").read_text("utf-8"))
    return found


def _right(run: Run, text: str) -> bool:
    return GRADERS[run.grader](text, run.gold, open_end=False) >= 1


def _replayed(runs: tuple[Run, ...], policy: Policy) -> tuple[float, float]:
    """Percent saved and points lost, as the engine that cuts live has it."""
    left = [replay(run, policy, tags=None, check=default_check()) for run in runs]
    lost = sum(
        _right(run, run.text) and not _right(run, cut.text)
        for run, cut in zip(runs, left, strict=True)
    )
    saved = 1 - sum(cut.tokens for cut in left) / sum(map(len, runs))
    return 100 * saved, 100 * lost / len(runs)


def test_the_figures_of_the_front_are_those_of_the_engine(folder: Path) -> None:
    """On both halves, run by run, with the check that sessions ask."""
    searched, reported = deal(read_trace(folder / "runs.parquet"), 0)
    front = _front(folder / "out")["front"]
    assert len(front) > 2
    for one in front:
        policy = budgets(FixedTrial(one["params"]))  # type: ignore[arg-type]  # stands for a Trial
        for half, figures in ((searched, one["tuned"]), (reported, one["reported"])):
            saved, lost = _replayed(half.trace.runs, policy)
            assert figures["saving"] == pytest.approx(saved, abs=1e-3)
            assert figures["lost"] == pytest.approx(lost, abs=1e-3)
            assert figures["n"] == len(half.trace.runs)


def test_the_halves_share_no_family(folder: Path) -> None:
    """Together they are all runs."""
    trace = reading(RUNS)
    halves = deal(trace, 3)
    families = [{run.family for run in half.trace.runs} for half in halves]
    assert set() == families[0] & families[1]
    assert len(trace.runs) == sum(len(half.trace.runs) for half in halves)
    found = _front(folder / "out")
    assert RUNS == found["tuned"]["n"] + found["reported"]["n"]


def test_the_front_is_one(folder: Path) -> None:
    """More is lost from one setting to the next, and more is saved; no trial beats any."""
    found = _front(folder / "out")
    for one, other in pairwise(found["front"]):
        assert one["tuned"]["lost"] < other["tuned"]["lost"]
        assert one["tuned"]["saving"] < other["tuned"]["saving"]
    for trial in found["trials"]:
        at_most = [one for one in found["front"] if one["tuned"]["lost"] <= trial["lost"]]
        best = max((one["tuned"]["saving"] for one in at_most), default=0.0)
        assert trial["saving"] <= best + 1e-3


def test_what_is_written_says_what_was_done(folder: Path) -> None:
    """Counts, seed, space, files; intervals hold their figures; the PNG is whole."""
    found = _front(folder / "out")
    assert {"trials": TRIALS, "tried": TRIALS, "refused": 0, "interrupted": 0} == found["counts"]
    assert (0, f"{__name__}:budgets") == (found["seed"], found["space"])
    assert [str(folder / "runs.parquet")] == [one["file"] for one in found["files"]]
    for one in found["front"]:
        for name, (low, high) in one["reported"]["interval"].items():
            assert low - 1e-3 <= one["reported"][name] <= high + 1e-3
    content = (folder / "out" / "front.png").read_bytes()
    assert content.startswith(b"\x89PNG")
    assert b"IEND" in content[-12:]


def test_what_is_printed_claims_nothing(folder: Path) -> None:
    """Every setting on one line with both halves, and that certify is what proves."""
    printed = (folder / "printed").read_text("utf-8")
    for said in ("MaxTokens(", "optimistic", "Neither proves anything", "stopping certify"):
        assert said in printed


def test_the_same_command_tries_the_same(folder: Path) -> None:
    """In another folder, to the last figure; another seed tries others."""
    for out, more in (("again", ()), ("other", ("--seed", 1, "--trials", 3))):
        code, printed = stopping(*_call(folder, out, *more))
        assert code == 0, printed
    assert _front(folder / "out") == _front(folder / "again")
    assert _front(folder / "out")["trials"][:3] != _front(folder / "other")["trials"]


def test_no_trial_sees_the_reported_half(tmp_path: Path) -> None:
    """Other answers there change no trial, of learned rules or others; the report they do."""
    trace = certifiable(16)
    _, reported = deal(trace, 0)
    hidden = {run.question_id for run in reported.trace.runs}
    runs = tuple(
        replace(run, gold=("nowhere",), tokens=run.tokens[:9]) if run.question_id in hidden else run
        for run in trace.runs
    )
    found = []
    for name, some in (("one", trace), ("other", replace(trace, runs=runs))):
        write_trace(tmp_path / f"{name}.parquet", some)
        code, printed = stopping(*_call(tmp_path, name, space="mixed", runs=f"{name}.parquet"))
        assert code == 0, printed
        found.append(_front(tmp_path / name))
    assert found[0]["trials"] == found[1]["trials"]
    tuned = [[(one["params"], one["tuned"]) for one in each["front"]] for each in found]
    assert tuned[0] == tuned[1]
    assert found[0]["reported"]["right"] > 0 == found[1]["reported"]["right"]


def test_learned_rules_are_fitted_on_other_families() -> None:
    """Alone or inside a rule: each searched run is cut by a model that has not seen its family."""
    searched, _ = deal(certifiable(32), 0)
    half = Searched(searched)
    rule = LearnedStopping(-5.0, every=4)
    for fold in searched.folds:
        assert 0 < fold.sum() < len(searched.trace.runs)
        kept = [run for run, out in zip(searched.trace.runs, fold, strict=True) if out]
        others = [run for run, out in zip(searched.trace.runs, fold, strict=True) if not out]
        assert not {run.family for run in kept} & {run.family for run in others}
    assert [1] * len(searched.trace.runs) == np.sum(searched.folds, axis=0).tolist()
    point = half.point(rule)
    assert point == half.point(Patience(rule & MinTokens(0), 1))
    models = {model.fingerprint for model in half._models.values() if model is not None}
    assert len(searched.folds) + 1 == len(models)
    assert "model=" in repr(half.fitted(rule | LoopGuard()))


def _suggested(space: DefaultSpace, count: int = 120) -> Iterator[Policy]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    for _ in range(count):
        yield space(study.ask())


def test_the_space_fits_the_evidence() -> None:
    """Rules over logprobs only where they were recorded; on the reasoning rules of its own."""
    bare = {"learned", "sentences", "paragraphs", "final_answer", "budget", "repetition", "novelty"}
    assert bare == set(DefaultSpace(certifiable(8)).rules)
    assert bare | {"confidence", "entropy", "margin"} == set(DefaultSpace(reading(8)).rules)
    rules = set(DefaultSpace(_thinking(8)).rules)
    assert {"learned_text", "learned_logprobs", "budget", "stable"} < rules
    assert not {"sentences", "paragraphs"} & rules


def _thinking(questions: int) -> Trace:
    made = reasoning(questions)
    return Trace(replace(made.header, probe_every=8), made.runs)


@pytest.mark.parametrize("trace", [reading(24), _thinking(24)], ids=["answer", "reasoning"])
def test_every_rule_of_the_space_can_be_tried(trace: Trace) -> None:
    """Whatever a trial suggests, the runs hold what it takes; learned rules are tried elsewhere."""
    searched, _ = deal(trace, 0)
    half, seen = Searched(searched), set()
    for policy in _suggested(DefaultSpace(searched.trace)):
        seen.add(type(policy))
        if "Learned" not in repr(policy):
            assert 0 <= half.point(policy).lost <= 100
    assert len(seen) > 1


def test_reasoning_is_searched(tmp_path: Path) -> None:
    """The channel is that of the tags, and no trial is refused."""
    write_trace(tmp_path / "runs.parquet", _thinking(24))
    out = tmp_path / "out"
    code, printed = stopping(tmp_path / "runs.parquet", "--out", out, "--trials", 8)
    assert code == 0, printed
    found = _front(out)
    assert ("reasoning", 8) == (found["channel"], found["counts"]["tried"])


def test_real_runs_are_searched(tmp_path: Path) -> None:
    """A recording of four families: no intervals, and a warning to read nothing into it."""
    code, printed = stopping(RECORDED, "--out", tmp_path, "--trials", 8, "--space", BUDGETS)
    assert code == 0, printed
    assert "2 reported families: read nothing into this" in printed
    assert all(one["reported"]["interval"] is None for one in _front(tmp_path)["front"])


BUDGETS = f"{__name__}:budgets"


def test_settings_that_cannot_be_tried_are_told_once(folder: Path) -> None:
    """They count as finished, and the search goes on."""
    code, printed = stopping(*_call(folder, "wrong", space="mostly_wrong"))
    assert code == 0, printed
    counts = _front(folder / "wrong")["counts"]
    assert TRIALS == counts["tried"] + counts["refused"]
    assert 0 < counts["refused"] < TRIALS
    why = "tokens must be >= 1, got 0"
    assert {why: counts["refused"]} == _front(folder / "wrong")["refused"]
    assert 1 == printed.count(why)


def nothing(trial: optuna.Trial) -> Policy:
    """What saves nothing, however it is set."""
    return MaxTokens(trial.suggest_int("tokens", 10_000, 20_000))


def test_where_nothing_can_be_saved_the_front_is_empty(tmp_path: Path) -> None:
    """As with answers that are all short: the files are whole, and say so."""
    write_trace(tmp_path / "runs.parquet", reading(24))
    call = (tmp_path / "runs.parquet", "--space", f"{__name__}:nothing", "--trials", 4)
    code, printed = stopping(*call, "--out", tmp_path / "out")
    assert (0, True) == (code, "Wrote front.json and front.png" in printed), printed
    assert [] == _front(tmp_path / "out")["front"]
    assert (tmp_path / "out" / "front.png").stat().st_size > 0


def test_a_policy_without_evidence_is_refused() -> None:
    """The half that is searched says what it lacks, as everywhere."""
    searched, _ = deal(certifiable(16), 0)
    with pytest.raises(MissingEvidence, match="needs logprobs"):
        Searched(searched).point(Threshold(MeanLogprob(), at_least=-1))
