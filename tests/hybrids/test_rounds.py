"""The controller of rounds: when it ends them, with which draft, and that it can be resumed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stopping_core import AdaptiveStopping, Request, Session, Usage, run
from stopping_core.hybrids import Purse, Rounds, RoundState
from stopping_core.testing import SAMPLES, FakeClock, ScriptedModel, words

LYON, PARIS, ROME = "It is Lyon.", "The answer is Paris.", "It is Rome."


def play(
    rounds: Rounds, drafts: Sequence[str], evidence: Sequence[Sequence[str]] = ()
) -> RoundState:
    """Tell drafts, and the evidence of each, until the rounds are over."""
    state = RoundState()
    for number, draft in enumerate(drafts):
        state = rounds.after(state, draft, evidence[number] if evidence else ())
        if state.done:
            break
    return state


def ending(state: RoundState) -> tuple[str, int, str]:
    """Why, after how many rounds, and with what."""
    return state.why, len(state.drafts), state.answer


def test_drafts_that_state_the_same_answer_end_it() -> None:
    """Compared is what votes compare, so that other words around it do not count."""
    drafts = [LYON, PARIS, "Paris it was. So, the answer is **paris**.", ROME]
    assert ("same answer", 3, drafts[2]) == ending(play(Rounds(), drafts))


def test_patience_is_of_rounds_in_a_row() -> None:
    """An answer that another one interrupts begins to be counted anew."""
    drafts = [PARIS, PARIS, LYON, PARIS, PARIS, PARIS]
    assert ("same answer", 6, PARIS) == ending(play(Rounds(most=9, patience=3), drafts))


def test_long_answers_are_compared_by_their_words() -> None:
    """A first sentence that stays is not enough there, and one that is put otherwise may be."""
    one = "Two reasons. The road was wet and the brakes of the lorry were worn."
    two = "Two reasons. The driver slept, nobody saw the signal."
    three = "Two reasons. The driver slept and nobody saw the signal."
    assert 2 == len(play(Rounds(), [one, two, three]).drafts)
    assert ("same answer", 3, three) == ending(play(Rounds(alike=0.9), [one, two, three]))


def test_a_function_may_compare_the_drafts() -> None:
    """It is told the draft before and this one."""
    told: list[tuple[str, str]] = []

    def same(one: str, other: str) -> bool:
        told.append((one, other))
        return len(one) == len(other)

    assert ("same answer", 3, ROME) == ending(play(Rounds(same=same), [PARIS, LYON, ROME]))
    assert [(PARIS, LYON), (LYON, ROME)] == told


@pytest.mark.parametrize("settings", [{}, {"alike": 0.5}, {"same": lambda one, other: True}])
@pytest.mark.parametrize("blank", ["", " \n"])
def test_no_answer_twice_is_no_answer(settings: dict[str, Any], blank: str) -> None:
    """A model that says nothing has not settled; what it said before is returned."""
    state = play(Rounds(most=3, **settings), [PARIS, blank, blank])
    assert ("most rounds", 3, PARIS) == ending(state)


def test_evidence_that_is_enough_ends_it() -> None:
    """The function is told what was given, in the first round as well."""
    rounds = Rounds(enough=lambda evidence: len(evidence) >= 2)
    assert ("enough evidence", 1, LYON) == ending(play(rounds, [LYON, PARIS], [["a", "b"]]))
    assert ("enough evidence", 2, PARIS) == ending(play(rounds, [LYON, PARIS], [["a"], ["a", "b"]]))


@pytest.mark.parametrize("second", [[], ["a  b"], ["a b", ""]], ids=["none", "spaced", "blank"])
def test_retrieval_that_has_run_dry_ends_it(second: list[str]) -> None:
    """The next draft would be made from what this one was made from."""
    drafts, evidence = [LYON, PARIS, ROME], [["a b"], second, ["c"]]
    assert ("nothing new", 2, PARIS) == ending(play(Rounds(dry=1), drafts, evidence))
    for rounds in (Rounds(dry=2), Rounds()):
        assert not play(rounds, drafts, evidence).done


def test_dry_rounds_count_in_a_row() -> None:
    """A new passage in between is a new beginning."""
    evidence = [["a"], ["a"], ["b"], ["b"], ["a"]]
    drafts = [LYON, PARIS, LYON, ROME, PARIS]
    assert ("nothing new", 5, PARIS) == ending(play(Rounds(most=9, dry=2), drafts, evidence))


def test_without_evidence_nothing_is_new() -> None:
    """A loop without retrieval, and one whose first searches find nothing, are not dry."""
    assert not play(Rounds(), [LYON, PARIS, ROME]).done
    assert not play(Rounds(), [LYON, PARIS, ROME], [[], [], ["a"]]).done


@pytest.mark.parametrize(
    ("drafts", "answer"),
    [
        ([PARIS, LYON, "So the answer is Paris", ROME], "So the answer is Paris"),
        ([PARIS, LYON, PARIS, LYON], LYON),
        ([LYON, "", " ", "..."], LYON),
        (["", "", "", ""], ""),
    ],
    ids=["most", "tie", "blank", "nothing"],
)
def test_a_loop_that_does_not_settle_returns_what_most_say(drafts: list[str], answer: str) -> None:
    """Of a tie, and of the drafts that agree, the last."""
    assert ("most rounds", 4, answer) == ending(play(Rounds(most=4), drafts))


def test_an_empty_purse_ends_it() -> None:
    """The tokens of all rounds add up; what is returned is what most drafts say."""
    purse, model = Purse(tokens=12), ScriptedModel(*map(words, [PARIS, LYON, PARIS + " Yes."]))
    state = RoundState()
    while not state.done:
        session = Session(purse.settings(AdaptiveStopping()), Request(prompt="Where?"))
        state = Rounds(patience=3).after(state, run(session, model.backend).text, purse=purse)
    assert ("budget", 3, PARIS + " Yes.") == ending(state)
    assert [4, 3, 5] == model.generated


def test_seconds_end_it_too() -> None:
    """They are the purse's; the controller has no clock."""
    clock = FakeClock()
    purse = Purse(seconds=5.0, clock=clock)
    state = Rounds().after(None, LYON, purse=purse)
    clock.advance(5.0)
    assert ["", "budget"] == [state.why, Rounds().after(state, PARIS, purse=purse).why]


