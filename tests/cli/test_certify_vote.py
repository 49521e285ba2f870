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
from stopping_core.traces.run import Run
from stopping_core.traces.store import read_trace, write_trace
from tests.cli.certifiable import certifiable, stopping
from tests.cli.sampled import MORE, SAMPLES, certified, certify_vote
from tests.cli.test_certify_reasoning import thinker


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("votes")
    certified(folder)
    return folder


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
    cut_off = replace(right[0], finish_reason="length")
    wrong = replace(cut_off, tokens=(" It", " is", " Nowhere", "."))
    for first, lost in ((right[0], False), (open_fence, True), (cut_off, True), (wrong, True)):
        made = vote([[first, *right[1:]]], recorded.scope, never, SAMPLES)
        assert [lost] * len(CONFIDENCES) == made.lost[0, 0].tolist()


def test_a_sample_that_is_not_complete_does_no_harm_where_it_is_not_drawn(folder: Path) -> None:
    """The vote was decided before it."""
    recorded = read_recorded([folder / "samples.parquet"], None)
    fitted = FittedModel.load(folder / "model.json")
    never = replace(fitted, path=(-99.0,))
    runs = [run for run in recorded.runs if run.question_id == recorded.runs[0].question_id]
    right = [replace(run, tokens=(" It", f" {run.gold[0]}", ".")) for run in runs]
    some = [*right[:-1], replace(right[-1], finish_reason="length")]
    made = vote([some], recorded.scope, never, SAMPLES)
    taken = [
        draw(DecidedVote(confidence, SAMPLES), [Sample("a", 3)] * SAMPLES).samples
        for confidence in CONFIDENCES
    ]
    assert min(taken) < SAMPLES
    assert [number == SAMPLES for number in taken] == made.lost[0, 0].tolist()


@pytest.mark.parametrize("finish_reason", ["stop", "length"])
def test_a_sample_whose_reasoning_never_closed_loses_the_vote(
    tmp_path: Path, finish_reason: str
) -> None:
    """A session asks again for the answer that it left out."""
    trace = thinker(60)
    write_trace(tmp_path / "runs.parquet", trace)
    code, told = stopping(
        *("fit", tmp_path / "runs.parquet", "--tier", "text"), "--out", tmp_path / "model.json"
    )
    assert 0 == code, told
    never = replace(FittedModel.load(tmp_path / "model.json"), path=(-99.0,))
    scope = read_recorded([tmp_path / "runs.parquet"], None).scope
    run = trace.runs[0]
    whole = [replace(run, sample=number) for number in range(SAMPLES)]
    ended = run.tokens.index("</think>")
    assert run.logprobs is not None
    thinks = replace(
        whole[0],
        tokens=run.tokens[:ended],
        logprobs=run.logprobs[:ended],
        finish_reason=finish_reason,
    )
    for first, lost in ((whole[0], False), (thinks, True)):
        made = vote([[first, *whole[1:]]], scope, never, SAMPLES)
        assert [lost] * len(CONFIDENCES) == made.lost[0, 0].tolist()


def test_the_walk_is_from_careful_to_aggressive() -> None:
    """One step of one setting at a time, where it loses less; it ends where a tenth is lost."""
    lost = np.zeros((20, 3, 2), dtype=np.bool_)
    lost[0, 1:, 0] = lost[0, :, 1] = True
    lost[:9, 2, :] = True
    spent = np.full((20, 3, 2), 5.0)
    spent[:, :, 1] = 1.0
    votes = Votes((), 2, 0, lost, spent, np.full(20, 10.0))
    assert [(0, 0), (0, 1), (1, 1)] == walk(votes)
    assert 0.9 == pytest.approx(votes.saving((1, 1)))


def test_what_cannot_be_proven_is_refused(folder: Path) -> None:
    """With the number of questions that would do; nothing is written."""
    code, told = certify_vote(folder, "never.json", "--risk", "0.001")
    assert 1 == code
    assert "questions needed" in told
    assert "No level is certified" in told
    assert not (folder / "never.json").exists()


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("--samples", "5"), "must hold 5 samples of each question, got one with 4"),
        (("--share", "1"), "--share must be in (0, 1), got 1.0"),
        (("--confidence", "nan"), "--confidence must be in (0, 1), got nan"),
        (("--confidence", "1.5"), "--confidence must be in (0, 1), got 1.5"),
        (("--risk", "x"), "--risk must be numbers with commas, got x"),
    ],
)
def test_a_mistake_in_the_call_is_told(folder: Path, more: tuple[str, ...], told: str) -> None:
    code, printed = certify_vote(folder, "wrong.json", *more)
    assert code != 0
    assert told in printed
    assert not (folder / "wrong.json").exists()


def test_fewer_samples_make_a_smaller_vote(folder: Path) -> None:
    code, told = certify_vote(folder, "three.json", "--samples", "3", *MORE)
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


def test_a_sample_does_not_vote_twice(folder: Path, tmp_path: Path) -> None:
    """Neither from a copy of its file nor from another one."""
    copied, other = tmp_path / "copy.parquet", tmp_path / "other.parquet"
    copied.write_bytes((folder / "samples.parquet").read_bytes())
    trace = read_trace(folder / "samples.parquet")
    write_trace(other, replace(trace, runs=trace.runs[4:8]))
    name = trace.runs[4].question_id
    for second, wanted in (
        (copied, "traces must differ, got the same content in"),
        (other, f"must hold each sample once, got sample 0 of question '{name}' twice"),
    ):
        code, told = stopping(
            *("certify-vote", folder / "model.json", folder / "samples.parquet", second),
            *("--out", tmp_path / "twice.json", *MORE),
        )
        assert code != 0
        assert wanted in told
        assert not (tmp_path / "twice.json").exists()


def test_samples_that_the_cap_cut_off_are_told(folder: Path, tmp_path: Path) -> None:
    """Else nobody would know why nothing can be certified."""
    trace = read_trace(folder / "samples.parquet")
    broken = [replace(run, finish_reason="length") for run in trace.runs]
    write_trace(tmp_path / "cut.parquet", replace(trace, runs=tuple(broken)))
    code, told = stopping(
        *("certify-vote", folder / "model.json", tmp_path / "cut.parquet"),
        *("--out", tmp_path / "cut.json"),
    )
    assert 1 == code
    assert "220 of 220 samples are not complete, such as those that the cap of 100 tokens" in told
