"""Question files: each format gives the same kind of question, and a bad file says where."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from stopping_core.metrics import GRADERS, contains
from stopping_core.questions import FORMATS, Question, load_questions

DATA = Path(__file__).parents[1] / "data"
FILES = {
    "squad.json": "squad",
    "hotpotqa.json": "hotpotqa",
    "pubmedqa.json": "pubmedqa",
    "multiarith.json": "arithmetic",
    "svamp.json": "arithmetic",
    "gsm8k.jsonl": "gsm8k",
    "questions.jsonl": "jsonl",
}
ASKED: dict[str, Any] = {"question": "Who?", "gold": "Ann"}


def write(folder: Path, content: Any, name: str = "own.json") -> Path:
    """A file of some bytes, of some text, of objects a line, or of a JSON document."""
    path = folder / name
    if isinstance(content, tuple):
        content = "\n".join(json.dumps(line) for line in content)
    if not isinstance(content, str | bytes):
        content = json.dumps(content)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(("name", "format"), FILES.items())
def test_the_format_is_told_from_the_content(tmp_path: Path, name: str, format: str) -> None:
    """A file gives the same questions with its format named, and under another name."""
    questions = load_questions(DATA / name)
    assert questions == load_questions(DATA / name, format)
    assert questions == load_questions(write(tmp_path, (DATA / name).read_bytes(), "questions"))
    assert set(FORMATS) == set(FILES.values())


@pytest.mark.parametrize("name", FILES)
def test_every_gold_answer_is_right_by_its_own_grader(name: str) -> None:
    """A grader that could not see the gold answer would count every run as wrong."""
    for question in load_questions(DATA / name):
        grade = GRADERS[question.grader]
        assert {1.0} == {grade(one, question.gold) for one in question.gold}
        assert grade("a wrong answer of 999", question.gold) == 0.0


def test_squad() -> None:
    """A paragraph is a group, an article a family; repeated answers stand once."""
    first, second, third, fourth = load_questions(DATA / "squad.json")
    assert ("s1", ("1871", "in 1871"), "contains") == (first.id, first.gold, first.grader)
    assert first.context.startswith("The lighthouse of Port Ellery")
    assert first.group == second.group != third.group
    assert ["Port_Ellery"] * 3 + ["Lindow"] == [
        one.family for one in (first, second, third, fourth)
    ]


def test_hotpotqa() -> None:
    """All passages are the context, with their titles; yes and no are a choice."""
    bridge, comparison = load_questions(DATA / "hotpotqa.json")
    assert ("h1", ("Marvelle",), "contains") == (bridge.id, bridge.gold, bridge.grader)
    assert bridge.context == (
        "Elena Costa: Elena Costa learned from her uncle Pietro. Her sister is Clara Costa.\n\n"
        "Clara Costa: Clara Costa is a soprano. She sings in Marvelle."
    )
    assert (("no",), "choice") == (comparison.gold, comparison.grader)


def test_gsm8k() -> None:
    """Gold is the number after the marks; the worked answer is not sent."""
    questions = load_questions(DATA / "gsm8k.jsonl")
    assert [("45",), ("2600",)] == [one.gold for one in questions]
    assert ["1", "2"] == [one.id for one in questions]
    assert {("", "", "last_number")} == {(one.context, one.family, one.grader) for one in questions}


def test_pubmedqa() -> None:
    """The abstract's parts are the context, the decision is a choice."""
    questions = load_questions(DATA / "pubmedqa.json")
    assert [("10001", ("yes",)), ("10002", ("maybe",))] == [(one.id, one.gold) for one in questions]
    assert {"choice"} == {one.grader for one in questions}
    assert questions[0].context.count("\n") == 1


def test_arithmetic() -> None:
    """Numbers are spelt as people do, and SVAMP's body and question are one text."""
    assert [("8",), ("1.75",)] == [one.gold for one in load_questions(DATA / "multiarith.json")]
    first, second = load_questions(DATA / "svamp.json")
    assert (("2",), ("120",)) == (first.gold, second.gold)
    assert first.question == (
        "Ella has 5 red and 7 green pens. How many more green than red pens has she?"
    )
    assert "10 shelves. How many" in second.question


def test_the_sample_questions_can_be_read_off_their_paragraphs() -> None:
    """8 paragraphs of 3 questions, 4 families; the answers stand there and not in the question."""
    questions = load_questions(DATA / "questions.jsonl")
    groups = [one.group for one in questions]
    assert [3] * 8 == [groups.count(group) for group in dict.fromkeys(groups)]
    assert len({one.family for one in questions}) == 4
    for question in questions:
        assert contains(question.context, question.gold), question
        assert not contains(question.question, question.gold), question
        assert all(len(one.split()) <= 3 for one in question.gold), question


