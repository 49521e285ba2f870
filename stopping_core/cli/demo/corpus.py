"""The passages and questions of the demo, and the index that finds one for the other.

Retrieval-augmented answering needs a text that is real, that the reader can check, and that needs
no download. Every CPython carries its language reference for ``help("topics")``; questions on it
are in this package. Users bring their own text as a SQuAD v1.1 file.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import bm25s

from stopping_core.questions.record import read_document
from stopping_core.questions.squad import read_paragraphs

_ASCII = str.maketrans({0x2018: "'", 0x2019: "'", 0x201C: '"', 0x201D: '"'})
_HEADING = re.compile(r"^\S.*\n([*=\-~^\"])\1{2,}$", re.MULTILINE)
_LITERAL = re.compile(r'"("?[^"\n]+"?)"')
_EMPHASIS = re.compile(r"(\*{1,2})(?=\S)([^*]+?)(?<=\S)\1")
_MARKER = re.compile(r"^(?:[*-]|\d+\.|Note:|\(\d+\))\s+")
_FOOTNOTE = re.compile(r"\s*\[\d+\]")
_SENTENCE_END = re.compile(r'(?<=[.?!])(?<!e\.g\.)(?<!i\.e\.)(?<!etc\.)(?<!cf\.)\s+(?=[A-Z"_(])')
_WORDLIKE = re.compile(r"""^[("']*[A-Za-z][\w'\-/]*[)"']*[.,;:?!]*$""")
_PARAGRAPH_END = re.compile(r'[.:?!][)"]?$')
_SIGNATURE = re.compile(r"^[A-Za-z_][\w.]*\(.*\)$")
_VERSION_NOTE = re.compile(r"^(?:New|Added|Changed|Deprecated|Removed) (?:since|in) version ")


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of text short enough to stand in a prompt.

    The title is the topic or article it was cut from: splits by title have no text in common.
    """

    id: str
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Question:
    """A question with the short answers that count as right.

    The answers are spellings of one fact: a text that holds any of them as whole words is right.
    """

    id: str
    question: str
    answers: tuple[str, ...]
    topic: str


@dataclass(frozen=True, slots=True)
class Corpus:
    """Passages, and questions that they answer.

    Both loaders return it, so that nothing downstream knows where the text came from.
    """

    passages: tuple[Passage, ...]
    questions: tuple[Question, ...]


def load_reference(words: int = 100) -> Corpus:
    """Cut the running interpreter's language reference into passages, with the demo's questions.

    Long topics quote shorter ones in full, so topics are read from the shortest on and a paragraph
    is taken only once. Text, and any figure measured on it, differ a little from Python to Python.

    Args:
        words: Aimed-at length of a passage, at least 20.
    """
    if words < 20:
        raise ValueError(f"words must be at least 20, got {words}")
    from pydoc_data.topics import topics

    seen: set[str] = set()
    passages: list[Passage] = []
    for title in sorted(topics, key=lambda name: (len(topics[name]), len(name), name)):
        fresh = [one for one in dict.fromkeys(_prose(topics[title])) if one not in seen]
        seen.update(fresh)
        for number, text in enumerate(_pack(fresh, words), start=1):
            passages.append(Passage(f"{title}-{number}", title, text))
    lines = resources.files(__package__).joinpath("questions.jsonl").read_text("utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    questions = [
        Question(one["id"], one["question"], tuple(one["answers"]), one["topic"]) for one in records
    ]
    return Corpus(tuple(passages), tuple(questions))


def load_squad(path: str | Path) -> Corpus:
    """Read passages and questions from a SQuAD v1.1 JSON file.

    Teams export their evaluation sets in it. Paragraphs stay whole: their authors chose the ends.

    Raises:
        ValueError: The file is not SQuAD v1.1; the message names the file and the place.
    """
    passages: list[Passage] = []
    questions: list[Question] = []
    for paragraph in read_paragraphs(str(path), read_document(path)):
        passages.append(Passage(paragraph.id, paragraph.title, paragraph.context))
        questions += [
            Question(one.id, one.question, one.gold, one.family) for one in paragraph.questions
        ]
    if not questions:
        raise ValueError(f"{path}: holds no question")
    return Corpus(tuple(passages), tuple(questions))


class Bm25Index:
    """Finds the passages that share the most telling words with a question.

    Word overlap needs no second model, and in a reference the question's words are mostly the
    text's own; where they are not, the right passage is missed.
    """

    def __init__(self, passages: Sequence[Passage]) -> None:
        if not passages:
            raise ValueError("passages must not be empty")
        self._passages = tuple(passages)
        self._index = bm25s.BM25()
        texts = [f"{passage.title} {passage.text}" for passage in self._passages]
        self._index.index(bm25s.tokenize(texts, show_progress=False), show_progress=False)

    def search(self, query: str, k: int) -> tuple[Passage, ...]:
        """Return the k >= 1 best passages, best first; fewer where the index holds fewer."""
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        tokens = bm25s.tokenize(query, return_ids=False, show_progress=False)
        rows, _ = self._index.retrieve(tokens, k=min(k, len(self._passages)), show_progress=False)
        return tuple(self._passages[int(row)] for row in rows[0])


def _prose(source: str) -> Iterator[str]:
    """Yield the plain paragraphs of a topic: grammar, code, tables and headings are no answers."""
    body = _HEADING.sub("", source.partition("-[ Footnotes ]-")[0])
    signature = ""
    for block in re.split(r"\n\s*\n", body):
        text = _MARKER.sub("", " ".join(re.sub(r"(?<=\w)-\n\s*(?=\w)", "-", block).split()))
        alone = "\n" not in block.strip() and _SIGNATURE.match(text)
        named, signature = signature, f"{text}: " if alone else ""
        if _VERSION_NOTE.match(text) or "::=" in text or ">>>" in text:
            continue
        parts = enumerate(_LITERAL.split(text))  # the odd parts stood in quotes: code, kept as is
        plain = "".join(part if at % 2 else _EMPHASIS.sub(r"\2", part) for at, part in parts)
        plain = _FOOTNOTE.sub("", plain).translate(_ASCII)
        tokens = plain.split()
        wordlike = sum(1 for token in tokens if _WORDLIKE.match(token))
        if len(tokens) >= 5 and _PARAGRAPH_END.search(plain) and wordlike >= 0.7 * len(tokens):
            yield named + plain


def _pack(paragraphs: Sequence[str], words: int) -> list[str]:
    """Join whole sentences into passages of equal length, as near to ``words`` as they divide."""
    sentences = [one for paragraph in paragraphs for one in _SENTENCE_END.split(paragraph)]
    total = sum(len(sentence.split()) for sentence in sentences)
    if total < 20:
        return []
    packed: list[list[str]] = [[] for _ in range(max(1, round(total / words)))]
    before = 0
    for sentence in sentences:
        length = len(sentence.split())
        packed[int((before + length / 2) * len(packed) / total)].append(sentence)
        before += length
    return [" ".join(piece) for piece in packed if piece]
