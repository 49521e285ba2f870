"""``stopping certify-vote``: what is proven of votes, by what a vote live would have made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stopping_core.certificates import FittedModel
from stopping_core.cli.bench.ended_votes import CONFIDENCES
from stopping_core.cli.certify.votes import Votes, vote, walk
from stopping_core.cli.fit.recorded import passage_hash, read_recorded
from stopping_core.completeness import default_check
from stopping_core.hybrids import DecidedVote, VoteCertificate
from stopping_core.metrics import GRADERS
from stopping_core.policies.baselines import Sample, draw, vote_key
from stopping_core.policies.learned import LearnedStopping
from stopping_core.traces.replay import replay
from stopping_core.traces.run import Run, Trace
from stopping_core.traces.store import write_trace
from tests.cli.certifiable import CITIES, certifiable, stopping

SAMPLES = 4
MORE = ("--risk", "0.1,0.4")


def sampled(questions: int, seed: int = 1) -> Trace:
    """Samples of one question a group, two in three of them right."""
    rng = np.random.default_rng(seed)
    base = certifiable(2 * questions)
    runs = [_sample(run, number, rng) for run in base.runs[::2] for number in range(SAMPLES)]
    return Trace(replace(base.header, samples=SAMPLES, temperature=0.8, seed=seed), tuple(runs))


def _sample(run: Run, number: int, rng: np.random.Generator) -> Run:
    said = run.gold[0] if rng.random() < 2 / 3 else str(rng.choice(CITIES))
    start = [" Let", " us", " see", "."] * int(rng.integers(0, 2))
    tail = [" That", " is", " all", "."] * int(rng.integers(2, 9))
    tokens = (*start, " It", " flows", " through", f" {said}", ".", *tail)
    return replace(run, sample=number, tokens=tokens)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model fitted on greedy runs, and samples of other questions."""
    folder = tmp_path_factory.mktemp("votes")
    write_trace(folder / "runs.parquet", certifiable(100, seed=7))
    trace = sampled(80)
    others = (replace(r, family=f"x{r.family}", group=f"x{r.group}") for r in trace.runs)
    write_trace(folder / "samples.parquet", replace(trace, runs=tuple(others)))
    code, told = stopping(
        "fit", folder / "runs.parquet", "--out", folder / "model.json", "--share", "1"
    )
    assert 0 == code, told
    code, told = _certify(folder, "vote.json", *MORE)
    assert 0 == code, told
    assert "votes of 4. Of the questions one a group, drawn beforehand: 78, 23 to order" in told
    return folder


def _certify(folder: Path, out: str, *more: object) -> tuple[int, str]:
    files = folder / "model.json", folder / "samples.parquet"
    return stopping("certify-vote", *files, "--out", folder / out, *more)


def _right(run: Run, text: str) -> bool:
    return GRADERS[run.grader](text, run.gold) >= 1


def test_the_figures_are_those_of_the_engine(folder: Path) -> None:
    """Lost and saved of each level: by the engine that cuts live, and the rule that polls live."""
    certificate = VoteCertificate.load(folder / "vote.json")
    assert (SAMPLES, 0.8) == (certificate.most, certificate.scope.temperature)
    recorded = read_recorded([folder / "samples.parquet"], None)
    passages = set(certificate.certified.passages)
    questions: dict[str, list[Run]] = {}
    for run in recorded.runs:
        if passage_hash(run) in passages:
            questions.setdefault(run.question_id, []).append(run)
    for level in certificate.levels:
        policy = LearnedStopping(level.threshold, certificate.model, certificate.scope.look_every)
        lost = spent = whole = 0
        for runs in questions.values():
            ends = [replay(run, policy, tags=None, check=default_check()) for run in runs]
            full = [Sample(vote_key(run.text), len(run)) for run in runs]
            cut = [Sample(vote_key(one.text), one.tokens) for one in ends]
            all_of_them = draw(DecidedVote(0.999999, SAMPLES), full)
            made = draw(certificate.rule(level.risk), cut)
            assert all_of_them.winner is not None
            assert made.winner is not None
            was = _right(runs[0], runs[all_of_them.winner].text)
            lost += was and not _right(runs[0], ends[made.winner].text)
            spent += made.usage.generated
            whole += sum(map(len, runs))
        assert (lost, len(questions)) == (level.lost, level.questions)
        assert pytest.approx(1 - spent / whole) == level.saving
        assert level.lost / level.questions <= level.bound <= level.risk
        assert level.saving > 0.4


