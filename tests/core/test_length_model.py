"""Models of the needed length: plain numbers, read strictly, sane on any request."""

from __future__ import annotations

import copy
import json
import math
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stopping_core.budgets import LengthModel, calibrate, fit_lengths
from stopping_core.budgets.request_features import NAMES, features_of
from stopping_core.errors import MissingPackage
from stopping_core.types import Request
from tests.core.made_lengths import made_lengths

LEVELS = (0.5, 0.9)
texts = st.text(max_size=80) | st.sampled_from(
    ["\ud800", "?" * 5000, "9999 words", "٣ lines", "\n"]
)


def sample(count: int, seed: int = 0) -> tuple[list[Request], list[int]]:
    """Requests whose length rises with the context and with what is asked, and spreads with it."""
    rng = np.random.default_rng(seed)
    requests, needed = [], []
    for _ in range(count):
        size = int(rng.integers(50, 2000))
        question = str(rng.choice(["Who came?", "Explain why it was so.", "How many were there?"]))
        long = question.startswith("Explain")
        log = 4.5 + 0.3 * math.log(size) + long + rng.normal() * (0.1 + 0.4 * long)
        requests.append(Request(question=question, context="x" * size))
        needed.append(round(math.exp(log)))
    return requests, needed


@given(question=texts, context=texts, prompt=texts, tokens=st.none() | st.integers(0, 10**9))
def test_any_request_has_features_and_quantiles(
    question: str, context: str, prompt: str, tokens: int | None
) -> None:
    """Features are finite or NaN; quantiles are whole, in [1, cap], and do not fall."""
    request = Request(prompt, question, context, prompt_tokens=tokens)
    found = features_of(request)
    assert len(found) == len(NAMES)
    assert not any(map(math.isinf, found))
    quantiles = made_lengths(slope=5.0).quantiles(request)
    assert list(quantiles) == sorted(quantiles)
    assert all(isinstance(one, int) and 1 <= one <= 512 for one in quantiles)


def test_what_is_not_known_counts_as_average() -> None:
    """A request of which nothing is known has the quantiles of an average one."""
    assert made_lengths(slope=1.0).quantiles(Request()) == made_lengths().quantiles(Request())


def test_a_request_far_from_all_others_gets_no_wild_grant() -> None:
    """Beyond three deviations a longer context changes nothing."""
    model = made_lengths(slope=0.01)
    far, further = (model.quantiles(Request(context="x" * size)) for size in (10**4, 10**6))
    assert far == further


@pytest.mark.parametrize(
    ("question", "name", "value"),
    [
        ("Say it in three sentences.", "sentences asked for", 3),
        ("Answer in at most 50 words", "words asked for", 50),
        ("Give 2 good reasons and 5 examples", "items asked for", 5),
        ("In which of the 50 states?", "items asked for", 0),
        ("He died in 1850; 20 came. How many left?", "numbers in the question", 2),
        ("It rained. Why? Who knows.", "sentences of the question", 3),
    ],
)
def test_counts_are_read(question: str, name: str, value: int) -> None:
    """What a question asks for is read from its words."""
    found = features_of(Request(question=question))[NAMES.index(name)]
    assert round(math.expm1(found), 6) == value


@pytest.mark.parametrize(
    ("question", "names"),
    [
        ("Explain the rule.", {"explains", "asks for other"}),
        ("Who was it?", {"asks for person"}),
        ("Is it so?", {"is yes or no", "asks for other"}),
        ("List them briefly", {"lists", "is brief", "asks for other"}),
        ("How to bake bread?", {"instructs", "asks for manner"}),
        ("What code compares a to b? Compare them.", {"codes", "compares", "asks for what"}),
    ],
)
def test_cues_are_read(question: str, names: set[str]) -> None:
    """So is what kind of answer it wants."""
    found = dict(zip(NAMES, features_of(Request(question=question)), strict=True))
    begin, end = NAMES.index("is yes or no"), NAMES.index("characters of the context")
    assert {name for name in NAMES[begin:end] if found[name] == 1} == names


def test_crossing_quantiles_are_sorted() -> None:
    """A lower level is never above a higher one."""
    model = made_lengths([40, 20], levels=LEVELS)
    assert model.quantiles(Request()) == (20, 40)


def test_offsets_never_lower_a_promised_level() -> None:
    """Each quantile is at least its own with its own offset, and they do not fall."""
    model = made_lengths([40, 50], levels=LEVELS)
    held = LengthModel(**{**vars_of(model), "offsets": (math.log(2), 0.0), "runs": 9})
    assert held.quantiles(Request()) == (80, 80)
    capped = LengthModel(**{**vars_of(model), "offsets": (0.0, None), "runs": 9})
    assert capped.quantiles(Request()) == (40, 512)


def vars_of(model: LengthModel) -> dict[str, Any]:
    """The fields of a model."""
    return {name: getattr(model, name) for name in LengthModel.__dataclass_fields__}


def test_the_offset_is_the_order_statistic_of_the_theorem() -> None:
    """Of 9 runs the 5th smallest is the offset at 0.5, the 9th at 0.9, and none at 0.95."""
    model = made_lengths([10, 10, 10], levels=(0.5, 0.9, 0.95))
    needed = [10 * n for n in (3, 1, 2, 9, 5, 4, 8, 6, 7)]
    held = calibrate(model, [Request()] * 9, needed)
    assert held.offsets is not None
    assert held.offsets[:2] == pytest.approx((math.log(5), math.log(9)))
    assert held.offsets[2] is None
    assert (held.runs, held.calibrated) == (9, True)
    assert held.quantiles(Request()) == (50, 90, 512)
    assert calibrate(held, [Request()] * 9, needed) == held


