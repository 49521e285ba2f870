"""Models of the loss, from recorded runs with known answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from stopping_core.policies.learned.answer import AnswerEvidence
from stopping_core.policies.learned.logistic import Logistic
from stopping_core.policies.learned.loss_model import LossModel
from stopping_core.policies.learned.salience import Context, read_context

if TYPE_CHECKING:
    from stopping_core.traces.columns import Columns, Mask, Readings
    from stopping_core.traces.run import Run

_EXPONENT = 0.7
_FOLDS = 5
_LATEST = 128  # tokens: later places are as the last of these, and long runs would outweigh
_STRENGTH = 0.002  # inverse, of the penalty
_SETTINGS = {"solver": "newton-cholesky", "max_iter": 100}


def fit_answer(columns: Columns, right: Mask, full: Mask) -> LossModel:
    """Fit a model of the loss that a stop in the answer brings.

    The weights of the words are fitted too, and on the same runs. So that the model sees weights as
    they are on runs that are new to them, each fold of the runs gets those fitted on the others.

    Args:
        columns: The places of the runs.
        right: Whether the answer at each of them would have been right.  # (n,)
        full: Whether the full answer of each run is right.  # (runs,)

    Raises:
        MissingPackage: scikit-learn is not installed.
        ValueError: A stop loses an answer everywhere, or nowhere.
    """
    lost = np.asarray(full, dtype=np.bool_)[columns.run] & ~np.asarray(right, dtype=np.bool_)
    early = columns.tokens <= _LATEST
    if lost[early].all() or not lost[early].any():
        raise ValueError(
            f"right and full must make a stop lose an answer at some places and not at others, got "
            f"{lost[early].sum()} losses at {early.sum()} places"
        )
    contexts = [read_context(run.question, run.context) for run in columns.runs]
    features = _features(columns, contexts)
    scorer = Logistic.fit(features[early], lost[early], "fit", C=_STRENGTH, **_SETTINGS)
    return LossModel("text", "answer", scorer, _EXPONENT, fit_salience(columns.runs, contexts))


def fit_salience(runs: Sequence[Run], contexts: Sequence[Context]) -> Logistic | None:
    """Fit what tells which words of a context stand in a gold answer.

    Args:
        runs: The runs; several of one question count once.
        contexts: The words of each one's context.

    Returns:
        None where no gold answer stands in its context, so that there is nothing to learn.
    """
    first = {(run.question, run.context, run.gold): i for i, run in reversed([*enumerate(runs)])}
    chosen = sorted(first.values())
    labels = [contexts[i].labels(runs[i].gold) for i in chosen]
    together = np.concatenate([np.zeros(0, dtype=np.bool_), *labels])
    if together.all() or not together.any():
        return None
    features = np.concatenate([contexts[i].features for i in chosen])
    return Logistic.fit(features, together, "fit", C=0.01, **_SETTINGS)


def _features(columns: Columns, contexts: Sequence[Context]) -> Readings:
    """The features of all places, by weights that were fitted on other runs.  # (n, d)."""
    features = np.full((len(columns), len(AnswerEvidence.names)), np.nan)
    for fold in _folds(columns.runs):
        others = np.flatnonzero(~fold).tolist()
        known = [columns.runs[i] for i in others], [contexts[i] for i in others]
        evidence = AnswerEvidence(fit_salience(*known))
        rows = fold[columns.run]
        features[rows] = columns.rows_of(evidence, rows)[rows]
    return features


def _folds(runs: Sequence[Run]) -> Iterator[Mask]:
    """Deal runs out to folds that share no family, or no group or question where there is one."""
    units = (
        [run.family or run.group or run.question_id for run in runs],
        [run.group or run.question_id for run in runs],
        [run.question_id for run in runs],
    )
    names = next((names for names in units if len(set(names)) > 1), units[0])
    number = {name: i % _FOLDS for i, name in enumerate(sorted(set(names)))}
    fold = np.array([number[name] for name in names], dtype=np.int64)
    for one in sorted(set(number.values())):
        yield fold == one
