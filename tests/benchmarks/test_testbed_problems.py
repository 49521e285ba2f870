"""The synthetic testbed's problems and worked solutions."""

import hashlib
import itertools
import json
import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.testbed import problems as module
from benchmarks.testbed.problems import FAMILIES, Problem, Side, problems, write_questions
from benchmarks.testbed.solutions import CLOSE, OPEN, Solution, carries, solve
from benchmarks.testbed.tokenizer import make_tokenizer
from stopping_core.metrics import last_number

MANY = 400
TOKENIZER = make_tokenizer()

PRODUCTS = tuple(family for family in FAMILIES if family.kind == "product")

seeds = st.integers(min_value=0, max_value=2**40)


def some(seed: int, side: Side = "train", number: int = MANY) -> list[Problem]:
    return list(itertools.islice(problems(seed, side), number))


def solved(seed: int, slip_rate: float = 0.1) -> tuple[Problem, Solution]:
    (problem,) = some(seed, number=1)
    return problem, solve(problem, random.Random(seed), slip_rate)


@given(seeds)
def test_every_text_comes_back_from_its_tokens(seed: int) -> None:
    """What the testbed writes is known to the tokenizer, and decodes to itself."""
    problem, solution = solved(seed)
    text = f"{problem.question}\n{solution.text}"
    ids = TOKENIZER.encode(text, add_special_tokens=False)
    assert text == TOKENIZER.decode(ids, skip_special_tokens=True)
    assert TOKENIZER.unk_token_id not in ids


@given(seeds)
def test_each_token_is_a_piece_of_the_text(seed: int) -> None:
    """Tokens decoded one by one join to the text, spaces and line ends included."""
    _, solution = solved(seed)
    ids = TOKENIZER.encode(solution.text, add_special_tokens=False)
    assert solution.text == "".join(str(TOKENIZER.decode([one])) for one in ids)


@given(seeds)
def test_pieces_have_the_tokens_of_the_whole(seed: int) -> None:
    """A reasoning cut between two pieces has the same tokens as the whole one so far."""
    _, solution = solved(seed)
    pieces = [TOKENIZER.encode(p.text, add_special_tokens=False) for p in solution.pieces]
    whole = TOKENIZER.encode(solution.reasoning, add_special_tokens=False)
    assert whole == [token for piece in pieces for token in piece]


def test_thinking_marks_are_tokens_that_stay() -> None:
    """The two marks are one token each and come out as text."""
    for mark in (OPEN, CLOSE, "\n\n"):
        ids = TOKENIZER.encode(mark, add_special_tokens=False)
        assert 1 == len(ids)
        assert mark == TOKENIZER.decode(ids, skip_special_tokens=True)


def test_solutions_without_a_slip_are_right() -> None:
    """Every method gives the generator's answer, and so does every worked solution."""
    for problem in some(3):
        solution = solve(problem, random.Random(problem.key), slip_rate=0)
        assert {problem.answer} == {method.finish() for method in problem.methods}
        assert (problem.answer, 0) == (solution.answer, solution.slips)
        assert {problem.answer} == {piece.belief for piece in solution.pieces}


def test_the_text_says_the_answer() -> None:
    """The last number of a solution is what it arrives at."""
    for problem in some(4):
        solution = solve(problem, random.Random(problem.key), slip_rate=0.2)
        assert 1 == last_number(solution.text, [str(solution.answer)])


def test_slips_are_made_repaired_and_kept() -> None:
    """With slips some solutions stay right and some go wrong; re-checks come in all numbers."""
    rng = random.Random(5)
    found = [(problem, solve(problem, rng, slip_rate=0.05)) for problem in some(5)]
    slipped = [(problem, solution) for problem, solution in found if solution.slips]
    assert {True, False} == {p.answer == s.answer for p, s in slipped}
    assert {1, 2, 3} <= set(Counter(solution.passes for _, solution in found))


