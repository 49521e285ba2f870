"""Formulations of stopping: each learns, none beats the oracle, and the table says what was run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.formulations.__main__ import main
from benchmarks.formulations.compare import BUDGET, Compared, compare
from benchmarks.formulations.fronts import LEVELS, Comparison, Played, savings
from benchmarks.formulations.material import Material, logprob_features, material_of
from benchmarks.formulations.rows import Floats, Rows
from benchmarks.formulations.value import _costs
from stopping_core.completeness import default_check
from stopping_core.policies.learned import LearnedStopping
from stopping_core.traces.columns import Columns
from stopping_core.traces.graded import Graded
from stopping_core.traces.run import Header, Run, Trace
from stopping_core.traces.sweep import cut
from tests.learned.made_answers import made_answer, made_model
from tests.learned.test_thinking_fit import sum_twice
from tests.traces.made_runs import make_run

TRACE = Path(__file__).parent.parent / "data" / "trace.parquet"


def recorded(runs: list[Run], **changes: object) -> Trace:
    """Runs as a file holds them."""
    known = {
        "model": "made-up",
        "model_fingerprint": "0123456789abcdef",
        "template": "plain",
        "template_fingerprint": "0123456789abcdef",
        "max_tokens": 100,
    }
    return Trace(Header(**{**known, **changes}), tuple(runs))  # type: ignore[arg-type]  # any field


def all_knowing(train: Columns, test: Columns) -> tuple[Floats, Floats]:
    """Features that say whether the answer is right, and whether it ever will be."""
    graded = Graded(train.everything)
    numbers = {id(run): number for number, run in enumerate(train.everything.runs)}
    found = []
    for view in (train, test):
        full = graded.full()[[numbers[id(run)] for run in view.runs]] >= 1
        right = graded.right(view.rows)
        found.append(np.column_stack([np.log(view.tokens), right, full[view.run]]))
    return found[0], found[1]


def learned(compared: Compared) -> dict[str, float]:
    """The mean saving of each formulation, fixed budgets left out."""
    return {
        name: float(figures[0].mean())
        for name, figures in compared.figures.items()
        if name != BUDGET
    }


@pytest.fixture(scope="module")
def knowing() -> Compared:
    """All formulations on features that know everything."""
    return compare(
        recorded([made_answer(seed) for seed in range(120)]), folds=3, reader=all_knowing
    )


def test_features_that_know_everything_save_nearly_what_the_oracle_does(knowing: Compared) -> None:
    """By every formulation: so each of them learns.

    The library's own says little of few runs: its penalty is strong.
    """
    best = float(knowing.oracle.mean())
    found = learned(knowing)
    assert 10 == len(found)
    for name, saving in found.items():
        assert saving > (0.78 if name.startswith("a") else 0.9) * best, name
        assert saving > knowing.figures[BUDGET][0].mean() + 10, name


def test_nobody_beats_the_oracle(knowing: Compared) -> None:
    """At no level, not even by giving answers up."""
    for name, figures in knowing.figures.items():
        assert (figures[0] <= knowing.oracle + 1e-9).all(), name


def test_the_table_of_a_small_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of real runs: every formulation, its savings, and what was run."""
    out = tmp_path / "deep" / "table.md"
    main([str(TRACE), "--out", str(out), "--folds", "4"])
    text = out.read_text("utf-8")
    assert text in capsys.readouterr().out
    assert "`trace.parquet` (24 runs): 4 folds by families, seed 0" in text
    assert "chosen by the same out-of-fold predictions" in " ".join(text.split())
    rows = [line for line in text.splitlines() if line.startswith("| ") and "[" in line]
    assert 12 == len(rows)
    assert "read nothing into them" in text


def test_reasoning_is_ended_at_its_lines() -> None:
    """Where it was probed; what the answer takes is paid."""
    runs = [sum_twice(seed) for seed in range(60)]
    trace = recorded(runs, reasoning_tags=("<think>", "</think>"), probe_every=1)
    found = compare(trace, folds=3)
    assert BUDGET not in found.figures
    best = learned(found)
    assert max(best.values()) > 10
    for name, figures in found.figures.items():
        assert (figures[0] <= found.oracle + 1e-9).all(), name


def material(runs: list[Run]) -> Material:
    return material_of(recorded(runs), folds=3, seed=0)