def test_the_best_reason_is_the_one_that_is_told() -> None:
    """Where several hold at once, an answer that has settled comes first, the budget last."""
    purse = Purse(tokens=1)
    purse.book(Usage(generated=1))
    dry = [["a"], ["a", "a"]]
    enough = Rounds(most=2, enough=lambda evidence: len(evidence) > 1)
    assert "same answer" == play(enough, [PARIS, PARIS], dry).why
    assert "enough evidence" == play(enough, [PARIS, LYON], dry).why
    assert "nothing new" == play(Rounds(most=2, dry=1), [PARIS, LYON], dry).why
    assert "most rounds" == Rounds(most=1).after(None, PARIS, purse=purse).why
    assert "budget" == Rounds(most=2).after(None, PARIS, purse=purse).why


def test_rounds_that_are_over_begin_anew() -> None:
    """A thread that asks a next question hands the state of the last one over."""
    over = play(Rounds(), [PARIS, PARIS], [["a"], ["b"]])
    assert over.done
    assert Rounds().after(None, PARIS, ["a"]) == Rounds().after(over, PARIS, ["a"])


texts = st.one_of(st.sampled_from(SAMPLES), st.text(st.characters()), st.sampled_from([PARIS, ""]))
settings_of_rounds = st.builds(
    Rounds,
    most=st.integers(1, 6),
    patience=st.integers(2, 4),
    alike=st.one_of(st.none(), st.floats(0.1, 1.0)),
    dry=st.one_of(st.none(), st.integers(1, 3)),
)
told = st.lists(st.tuples(texts, st.lists(texts, max_size=3)), min_size=6, max_size=6)