def test_plain_questions_need_no_more_than_a_question_and_an_answer(tmp_path: Path) -> None:
    """A list, lines, or one object; ids may be missing or numbers, answers one or several."""
    other = {"id": 7, "question": "What?", "answers": ["a", "b", "a"], "grader": "exact_match"}
    expected = [
        Question("1", "Who?", ("Ann",), group="1"),
        Question("7", "What?", ("a", "b"), grader="exact_match"),
    ]
    assert expected == load_questions(write(tmp_path, [ASKED, other]))
    assert expected == load_questions(write(tmp_path, (ASKED, other)))
    assert expected[:1] == load_questions(write(tmp_path, ASKED))
    assert expected[:1] == load_questions(
        write(tmp_path, b"\xef\xbb\xbf" + json.dumps(ASKED).encode())
    )


def test_what_shares_a_context_shares_a_group(tmp_path: Path) -> None:
    """Else one paragraph could stand on both sides of a split; named groups stay."""
    rows = (
        {**ASKED, "id": "a", "context": "x"},
        {**ASKED, "id": "b", "context": "y"},
        {**ASKED, "id": "c", "context": "x"},
        {**ASKED, "id": "d", "context": "x", "group": "own"},
        {**ASKED, "id": "e"},
        {**ASKED, "id": "f"},
        {**ASKED, "id": "g", "context": "x", "family": "other"},
    )
    questions = load_questions(write(tmp_path, rows))
    assert ["a", "b", "a", "own", "e", "e", "g"] == [one.group for one in questions]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b" \n\n", "the file is empty"),
        (b"notes", "not a JSON text: Expecting value: line 1 column 1"),
        (b'{"question": "Who?"', "not a JSON text: .*line 1"),
        (b"\xff\xfe\x00", "not a JSON text: not UTF-8: byte 0xff at offset 0"),
        ("Wér?".encode("latin-1"), "not a JSON text: not UTF-8: byte 0xe9 at offset 1"),
        (b"[" * 100_000, "not a JSON text: "),
        (b"[]", "holds no question"),
        (b"7", "must be a list or an object, got 7"),
        ([7], r"\[0\] must be an object, got 7"),
        ([{}], r"\[0\] has the keys none: none of the formats squad, .*, jsonl"),
        ([{"text": "x"}], r"\[0\] has the keys text: none of the formats"),
        ((ASKED, 7), "line 2 must be an object, got 7"),
        (b'{"question": "Who?", "gold": "Ann"}\n\n{"question":', "line 3: not a JSON text: "),
        (b'{"question": "Who?", "gold": "x", "gold": "y"}', ".*the key 'gold' stands twice"),
        ([{"question": "Who?"}], r"\[0\]\.gold must be a text or a list of texts, got None"),
        (
            (ASKED, {"question": "Who?"}),
            r"line 2\.gold must be a text or a list of texts, got None",
        ),
        ([{**ASKED, "gold": []}], r"\[0\]\.gold is empty"),
        ([{**ASKED, "gold": " "}], r"\[0\]\.gold must be a text, got ' '"),
        ([{**ASKED, "gold": ["a", 7]}], r"\[0\]\.gold\[1\] must be a text, got 7"),
        ([{**ASKED, "answers": "b"}], r"\[0\]\.gold and answers are two names of one thing"),
        ([{**ASKED, "question": ""}], r"\[0\]\.question must be a text, got ''"),
        ([{**ASKED, "context": 7}], r"\[0\]\.context must be a text, got 7"),
        ([{**ASKED, "id": True}], r"\[0\]\.id must be a text or a whole number, got True"),
        ([{**ASKED, "id": 1.5}], r"\[0\]\.id must be a text or a whole number, got 1\.5"),
        ([{**ASKED, "grader": "bleu"}], r"\[0\]: grader must be one of contains, .*, got 'bleu'"),
        ([{**ASKED, "grader": "last_number"}], r"\[0\]: gold must hold a number, got 'Ann'"),
        ([{**ASKED, "grader": "choice"}], r"\[0\]: gold must be yes, no or maybe, or a letter"),
        (({**ASKED, "id": "a"}, ASKED, {**ASKED, "id": "a"}), "questions 1 and 3 have one id, 'a'"),
        (
            (
                {**ASKED, "id": "a", "group": "g", "family": "one"},
                {**ASKED, "id": "b", "group": "g", "family": "two"},
            ),
            "the group 'g' stands in two families, 'one' and 'two'",
        ),
    ],
)
def test_a_malformed_file_is_refused(tmp_path: Path, content: Any, message: str) -> None:
    """The error names the file, the place and what stands there."""
    path = write(tmp_path, content)
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: {message}"):
        load_questions(path)


