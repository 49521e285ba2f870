"""What a stop has lost, by gold answers and by a judge."""

from __future__ import annotations

import pytest

from stopping_core import Audit, Boundary, Checkpoint, Request
from stopping_core.steering import GoldLoss, JudgedLoss, Tickets

PLACE = Checkpoint(9, 3, 0.1, Boundary.SENTENCE)


def audit(cut: str, full: str, finish_reason: str = "stop") -> Audit:
    return Audit(PLACE, "answer", cut, full, finish_reason)


@pytest.mark.parametrize(
    ("cut", "full", "expected"),
    [
        ("It is Paris.", "It is Paris. Yes.", 0.0),
        ("It is a city.", "It is a city. Paris.", 1.0),
        ("It is Rome.", "It is Rome. Or Oslo.", 0.0),
        ("It is Paris.", "Not at all.", 0.0),
    ],
)
def test_a_right_answer_may_be_lost(cut: str, full: str, expected: float) -> None:
    """And only one that the full run has."""
    asked = Request(metadata={"gold": "Paris"})
    assert expected == GoldLoss("contains")(asked, audit(cut, full))


def test_gold_answers_come_from_where_they_are() -> None:
    """Of several one is enough; without any nothing can be said."""
    lost = audit("Hm.", "Hm. Paris.")
    assert 1.0 == GoldLoss("contains")(Request(metadata={"gold": ["Rome", "Paris"]}), lost)
    assert None is GoldLoss("contains")(Request(), lost)
    known = {"Where?": ("Paris",)}
    by_question = GoldLoss("contains", lambda request: known.get(request.question, ()))
    assert 1.0 == by_question(Request(question="Where?"), lost)
    with pytest.raises(ValueError, match="grader must be one of"):
        GoldLoss("taste")


def test_a_full_run_that_the_cap_cut_ends_open() -> None:
    """Its last word may have gone on."""
    gold = Request(metadata={"gold": "Par"})
    assert 0.0 == GoldLoss("contains")(gold, audit("Hm.", "Hm. Par", "length"))
    assert 1.0 == GoldLoss("contains")(gold, audit("Hm.", "Hm. Par"))


def test_a_judge_tells_by_how_much_the_full_answer_is_better() -> None:
    """Never below 0."""
    judged = JudgedLoss(lambda request, text: len(text) / 10)
    assert pytest.approx(0.4) == judged(Request(), audit("abc", "abcdefg"))
    assert 0.0 == judged(Request(), audit("abcdefg", "abc"))


def test_tickets_wait_for_their_turn() -> None:
    """Whoever ends first is told when all before it have ended, or were given up."""
    tickets: Tickets[str] = Tickets(patience=10.0, most=3)
    for number, name in enumerate("abc"):
        tickets.begin(name, float(number))
    assert (True, False) == (tickets.end("b", "B"), tickets.end("x", "X"))
    assert ([], 2, 3) == (list(tickets.due(3.0)), tickets.running, len(tickets))
    tickets.end("a", "A")
    assert ["A", "B"] == list(tickets.due(3.0))
    assert ([], 1) == (list(tickets.due(13.0)), tickets.given_up)
    for number, name in enumerate("defgh"):
        tickets.begin(name, 20.0 + number)
    assert (3, 3) == (len(tickets), tickets.given_up)
    tickets.begin("h", 30.0)
    assert (3, 3) == (len(tickets), tickets.given_up)
    with pytest.raises(ValueError, match="most must be >= 1, got 0"):
        Tickets(most=0)