def test_what_orders_the_settings_does_not_test_them(folder: Path) -> None:
    """Only the passages of the test are in the certificate, and none that the fit has seen."""
    certificate = VoteCertificate.load(folder / "vote.json")
    recorded = read_recorded([folder / "samples.parquet"], None)
    tested, fitted = certificate.certified, certificate.fitted
    assert set(tested.passages) < {passage_hash(run) for run in recorded.runs}
    assert len(tested.passages) == certificate.levels[0].questions == 55
    assert not set(tested.passages) & set(fitted.passages)
    assert not set(tested.families) & set(fitted.families)


def test_a_sample_that_a_session_would_not_keep_loses_the_vote(folder: Path) -> None:
    """The recording does not show what would have come of it: a fence that is left open."""
    recorded = read_recorded([folder / "samples.parquet"], None)
    fitted = FittedModel.load(folder / "model.json")
    never = replace(fitted, path=(-99.0,))
    runs = [run for run in recorded.runs if run.question_id == recorded.runs[0].question_id]
    right = [replace(run, tokens=(" It", f" {run.gold[0]}", ".")) for run in runs]
    open_fence = replace(right[0], tokens=(*right[0].tokens, "\n```\n", "x", "=", "1"))
    for first, lost in ((right[0], False), (open_fence, True)):
        made = vote([[first, *right[1:]]], recorded.scope, never, SAMPLES)
        assert [lost] * len(CONFIDENCES) == made.lost[0, 0].tolist()


def test_the_walk_is_from_careful_to_aggressive() -> None:
    """One step of one setting at a time, where it loses less; it ends where a tenth is lost."""
    lost = np.zeros((20, 3, 2), dtype=np.bool_)
    lost[0, 1:, 0] = lost[0, :, 1] = True
    lost[:9, 2, :] = True
    spent = np.full((20, 3, 2), 5.0)
    spent[:, :, 1] = 1.0
    votes = Votes((), 2, lost, spent, np.full(20, 10.0))
    assert [(0, 0), (0, 1), (1, 1)] == walk(votes)
    assert 0.9 == pytest.approx(votes.saving((1, 1)))


def test_what_cannot_be_proven_is_refused(folder: Path) -> None:
    """With the number of questions that would do; nothing is written."""
    code, told = _certify(folder, "never.json", "--risk", "0.001")
    assert 1 == code
    assert "questions needed" in told
    assert "No level is certified" in told
    assert not (folder / "never.json").exists()


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("--samples", "5"), "must hold 5 samples of each question, got one with 4"),
        (("--share", "1"), "--share must be in (0, 1), got 1.0"),
        (("--risk", "x"), "--risk must be numbers with commas, got x"),
    ],
)
def test_a_mistake_in_the_call_is_told(folder: Path, more: tuple[str, ...], told: str) -> None:
    code, printed = _certify(folder, "wrong.json", *more)
    assert code != 0
    assert told in printed
    assert not (folder / "wrong.json").exists()


def test_fewer_samples_make_a_smaller_vote(folder: Path) -> None:
    code, told = _certify(folder, "three.json", "--samples", "3", *MORE)
    assert 0 == code, told
    assert 3 == VoteCertificate.load(folder / "three.json").most


def test_runs_of_one_sample_are_refused(folder: Path) -> None:
    write_trace(folder / "single.parquet", certifiable(20, seed=9))
    code, told = stopping(
        *("certify-vote", folder / "model.json", folder / "single.parquet"),
        *("--out", folder / "single.json"),
    )
    assert code != 0
    assert "must hold" in told