def test_wrong_subtotals_are_believed() -> None:
    """After a slip that nobody saw, the first result is what is believed, not the right one."""
    rng = random.Random(6)
    wrong = 0
    for problem in some(6):
        solution = solve(problem, rng, slip_rate=0.3)
        results = [p.belief for p in solution.pieces if p.text.startswith("So the answer")]
        for belief in results:
            wrong += belief != problem.answer
            assert f"So the answer is {belief}." in solution.text
    assert wrong


@pytest.mark.parametrize(
    ("left", "sign", "right", "expected"),
    [
        (12, "+", 34, 0),
        (18, "+", 34, 1),
        (99, "+", 1, 2),
        (50, "-", 20, 0),
        (52, "-", 27, 1),
        (100, "-", 1, 2),
        (20, "-", 52, 0),
        (3, "*", 4, 0),
        (30, "*", 40, 2),
    ],
)
def test_carried_digits_are_counted(left: int, sign: str, right: int, expected: int) -> None:
    """Carries and borrows, also where the smaller number stands first."""
    assert expected == carries(left, sign, right)


def test_sides_never_share_a_problem() -> None:
    """No problem, in whatever order it is written, is on two sides or twice in the unseen."""
    train = {p.key for seed in (1, 2, 3) for p in some(seed, number=800)}
    unseen = [p.key for p in some(1, "unseen", 600)]
    sampled = [p.key for p in some(1, "sampled", 100)]
    assert 700 == len({*unseen, *sampled})
    assert not train & {*unseen, *sampled}


def test_what_commutes_is_the_same_content() -> None:
    """A product is one problem in both orders."""
    contents = [p.content for p in some(7) if p.kind == "product"]
    for content in contents:
        left, right = content.split(" * ")
        assert (left, right) == tuple(sorted((left, right), key=int))


def test_all_families_come() -> None:
    """Every kind at every level is among the unseen."""
    expected = {f"{family.kind}-{family.level}" for family in FAMILIES}
    assert expected == {p.family for p in some(8, "unseen")}


def test_the_same_seed_writes_the_same_file(tmp_path: Path) -> None:
    """A file of questions depends on nothing but its seed, and has what a bench reads."""
    first, again, other = (tmp_path / name for name in ("a.jsonl", "b.jsonl", "c.jsonl"))
    write_questions(first, 50, seed=1)
    write_questions(again, 50, seed=1)
    write_questions(other, 50, seed=2)
    assert first.read_text() == again.read_text()
    assert first.read_text() != other.read_text()
    lines = [json.loads(line) for line in first.read_text().splitlines()]
    assert 50 == len({line["id"] for line in lines})
    assert {("id", "question", "gold", "group", "grader")} == {tuple(x) for x in lines}


def test_the_questions_to_sample_from_stay(tmp_path: Path) -> None:
    """Recorded runs are of these."""
    write_questions(tmp_path / "q.jsonl", 480, 1, "sampled")
    digest = hashlib.sha256((tmp_path / "q.jsonl").read_bytes()).hexdigest()
    assert "b488f213437294d30701aeb4f7121c8972375070b4586a16bc7cd8dc593fb766" == digest


def test_a_side_that_runs_out_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nearly all of its 87 products come, each once; more cannot be written, and no file is."""
    monkeypatch.setattr(module, "FAMILIES", PRODUCTS)
    monkeypatch.setattr(module, "_TRIES", 2000)
    found = [p.key for p in problems(1, "sampled")]
    count = len(found)
    assert 80 < count == len(set(found)) <= 87
    with pytest.raises(ValueError, match=rf"^number must be <= {count}, .*'sampled', got 100$"):
        write_questions(tmp_path / "q.jsonl", 100, 1, "sampled")
    assert not list(tmp_path.iterdir())
    write_questions(tmp_path / "q.jsonl", count, 1, "sampled")


def test_a_family_that_runs_out_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others go on."""
    monkeypatch.setattr(module, "FAMILIES", (*PRODUCTS, FAMILIES[0]))
    monkeypatch.setattr(module, "_TRIES", 2000)
    kinds = [p.kind for p in some(1, "sampled", 250)]
    assert {"product", "sum"} == set(kinds[:10])
    assert {"sum"} == set(kinds[-20:])