def test_one_run_of_a_group_calibrates() -> None:
    """Runs that belong together count once, whichever is drawn."""
    model = made_lengths([10], levels=(0.5,))
    held = calibrate(model, [Request()] * 6, [20, 20, 20, 30, 30, 10**9], [0, 0, 0, 1, 1, 2])
    assert held.runs == 3
    assert held.quantiles(Request()) == (30,)


def test_a_fit_finds_what_makes_answers_long() -> None:
    """Where spread and length depend on the question, quantiles do; coverage is near the level."""
    requests, needed = sample(400)
    model = fit_lengths(requests, needed, levels=LEVELS)
    new, lengths = sample(400, seed=1)
    for place, level in enumerate(LEVELS):
        below = [
            length <= model.quantiles(request)[place]
            for request, length in zip(new, lengths, strict=True)
        ]
        assert abs(np.mean(below) - level) < 0.06
    explain, who = (
        model.log_quantiles(features_of(Request(question=question, context="x" * 500)))
        for question in ("Explain why it was so.", "Who came?")
    )
    assert explain[0] - who[0] > 0.7
    assert explain[1] - explain[0] > 2 * (who[1] - who[0])


def test_a_model_survives_json() -> None:
    """What comes back is the same, calibrated or not."""
    requests, needed = sample(60)
    model = fit_lengths(requests, needed, cap=3000)
    for one in (model, calibrate(model, requests[:30], needed[:30])):
        assert LengthModel.from_dict(json.loads(json.dumps(one.to_dict()))) == one


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("levels", [0.9, 0.5], r"lengths.levels must rise inside \(0, 1\)"),
        ("levels", [], r"lengths.levels must rise inside \(0, 1\)"),
        ("levels", ["0.5"], r"lengths.levels\[0\] must be a finite number, got '0.5'"),
        ("mean", [1.0], r"lengths.mean must hold \d+ numbers, got 1"),
        ("scale", [0.0] * len(NAMES), r"lengths.scale must hold numbers > 0, got 0.0"),
        ("weights", [[1.0]], r"lengths.weights must be 2 rows of \d+, got rows of \[1\]"),
        ("weights", 3, r"lengths.weights must be a list, got 3"),
        ("weights", [[None]], r"lengths.weights\[0\]\[0\] must be a finite number, got None"),
        ("intercepts", [1.0], r"lengths.intercepts must hold 2 numbers, got 1"),
        ("cap", 0, r"lengths.cap must be a whole number >= 1, got 0"),
        ("cap", 1.5, r"lengths.cap must be a whole number >= 1, got 1.5"),
        ("runs", True, r"lengths.runs must be a whole number >= 0, got True"),
        ("runs", 4, r"lengths.runs must be > 0 with offsets, 0 without, got 4"),
        ("offsets", [0.0, 0.0], r"lengths.runs must be > 0 with offsets, 0 without, got 0"),
        ("offsets", [math.inf, 0.0], r"lengths.offsets\[0\] must be a finite number, got inf"),
        ("features", ["a"], r"lengths.features must be those of this version"),
    ],
)
def test_damage_is_named(key: str, value: object, message: str) -> None:
    """What is wrong in a file is refused with its key and value."""
    data = made_lengths([10, 20], levels=LEVELS).to_dict()
    with pytest.raises(ValueError, match=message):
        LengthModel.from_dict({**data, key: value})


def test_offsets_have_to_fit_the_levels() -> None:
    """A level without its offset is refused."""
    data = made_lengths([10, 20], levels=LEVELS).to_dict()
    with pytest.raises(ValueError, match=r"lengths.offsets must hold 2 numbers, got 1"):
        LengthModel.from_dict({**data, "offsets": [0.0], "runs": 3})


def test_what_is_missing_or_unknown_is_named() -> None:
    """No key is guessed at."""
    data = made_lengths().to_dict()
    for key in data:
        broken = copy.deepcopy(data)
        del broken[key]
        with pytest.raises(ValueError, match=rf"lengths\.{key} is missing"):
            LengthModel.from_dict(broken)
    with pytest.raises(ValueError, match=r"lengths\.more is not known, got 1"):
        LengthModel.from_dict({**data, "more": 1})


def test_arguments_are_validated() -> None:
    """Lengths that do not go together, and settings out of their intervals, are refused."""
    requests, needed = sample(20)
    with pytest.raises(ValueError, match=r"must be of one length, >= 10, got 20 and 3"):
        fit_lengths(requests, needed[:3])
    with pytest.raises(ValueError, match=r"must be of one length, >= 10, got 3 and 3"):
        fit_lengths(requests[:3], needed[:3])
    with pytest.raises(ValueError, match=r"penalty must be >= 0, got nan"):
        fit_lengths(requests, needed, penalty=math.nan)
    with pytest.raises(ValueError, match=r"requests must hold at least 1, got 0"):
        calibrate(made_lengths(), [], [])
    with pytest.raises(ValueError, match=r"must be of one length, got \(20, 20, 1\)"):
        calibrate(made_lengths(), requests, needed, ["a"])


def test_without_scikit_learn_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the extra."""
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    with pytest.raises(MissingPackage, match=r"stopping-core\[fit\]"):
        fit_lengths(*sample(20))


def test_features_that_tell_nothing_get_no_weight() -> None:
    """Where the length has nothing to do with the request, all requests have the same quantiles."""
    requests, needed = sample(200)
    model = fit_lengths(requests, needed[::-1], levels=LEVELS, groups=[n // 2 for n in range(200)])
    assert {weight for row in model.weights for weight in row} == {0.0}
    told = fit_lengths(requests, needed, levels=LEVELS)
    assert any(weight != 0 for weight in told.weights[0])
    with pytest.raises(ValueError, match=r"groups must be of the length of requests, 200, got 1"):
        fit_lengths(requests, needed, groups=["a"])
