"""Data sets of the Hub, as `datasets` gives them: read from a local folder of the same columns."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import datasets
import pytest

from stopping_core import MissingPackage
from stopping_core.questions import Question, load_questions

ROWS: dict[str, list[dict[str, Any]]] = {
    "squad": [
        {
            "id": f"s{number}",
            "title": "Tea",
            "context": "Tea came from China to Japan.",
            "question": f"{asked} did tea come?",
            "answers": {"text": [answer, answer], "answer_start": [0, 0]},
        }
        for number, (asked, answer) in enumerate(
            [("From where", "China"), ("To where", "Japan")], start=1
        )
    ],
    "hotpotqa": [
        {
            "id": "h1",
            "question": "Is tea older than coffee?",
            "answer": "yes",
            "type": "comparison",
            "supporting_facts": {"title": ["Tea"], "sent_id": [0]},
            "context": {
                "title": ["Tea", "Coffee"],
                "sentences": [["It is old."], ["It is", " not."]],
            },
        }
    ],
    "gsm8k": [{"question": "What is 2 * 800?", "answer": "It is <<2*800=1600>>1600.\n#### 1,600"}],
    "pubmedqa": [
        {
            "pubid": 101,
            "question": "Does tea help?",
            "context": {"contexts": ["Ten drank tea.", "Nine slept."], "labels": ["M", "R"]},
            "long_answer": "It may.",
            "final_decision": "maybe",
        }
    ],
}
EXPECTED = {
    "squad": Question(
        "s1",
        "From where did tea come?",
        ("China",),
        context="Tea came from China to Japan.",
        family="Tea",
    ),
    "hotpotqa": Question(
        "h1",
        "Is tea older than coffee?",
        ("yes",),
        context="Tea: It is old.\n\nCoffee: It is not.",
        grader="choice",
    ),
    "gsm8k": Question("1", "What is 2 * 800?", ("1600",), grader="last_number"),
    "pubmedqa": Question(
        "101", "Does tea help?", ("maybe",), context="Ten drank tea.\nNine slept.", grader="choice"
    ),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for a data set, with the library's cache beside it."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    made = tmp_path / "tea"
    made.mkdir()
    return made


def store(folder: Path, rows: list[dict[str, Any]], split: str = "test") -> None:
    datasets.Dataset.from_list(rows).to_parquet(folder / f"{split}.parquet")


@pytest.mark.parametrize("shape", ROWS)
def test_the_columns_of_the_hub_are_known(folder: Path, shape: str) -> None:
    """The known data sets give the same questions as their authors' files."""
    store(folder, ROWS[shape])
    questions = load_questions(f"hub:{folder}")
    assert EXPECTED[shape] == questions[0]
    assert questions == load_questions(f"hub:{folder}::test", shape)
    assert len({question.group for question in questions}) == 1


def test_one_of_several_splits_has_to_be_named(folder: Path) -> None:
    """The error says which there are and how to name one."""
    store(folder, ROWS["gsm8k"] * 3, "train")
    store(folder, ROWS["gsm8k"])
    with pytest.raises(ValueError, match=rf"has the splits train, test: .*hub:{folder}::train"):
        load_questions(f"hub:{folder}")
    assert len(load_questions(f"hub:{folder}::test")) == 1
    assert len(load_questions(f"hub:{folder}:default:train[:2]")) == 2


def test_a_malformed_row_is_named(folder: Path) -> None:
    """A row without an answer, as in test splits whose answers are kept back."""
    store(folder, [ROWS["squad"][0], {**ROWS["squad"][1], "answers": {"text": []}}])
    with pytest.raises(ValueError, match=rf"^hub:{folder}: row 2\.answers\.text is empty"):
        load_questions(f"hub:{folder}")


def test_a_source_without_a_name_is_refused() -> None:
    """Before anything is imported or looked for."""
    with pytest.raises(
        ValueError, match=r"source must be hub:NAME\[:CONFIG\[:SPLIT\]\], got 'hub:'"
    ):
        load_questions("hub:")


def test_the_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install."""
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingPackage, match=r"datasets is needed here.*stopping-core\[hub\]"):
        load_questions("hub:owner/name")
