"""The journal: every run once, whatever broke off in between, and never two models in one file."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stopping_core.traces.journal import Asked, Journal, Key
from stopping_core.traces.run import Header, Run
from stopping_core.traces.store import read_trace

HEADER = Header("model", "0a", "plain", "0b", 8)


def asked(count: int, text: str = "What?") -> dict[Key, Asked]:
    one = Asked(text, "", ("b",), "contains", "", "")
    return {(f"q{number}", 0): one for number in range(count)}


def run(key: Key, text: str = "a") -> Run:
    return Run(key[0], "What?", ("b",), (text,), "stop", sample=key[1])


def pairs(keys: list[Key]) -> list[list[Key]]:
    """Batches of two, the last ones first: the order of work is not that of the file."""
    return [keys[at : at + 2] for at in range(0, len(keys), 2)][::-1]


def singly(keys: list[Key]) -> list[list[Key]]:
    return [[key] for key in keys]


def record(path: Path, count: int, header: Header = HEADER, most: int | None = None) -> list[Key]:
    """Record, or break off after some batches; return what was done."""
    done: list[Key] = []
    with Journal(path) as journal:
        for number, keys in list(journal.begin(header, asked(count), pairs).items())[:most]:
            journal.add(number, [run(key) for key in keys])
            done += keys
        if most is None:
            journal.finish()
    return done


def names(path: Path) -> list[str]:
    return [one.question_id for one in read_trace(path).runs]


def numbered(numbers: Iterable[int]) -> list[str]:
    return [f"q{number}" for number in numbers]


def test_whole(tmp_path: Path) -> None:
    """The file holds the runs in the order of the questions, and the parts are gone."""
    path = tmp_path / "t.parquet"
    record(path, 5)
    assert names(path) == numbered(range(5))
    assert list(tmp_path.iterdir()) == [path]


def test_resumed(tmp_path: Path) -> None:
    """After a break only what is missing is recorded, and the file is the same."""
    path = tmp_path / "t.parquet"
    first = record(path, 6, most=2)
    rest = record(path, 6)
    assert sorted(first + rest) == sorted(asked(6))
    assert names(path) == numbered(range(6))


def test_extended(tmp_path: Path) -> None:
    """More questions are added to a finished file; when all are there it is left alone."""
    path = tmp_path / "t.parquet"
    record(path, 3)
    assert record(path, 5) == [("q3", 0), ("q4", 0)]
    assert names(path) == numbered(range(5))
    before = path.stat().st_mtime_ns
    assert record(path, 4) == []
    assert path.stat().st_mtime_ns == before


def test_killed_after_the_rename(tmp_path: Path) -> None:
    """Parts that a kill left beside the finished file are not put in twice."""
    path = tmp_path / "t.parquet"
    parts = tmp_path / "t.parquet.parts"
    record(path, 4, most=2)
    shutil.copytree(parts, tmp_path / "copy")
    record(path, 4)
    shutil.copytree(tmp_path / "copy", parts)
    assert record(path, 4) == []
    assert names(path) == numbered(range(4))
    shutil.copytree(tmp_path / "copy", parts)
    assert len(record(path, 6)) == 2
    assert names(path) == numbered(range(6))


def test_killed_while_writing(tmp_path: Path) -> None:
    """Half a part, under its other name, counts as nothing."""
    path = tmp_path / "t.parquet"
    record(path, 4, most=1)
    (tmp_path / "t.parquet.parts" / ".000001.parquet.partial").write_bytes(b"PAR1 half")
    assert len(record(path, 4)) == 2
    assert names(path) == numbered(range(4))


@pytest.mark.parametrize("plan", ["", "[]", "{}", "{"])
def test_a_damaged_plan_is_named(tmp_path: Path, plan: str) -> None:
    """Nothing is recorded over parts that cannot be told any more."""
    parts = tmp_path / "t.parquet.parts"
    parts.mkdir()
    (parts / "plan.json").write_text(plan)
    with pytest.raises(ValueError, match=f"^{parts / 'plan.json'}: the plan "):
        Journal(tmp_path / "t.parquet").__enter__()


def test_left_out(tmp_path: Path) -> None:
    """Batches that failed leave a file of the others, and are planned anew the next time."""
    path = tmp_path / "t.parquet"
    with Journal(path) as journal:
        batches = journal.begin(HEADER, asked(4), pairs)
        number, keys = next(iter(batches.items()))
        journal.add(number, [run(key) for key in keys])
        assert journal.finish() == 2
    assert names(path) == ["q2", "q3"]
    assert record(path, 4) == [("q0", 0), ("q1", 0)]
    assert sorted(names(path)) == numbered(range(4))


def test_killed_after_a_merge_with_failed_batches(tmp_path: Path) -> None:
    """Parts that were merged and not yet removed stop nothing and are not taken twice."""
    path = tmp_path / "t.parquet"
    parts, kept = tmp_path / "t.parquet.parts", tmp_path / "kept"
    with Journal(path) as journal:
        number, keys = next(iter(journal.begin(HEADER, asked(4), pairs).items()))
        journal.add(number, [run(key) for key in keys])
        shutil.copytree(parts, kept)
        journal.finish()
    shutil.rmtree(parts, ignore_errors=True)
    shutil.copytree(kept, parts)
    with Journal(path) as journal:
        journal.begin(HEADER, asked(4), pairs)
        assert journal.finish() == 2
    assert names(path) == ["q2", "q3"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"model_fingerprint": "ff", "model": "other"},
            r"'0a' \(model\), asked for .*'ff' \(other",
        ),
        ({"template_fingerprint": "ff", "template": "raw"}, r"'0b' \(plain\), .*'ff' \(raw"),
        ({"model_fingerprint": "ff"}, "other weights, tokenizer or settings under the same name"),
        ({"model_fingerprint": "ff", "threads": 2}, "an endpoint then and local weights now"),
        ({"template_fingerprint": "ff"}, "other words under the same name"),
        ({"temperature": 0.7}, "temperature=0.0, asked for is temperature=0.7"),
        ({"probe_every": 4}, "probe_every=0, asked for is probe_every=4"),
        ({"reasoning_tags": ("<a>", "</a>")}, "asked_reasoning_tags=None"),
    ],
)
@pytest.mark.parametrize("most", [1, None])
def test_mixed(tmp_path: Path, change: dict[str, Any], said: str, most: int | None) -> None:
    """Another model, template or setting is refused, in a finished file and an unfinished one."""
    path = tmp_path / "t.parquet"
    record(path, 4, most=most)
    with pytest.raises(ValueError, match=f"t.parquet.*was recorded with .*{said}"):
        record(path, 4, dataclasses.replace(HEADER, **change))
    record(path, 4)
    assert names(path) == numbered(range(4))


def test_other_questions(tmp_path: Path) -> None:
    """An unfinished recording keeps to its questions, and a question keeps to its text."""
    path = tmp_path / "t.parquet"
    record(path, 4, most=1)
    with pytest.raises(ValueError, match="an unfinished recording of other questions"):
        record(path, 5)
    record(path, 4)
    with (
        Journal(path) as journal,
        pytest.raises(ValueError, match="question 'q0' was recorded with another question"),
    ):
        journal.begin(HEADER, asked(4, "Why?"), pairs)


def test_numbers_for_ids(tmp_path: Path) -> None:
    """Ids that a change of the file's order would change are what the refusal names."""
    path = tmp_path / "t.parquet"
    [question] = asked(1).values()
    other = dataclasses.replace(question, question="Why?")
    with Journal(path) as journal:
        journal.begin(HEADER, {("7", 0): question}, singly)
        journal.add(0, [run(("7", 0))])
        journal.finish()
    said = "'7' was recorded with another question: .*, give the questions ids of their own"
    with Journal(path) as journal, pytest.raises(ValueError, match=said):
        journal.begin(HEADER, {("7", 0): other}, singly)