@pytest.mark.parametrize(
    ("name", "key", "value", "message"),
    [
        ("squad.json", "context", 7, r"data\[0\]\.paragraphs\[0\]\.context must be a text, got 7"),
        ("squad.json", "qas", {}, r"data\[0\]\.paragraphs\[0\]\.qas must be a list, got dict"),
        ("squad.json", "answers", [], r"data\[0\]\.paragraphs\[0\]\.qas\[0\]\.answers is empty"),
        ("squad.json", "id", "s2", "questions 1 and 2 have one id, 's2'"),
        ("hotpotqa.json", "answer", None, r"\[0\]\.answer must be a text, got None"),
        ("hotpotqa.json", "question", " ", r"\[0\]\.question must be a text, got ' '"),
        ("hotpotqa.json", "context", [["T"]], r"\[0\]\.context\[0\] must be a title and sentences"),
        ("hotpotqa.json", "context", {"title": ["T"]}, r"\[0\]\.context must hold the lists title"),
        (
            "hotpotqa.json",
            "context",
            {"title": ["T"], "sentences": []},
            r"\[0\]\.context must hold as many sentences as titles",
        ),
        ("gsm8k.jsonl", "answer", "It is 45.", r"line 1\.answer must end in '#### N'"),
        ("gsm8k.jsonl", "answer", "It is 45.\n####", r"line 1\.answer must end in '#### N'"),
        ("gsm8k.jsonl", "answer", "#### many", "line 1: gold must hold a number, got 'many'"),
        ("pubmedqa.json", "final_decision", None, r"10001\.final_decision must be a text"),
        ("pubmedqa.json", "final_decision", "so", "10001: gold must be yes, no or maybe"),
        ("pubmedqa.json", "CONTEXTS", [], r"10001\.CONTEXTS is empty"),
        ("multiarith.json", "lSolutions", [], r"\[0\]\.lSolutions must be a list of one number"),
        ("multiarith.json", "lSolutions", ["x"], r"\[0\]\.lSolutions must be a number, got 'x'"),
        ("multiarith.json", "sQuestion", " ", r"\[0\]\.sQuestion must be a text, got ' '"),
        ("multiarith.json", "iIndex", 9, "questions 1 and 2 have one id, '9'"),
        ("svamp.json", "Answer", None, r"\[0\]\.Answer must be a number, got None"),
        ("svamp.json", "Answer", True, r"\[0\]\.Answer must be a number, got True"),
        ("svamp.json", "Answer", float("nan"), r"\[0\]\.Answer must be a number, got nan"),
        ("svamp.json", "Body", "", r"\[0\]\.Body must be a text, got ''"),
    ],
)
def test_a_malformed_record_of_each_format_is_refused(
    tmp_path: Path, name: str, key: str, value: Any, message: str
) -> None:
    """The first value under a key of the sample file is replaced by a wrong one."""
    lines = name.endswith(".jsonl")
    text = (DATA / name).read_text("utf-8")
    document = [json.loads(line) for line in text.splitlines()] if lines else json.loads(text)
    assert _replace(document, key, value)
    path = write(tmp_path, tuple(document) if lines else document)
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: {message}"):
        load_questions(path)


def _replace(node: Any, key: str, value: Any) -> bool:
    if isinstance(node, dict):
        if key in node:
            node[key] = value
            return True
        node = list(node.values())
    return isinstance(node, list) and any(_replace(item, key, value) for item in node)


def test_a_wrong_format_is_refused(tmp_path: Path) -> None:
    """An unknown name, and a name that the records do not fit."""
    with pytest.raises(ValueError, match=r"format must be one of squad, .*, got 'csv'"):
        load_questions(DATA / "squad.json", "csv")
    with pytest.raises(ValueError, match=r"\[0\]\.answers must be an object with the key 'text'"):
        load_questions(write(tmp_path, [ASKED]), "squad")
    with pytest.raises(FileNotFoundError, match=r"none\.json: cannot be read: No such file"):
        load_questions(tmp_path / "none.json")
    with pytest.raises(OSError, match=f"^{tmp_path}: cannot be read: "):
        load_questions(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": ""}, "id must be a text that is not blank, got ''"),
        ({"question": None}, "question must be a text that is not blank, got None"),
        ({"gold": ()}, r"gold must be a tuple of texts that are not blank, got \(\)"),
        ({"gold": "Ann"}, "gold must be a tuple of texts that are not blank, got 'Ann'"),
        ({"gold": ("Ann", " ")}, "gold must be a tuple of texts that are not blank"),
        ({"question": "Who \ud800?"}, "texts must be whole Unicode characters"),
        ({"family": None}, "family must be a text, got None"),
        ({"grader": "bleu"}, "grader must be one of contains, .* got 'bleu'"),
    ],
)
def test_a_question_is_checked_when_it_is_made(change: dict[str, Any], message: str) -> None:
    """Whoever makes it, a question without a gold answer cannot be graded."""
    with pytest.raises(ValueError, match=f"^{message}"):
        Question(**{"id": "1", "question": "Who?", "gold": ("Ann",), **change})