@pytest.mark.parametrize("threshold", [-5.0, -3.0, -1.5])
def test_runs_are_cut_as_certify_cuts_them(threshold: float) -> None:
    """The same places, after the same check."""
    whole = material([made_answer(seed) for seed in range(40)])
    rule = LearnedStopping(threshold, made_model(4))
    model = rule.model
    assert model is not None
    told = whole.view.rows_of(model.evidence())[whole.looks]
    lost, bill = whole.rows.played(model.score(told, whole.rows.tokens) <= threshold)
    cuts = cut(whole.columns, rule, default_check())
    right = Graded(whole.columns).right(cuts.row)
    assert cuts.generated.tolist() == bill.tolist()
    assert (cuts.stopped & whole.rows.full & ~right).tolist() == lost.tolist()


def test_no_run_is_cut_by_what_its_family_taught() -> None:
    """Folds share no family, and every run is in one."""
    whole = material([made_answer(seed) for seed in range(60)])
    assert [1] * 60 == np.sum(whole.folds, axis=0).tolist()
    for where in whole.folds:
        fold = whole.fold(where, reader=all_knowing)
        assert not set(fold.train.family) & set(fold.test.family)
        assert fold.test.full.tolist() == whole.rows.full[where].tolist()
        for part in fold.train.parts():
            assert not set(fold.train.family[part]) & set(fold.train.family[~part])


def test_savings_are_interpolated_on_the_front() -> None:
    """Not to stop is a setting; a beaten one is none; past the last one its saving stays."""
    lost, saved = np.array([0.0, 1.0, 1.0, 3.0]), np.array([10.0, 20.0, 30.0, 25.0])
    assert [20.0, 30.0, 30.0, 30.0] == savings(lost, saved).tolist()
    assert [5.0, 10.0, 20.0, 40.0] == savings(np.array([4.0]), np.array([40.0])).tolist()
    assert [0.0] * 4 == savings(np.array([0.0]), np.array([-5.0])).tolist()


def test_a_rule_against_itself_differs_by_nothing_in_any_draw() -> None:
    """Draws are paired; of a rule that saves a token more in each run the difference is sure."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(20, 40, 60)
    lost = np.zeros((60, 1), dtype=np.bool_)
    comparison = Comparison(lengths, [n // 2 for n in range(60)], seed=0)
    one, other = (comparison.figures(Played(lost, (lengths - n)[:, None])) for n in (5, 6))
    assert (one == comparison.figures(Played(lost, (lengths - 5)[:, None]))).all()
    assert ((other - one) > 2.0).all()
    assert one.shape == (1001, len(LEVELS))


def test_the_best_gives_up_the_dearest_answers() -> None:
    """As many as a level allows."""
    comparison = Comparison(np.full(100, 10), list(range(100)), seed=0)
    bill = np.where(np.arange(100) < 10, 5, 0)
    full = np.arange(100) < 10
    assert [95.25, 95.5, 96.0, 97.0] == comparison.best(bill, full).tolist()


def test_what_going_on_costs() -> None:
    """The loss and the tokens of the next stop of the same run, or the rest of the run."""
    rows = Rows(
        features=np.zeros((5, 1)),
        run=np.array([0, 0, 0, 1, 1]),
        tokens=np.array([2, 4, 6, 2, 4]),
        bill=np.array([2, 4, 6, 2, 4]),
        right=np.array([False, False, True, True, True]),
        passes=np.array([True, True, True, True, False]),
        full=np.array([True, True]),
        lengths=np.array([10, 5]),
        family=np.array([0, 1]),
    )
    stop = np.array([False, True, False, True, True])
    expected = [1 + 0.1 * 2, 0.1 * 6, 0.1 * 4, 0.1 * 3, 0.1 * 1]
    assert pytest.approx(expected) == _costs(rows, stop, 0.1).tolist()


def test_logprobs_up_to_a_place() -> None:
    """By hand, at each token; what was not recorded is not known."""
    run = make_run(list("abcdefghijklmnopqrst"), 3)
    view = Columns([run], tags=None).asked(tuple(range(1, 21)))
    found = logprob_features(view)
    logprobs = np.nan_to_num(np.asarray(run.logprobs, dtype=np.float64))
    for row, fed in enumerate(view.fed.tolist()):
        seen = logprobs[:fed]
        expected = [seen[:16].mean(), seen[-1], seen[-8:].mean() - seen.mean()]
        assert pytest.approx(expected) == [found[row, 0], found[row, 1], found[row, 4]]
    bare = make_run(list("abc"), 4, logprobs=None)
    assert np.isnan(logprob_features(Columns([bare], tags=None))).all()