def test_unfinished(tmp_path: Path) -> None:
    """Who reads a file that is not there yet is told how far its recording is."""
    path = tmp_path / "t.parquet"
    record(path, 5, most=2)
    said = f"{path}: 3 of 5 runs are recorded: the same `stopping record` goes on"
    with pytest.raises(FileNotFoundError, match=f"^{said}$"):
        read_trace(path)


@pytest.mark.parametrize("first", [("<r>", "</r>"), ("<think>", "</think>")])
@pytest.mark.parametrize("most", [1, None])
def test_tags_are_asked_again(tmp_path: Path, first: tuple[str, str], most: int | None) -> None:
    """A file that was made with tags is not gone on with without: other places would be probed."""
    path = tmp_path / "t.parquet"
    with_tags = dataclasses.replace(HEADER, reasoning_tags=first)
    record(path, 4, with_tags, most=most)
    with pytest.raises(ValueError, match="asked for is asked_reasoning_tags=None"):
        record(path, 6 if most is None else 4)
    record(path, 4, with_tags)
    assert names(path) == numbered(range(4))


@pytest.mark.parametrize("change", [{"grader": "f1"}, {"group": "g"}, {"family": "f"}])
def test_other_grading(tmp_path: Path, change: dict[str, Any]) -> None:
    """A question keeps to its grader, group and family: a file is judged and split by one."""
    path = tmp_path / "t.parquet"
    record(path, 2)
    [(name, value)] = change.items()
    again = {key: dataclasses.replace(one, **change) for key, one in asked(3).items()}
    said = f"the question 'q0' was recorded with another {name}: .*, asked for is '{value}'"
    with Journal(path) as journal, pytest.raises(ValueError, match=said):
        journal.begin(HEADER, again, pairs)