@given(settings_of_rounds, told)
def test_it_ends_by_most_whatever_a_model_says(
    rounds: Rounds, made: list[tuple[str, list[str]]]
) -> None:
    """And returns a draft that was made, not a blank one where there is another."""
    state = play(rounds, *zip(*made, strict=True))
    assert state.done
    assert len(state.drafts) <= rounds.most
    assert state.answer in state.drafts


@given(settings_of_rounds, told)
def test_resumed_from_json_it_decides_the_same(
    rounds: Rounds, made: list[tuple[str, list[str]]]
) -> None:
    """After any round; and a round that is done again gets the same decision."""
    state = resumed = RoundState()
    for draft, evidence in made:
        state = rounds.after(state, draft, evidence)
        again = [rounds.after(resumed, draft, evidence) for _ in range(2)]
        assert [state, state] == again
        resumed = RoundState.from_dict(json.loads(json.dumps(state.to_dict())))
        assert state == resumed


@given(settings_of_rounds, told, st.integers(1, 5))
def test_it_does_not_see_the_future(
    rounds: Rounds, made: list[tuple[str, list[str]]], kept: int
) -> None:
    """What it knows after some rounds does not depend on the later ones."""
    whole = play(rounds, *zip(*made, strict=True))
    part = play(rounds, *zip(*made[:kept], strict=True))
    assert whole.drafts[:kept] == part.drafts
    assert (whole == part) == (len(whole.drafts) <= kept)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"most": 0}, ValueError, "most must be a whole number >= 1, got 0"),
        ({"most": 2.5}, ValueError, "most must be a whole number >= 1, got 2.5"),
        ({"patience": 1}, ValueError, "patience must be a whole number >= 2, got 1"),
        ({"dry": True}, ValueError, "dry must be a whole number >= 1, got True"),
        ({"alike": 0.0}, ValueError, r"alike must be in \(0, 1\], got 0.0"),
        ({"alike": 1.5}, ValueError, r"alike must be in \(0, 1\], got 1.5"),
        ({"alike": 0.5, "same": str.__eq__}, ValueError, "alike must be None .* got 0.5"),
        ({"same": "f1"}, TypeError, "same must be callable and no class, got 'f1'"),
        ({"enough": list}, TypeError, "enough must be callable and no class, got <class 'list'>"),
    ],
)
def test_wrong_settings_are_refused(
    settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    """By name and value, when the object is made."""
    with pytest.raises(error, match=message):
        Rounds(**settings)


def test_what_is_no_text_is_refused() -> None:
    """Both are the caller's mistakes, and neither quotes what it holds."""
    with pytest.raises(TypeError, match="draft must be a text, got NoneType"):
        Rounds().after(None, None)  # type: ignore[arg-type]  # the mistake
    with pytest.raises(TypeError, match="evidence must be a sequence of texts, got a single text"):
        Rounds().after(None, PARIS, "a passage")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"drafts": "Paris"}, "rounds.drafts must be a list"),
        ({"drafts": [1]}, r"rounds.drafts\[0\] must be a text, got int"),
        ({"seen": [None]}, r"rounds.seen\[0\] must be a text, got NoneType"),
        ({"streak": -1}, "rounds.streak must be a whole number >= 0, got -1"),
        ({"dry": "1"}, "rounds.dry must be a whole number >= 0, got '1'"),
        ({"answer": None}, "rounds.answer must be a text, got NoneType"),
        ({"why": "tired"}, "rounds.why must be one of .* got 'tired'"),
        ({"more": 1}, "rounds.more is not known"),
    ],
)
def test_a_state_that_is_none_is_refused(changes: dict[str, Any], message: str) -> None:
    """A damaged checkpoint is named, and nothing is guessed."""
    with pytest.raises(ValueError, match=message):
        RoundState.from_dict({**RoundState().to_dict(), **changes})
