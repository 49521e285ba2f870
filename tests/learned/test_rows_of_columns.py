"""The features of some evidence at the places of recorded runs."""

from __future__ import annotations

import numpy as np
import pytest

from stopping_core.policies.learned import LearnedStopping
from stopping_core.policies.learned.answer import AnswerEvidence
from stopping_core.traces.columns import Columns
from stopping_core.traces.rows import pieces
from stopping_core.traces.run import Run
from tests.learned.made_answers import made_answer, made_model

MODEL = made_model(5)
RUNS = [Run("none", "?", ("a",), (), "stop"), *(made_answer(seed) for seed in range(8))]


def by_hand(run: Run) -> list[tuple[float, ...]]:
    """The features at every place of a run."""
    evidence, rows = MODEL.evidence(), []
    evidence.reset(run.request())
    for _, _, piece in pieces(run, "answer", None):
        evidence.update(piece)
        if piece.boundary or piece.tokens:
            rows.append(evidence.row())
    return rows


def test_every_place_has_the_features_of_the_stream_up_to_it() -> None:
    """Run by run, in the order of the rows."""
    expected = np.array([row for run in RUNS for row in by_hand(run)])
    actual = Columns(RUNS, tags=None).rows_of(MODEL.evidence())
    np.testing.assert_array_equal(expected, actual)


def test_a_selection_has_its_own() -> None:
    """Some places of some runs, a run without any among them."""
    columns = Columns(RUNS, tags=None)
    whole = columns.rows_of(MODEL.evidence())
    some = columns.asked((3, 5)).of_runs(np.arange(len(RUNS)) % 3 != 1)
    assert 0 < len(some) < len(columns)
    np.testing.assert_array_equal(whole[some.rows], some.rows_of(MODEL.evidence()))


def test_what_is_not_wanted_is_not_read() -> None:
    """Its rows are NaN; nothing wanted is no trouble."""
    columns = Columns(RUNS, tags=None)
    wanted = columns.tokens % 4 == 0
    found = columns.rows_of(MODEL.evidence(), wanted)
    np.testing.assert_array_equal(columns.rows_of(MODEL.evidence())[wanted], found[wanted])
    assert np.isnan(found[~wanted]).all()
    assert np.isnan(columns.rows_of(MODEL.evidence(), columns.nowhere())).all()
    assert (0, len(AnswerEvidence.names)) == Columns([]).rows_of(MODEL.evidence()).shape


def test_it_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evidence with the same settings is the same; other settings are read anew."""
    columns = Columns(RUNS, tags=None)
    found = columns.rows_of(MODEL.evidence())
    assert found is columns.rows_of(MODEL.evidence())
    assert found is not columns.rows_of(AnswerEvidence())
    columns.extract([MODEL.evidence()])  # has no single reading to take
    monkeypatch.setattr(AnswerEvidence, "row", None)
    rule = LearnedStopping(-3.0, MODEL)
    (evidence,) = rule.signals()
    assert isinstance(evidence, AnswerEvidence)
    assert len(columns) == len(columns.rows_of(evidence))
