"""The demo's corpus: its questions have answers in the text, and its index finds them."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from stopping_core.cli.demo.corpus import (
    Bm25Index,
    Corpus,
    Passage,
    load_reference,
    load_squad,
)

SQUAD: dict[str, Any] = {
    "version": "1.1",
    "data": [
        {
            "title": "Tea",
            "paragraphs": [
                {
                    "context": "Tea is a drink made from leaves. It came from China.",
                    "qas": [
                        {
                            "id": "tea-1",
                            "question": "Where did tea come from?",
                            "answers": [
                                {"text": "China", "answer_start": 46},
                                {"text": "from China", "answer_start": 41},
                                {"text": "China", "answer_start": 46},
                            ],
                        }
                    ],
                },
                {"context": "Coffee is made from roasted beans.", "qas": []},
            ],
        }
    ],
}


def stands_in(answer: str, text: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", text, re.IGNORECASE) is not None


def write(folder: Path, document: Any) -> Path:
    path = folder / "own.json"
    path.write_text(json.dumps(document), "utf-8")
    return path


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return load_reference()


def test_there_are_enough_questions_to_certify_on(corpus: Corpus) -> None:
    """Question ids are distinct, and at least 64 questions are asked."""
    ids = [question.id for question in corpus.questions]
    assert len(ids) == len(set(ids))
    assert len(ids) >= 64


def test_every_answer_stands_in_a_passage_of_its_topic(corpus: Corpus) -> None:
    """The first accepted answer stands, as whole words, in one passage of the question's topic."""
    missing = [
        question.id
        for question in corpus.questions
        if not any(
            passage.title == question.topic and stands_in(question.answers[0], passage.text)
            for passage in corpus.passages
        )
    ]
    assert [] == missing


def test_no_question_gives_its_answer_away(corpus: Corpus) -> None:
    """No accepted answer stands in the question, and none is longer than five words."""
    for question in corpus.questions:
        for answer in question.answers:
            assert not stands_in(answer, question.question), question
            assert 1 <= len(answer.split()) <= 5, question


def test_passages_are_prose_of_even_length(corpus: Corpus) -> None:
    """Passages keep to the aimed-at length, carry no markup and are not repeated."""
    lengths = [len(passage.text.split()) for passage in corpus.passages]
    assert 90 <= sum(lengths) / len(lengths) <= 110
    assert sum(60 <= length <= 140 for length in lengths) >= 0.95 * len(lengths)
    assert len({passage.text for passage in corpus.passages}) == len(corpus.passages)
    assert len({passage.id for passage in corpus.passages}) == len(corpus.passages)
    for passage in corpus.passages:
        assert not re.search(r"::=|>>>|\*{5}|={5}", passage.text), passage


def test_shorter_passages_can_be_asked_for() -> None:
    """The aimed-at length is an argument, and an absurd one is refused."""
    passages = load_reference(words=60).passages
    assert 50 <= sum(len(passage.text.split()) for passage in passages) / len(passages) <= 70
    with pytest.raises(ValueError, match="words must be at least 20, got 3"):
        load_reference(words=3)


@pytest.mark.parametrize(("k", "floor"), [(1, 0.84), (2, 0.92), (3, 0.93)])
def test_the_index_finds_the_answer(corpus: Corpus, k: int, floor: float) -> None:
    """Measured on Python 3.11, a top-k passage holds the answer for 0.89, 0.96, 0.97 of them."""
    index = Bm25Index(corpus.passages)
    found = sum(
        any(
            stands_in(answer, passage.text)
            for passage in index.search(question.question, k)
            for answer in question.answers
        )
        for question in corpus.questions
    )
    assert found / len(corpus.questions) >= floor


def test_search_returns_the_best_first_and_no_more_than_there_are() -> None:
    """The matching passage comes first, also when none or fewer than k match."""
    tea = Passage("1", "Tea", "Tea is made from leaves.")
    coffee = Passage("2", "Coffee", "Coffee is made from beans.")
    index = Bm25Index([tea, coffee])
    assert (coffee,) == index.search("Which drink do beans give?", 1)
    assert {tea, coffee} == set(index.search("unheard of", 9))
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        index.search("tea", 0)
    with pytest.raises(ValueError, match="passages must not be empty"):
        Bm25Index([])


def test_a_squad_file_gives_passages_and_questions(tmp_path: Path) -> None:
    """Paragraphs stay whole, repeated answers are kept once, the topic is the article."""
    corpus = load_squad(write(tmp_path, SQUAD))
    assert ["Tea-1", "Tea-2"] == [passage.id for passage in corpus.passages]
    assert SQUAD["data"][0]["paragraphs"][0]["context"] == corpus.passages[0].text
    (question,) = corpus.questions
    assert ("tea-1", "Tea", ("China", "from China")) == (
        question.id,
        question.topic,
        question.answers,
    )


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "must be an object with the key 'data'"),
        ({"data": {}}, "data must be a list, got dict"),
        ({"data": ["Tea"]}, r"data\[0\] must be an object"),
        ({"data": [{"paragraphs": []}]}, r"data\[0\]\.title must be a text, got None"),
        ({"data": [{"title": "Tea"}]}, r"data\[0\]\.paragraphs must be a list"),
        ({"data": []}, "holds no question"),
    ],
)
def test_a_malformed_squad_file_is_refused(tmp_path: Path, document: Any, message: str) -> None:
    """The error names the file and the place."""
    path = write(tmp_path, document)
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: {message}"):
        load_squad(path)


def test_a_malformed_answer_is_refused(tmp_path: Path) -> None:
    """A question without an answer text cannot be scored."""
    document = json.loads(json.dumps(SQUAD))
    entry = document["data"][0]["paragraphs"][0]["qas"][0]
    place = r"data\[0\]\.paragraphs\[0\]\.qas\[0\]\.answers"
    entry["answers"] = [{"text": 7}]
    with pytest.raises(ValueError, match=rf"{place}\[0\]\.text must be a text, got 7"):
        load_squad(write(tmp_path, document))
    entry["answers"] = []
    with pytest.raises(ValueError, match=f"{place} is empty"):
        load_squad(write(tmp_path, document))


def test_a_file_that_is_not_json_is_refused(tmp_path: Path) -> None:
    """A text file or a binary file gives a ValueError that names it."""
    path = tmp_path / "notes.json"
    for content in (b"not json", b"\xff\xfe\x00"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"notes\.json: not a JSON text"):
            load_squad(path)