def test_second_process(tmp_path: Path) -> None:
    """A file that is being recorded is refused to a second one."""
    path = tmp_path / "t.parquet"
    said = f"{path}: another process is recording this file"
    with Journal(path), pytest.raises(ValueError, match=said):
        record(path, 2)
    record(path, 2)
    assert names(path) == numbered(range(2))


def test_second_process_while_the_first_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until the folder of the parts is gone, nobody else has put anything into it."""
    path = tmp_path / "t.parquet"
    tried: list[str] = []

    def slowly(folder: Path, **options: Any) -> None:
        for file in folder.iterdir():
            file.unlink()
        with pytest.raises(ValueError, match="another process is recording this file"):
            Journal(path).__enter__()
        tried.append(folder.name)
        folder.rmdir()

    monkeypatch.setattr("stopping_core.traces.journal.shutil.rmtree", slowly)
    record(path, 2)
    assert tried == ["t.parquet.parts"]
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_made(tmp_path: Path) -> None:
    """With nothing but the file in it at the end."""
    path = tmp_path / "a" / "b" / "t.parquet"
    record(path, 2)
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("bare", [None, np.full(1, np.nan, np.float32)])
def test_held_by_all(tmp_path: Path, bare: Any) -> None:
    """What one run lacks the file does not hold; a run of no tokens has nothing to lack."""
    path = tmp_path / "t.parquet"
    zero = np.zeros(1, np.float32)
    rich: dict[str, Any] = {
        "logprobs": zero,
        "end_probability": zero,
        "top_logprobs": np.zeros((1, 2), np.float32),
    }
    empty = {name: values[:0] for name, values in rich.items()}
    header = dataclasses.replace(HEADER, top_logprobs=2)
    with Journal(path) as journal:
        for number, [key] in journal.begin(header, asked(3), singly).items():
            more = (rich, rich | {"logprobs": bare}, empty)[number]
            tokens = () if number == 2 else ("a",)
            journal.add(number, [dataclasses.replace(run(key), tokens=tokens, **more)])
        journal.finish()
    assert read_trace(path).header.holds == {"top_logprobs", "end_probability"}


def test_told_from_the_runs(tmp_path: Path) -> None:
    """What the runs hold, and the tags of their reasoning, stand in the header at the end."""
    path = tmp_path / "t.parquet"
    with Journal(path) as journal:
        for number, keys in journal.begin(HEADER, asked(2), pairs).items():
            runs = [
                dataclasses.replace(
                    run(key, "<think>4</think>4"),
                    logprobs=np.zeros(1, np.float32),
                    end_probability=np.full(1, np.nan, np.float32),
                )
                for key in keys
            ]
            journal.add(number, runs)
        journal.finish()
    read = read_trace(path)
    assert read.header.holds == {"logprobs"}
    assert read.header.reasoning_tags == ("<think>", "</think>")
    assert read.runs[0].end_probability is None
    record(path, 2)
