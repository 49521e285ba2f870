"""Rounds of retrieval over a scripted server, and what the ways to end them leave."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.rounds import Ended, Round, after, drafter, read_task, run, settled, table, two_hops
from stopping_core.hybrids import Rounds
from stopping_core.questions import Question
from tests.hybrids.two_hops import ANSWER, MOST, QUESTION, SETTLED, reply, retrieve
from tests.support.sse_server import CountingServer


def loop(server: CountingServer, rounds: int) -> list[Round]:
    """The two hops, so many times."""
    return run(QUESTION, retrieve, drafter(server.base_url, server.model, 64), rounds)


def test_what_is_counted_is_what_the_server_counts() -> None:
    """Six calls and 55 tokens; ended by Rounds, three and 28, as if they alone had been made."""
    with CountingServer(reply, delay=0) as server:
        whole = loop(server, MOST)
        assert (MOST, 55) == (len(server.calls), server.sent)
    ended = settled(Rounds(MOST))(whole)
    assert Ended(SETTLED, ANSWER, "same answer") == ended
    with CountingServer(reply, delay=0) as server:
        short = loop(server, ended.rounds)
        assert (SETTLED, 28) == (len(server.calls), server.sent)
    for made, tokens in ((whole, 55), (short, 28)):
        assert tokens == sum(one.tokens for one in made)
    same = [(one.passages, one.draft) for one in short]
    assert same == [(one.passages, one.draft) for one in whole[: ended.rounds]]


def test_the_table_compares_question_by_question() -> None:
    """One question is right from the second round on, one from the first."""
    late = [Round(("a",), "It is Lyon.", 4, 1.0), *[Round(("b",), "It is Riga.", 4, 1.0)] * 3]
    early = [Round(("c",), "It is Riga.", 6, 1.0)] * 4
    asked = [Question(name, "Where?", ("Riga",)) for name in ("late", "early")]
    ends = {"all": after(4), "one": after(1), "rounds": settled(Rounds(4))}
    whole, one, rounds = table(asked, [late, early], ends)[2:]
    assert whole.startswith("| all | 4.00 | 100.0% (100.0 to 100.0) | 20 | ")
    assert " | 50.0% (0.0 to 100.0) | -50.0% (-100.0 to 0.0) | " in one
    assert rounds.startswith("| rounds | 2.50 | 62.5% (50.0 to 75.0) | 12 | 60.0% (50.0 to 75.0)")
    assert " | 100.0% (15.8 to 100.0) | 0.0% (0.0 to 0.0) | " in rounds
    assert rounds.endswith(" | same answer 2 |")


def test_rounds_that_were_not_made_cannot_be_ended() -> None:
    """The loop has to go on to the last of them."""
    with pytest.raises(ValueError, match="at least 3 rounds, got 1"):
        settled(Rounds(3))([Round((), "It is Lyon.", 4, 1.0)])


def test_a_made_up_question_takes_two_passages() -> None:
    """One has what it names, and leads by a name to the one that has the answer."""
    task = two_hops(40)
    assert 40 == len({one.question for one in task.questions})
    for number, question in enumerate(task.questions):
        first, second = task.texts[2 * number : 2 * number + 2]
        person = second.partition(" was born in ")[0]
        assert person in first
        assert person not in question.question
        assert f"born in {question.gold[0]}." in second
        assert not any(f" {town}" in first for town in question.gold)
    assert task == two_hops(40)
    assert task != two_hops(40, seed=1)


def test_all_contexts_of_a_file_are_searched(tmp_path: Path) -> None:
    """Each once, whoever is asked; a file without any is refused."""
    path = tmp_path / "q.jsonl"
    rows = [
        {
            "id": f"q{n}",
            "question": f"What is {n}?",
            "gold": [str(n)],
            "context": f"A\n\nB {n // 2}",
        }
        for n in range(4)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = read_task(path, 2)
    assert (2, ("A", "B 0", "B 1")) == (len(task.questions), task.texts)
    path.write_text(json.dumps({"id": "q", "question": "What?", "gold": ["1"]}) + "\n")
    with pytest.raises(ValueError, match="have no context to search"):
        read_task(path, 2)
