"""Prompt templates: what is sent for a question, and which files are refused."""

from __future__ import annotations

import re
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stopping_core import templates
from stopping_core.questions import Question
from stopping_core.templates import Template, load_template

NAMES = ("explain", "plain", "prefill", "raw", "testbed")
TEA = Question("1", "Where did tea come from?", ("China",), context="Tea came from China.")
SUM = Question("2", "What is 2 + 2?", ("4",), grader="last_number")


def sent(template: Template, question: Question) -> str:
    """All that a template says, in one text."""
    if not template.chat:
        return template.text(question)
    return "\n".join(message["content"] for message in template.messages(question))


def test_the_templates_of_the_package() -> None:
    """Each has a name, a way to ask for the answer, and a fingerprint of its own."""
    files = {Path(one.name) for one in resources.files(templates).iterdir()}
    assert set(NAMES) == {one.stem for one in files if one.suffix == ".toml"}
    loaded = [load_template(name) for name in NAMES]
    assert list(NAMES) == [template.name for template in loaded]
    assert all(template.probe for template in loaded)
    assert len({template.fingerprint for template in loaded}) == len(NAMES)


def test_the_prompts() -> None:
    """As they are sent: chat messages, a reply that is begun, a raw text."""
    assert [
        {
            "role": "user",
            "content": "Use this text to answer the question: Tea came from China.\n\n"
            "Question: Where did tea come from?",
        }
    ] == load_template("plain").messages(TEA)
    assert "first, then explain" in load_template("explain").messages(TEA)[-1]["content"]
    last = load_template("prefill").messages(TEA)[-1]
    assert {"role": "assistant", "content": "The answer is"} == last
    assert (
        "Context: Tea came from China.\nQuestion: Where did tea come from?\nAnswer:"
        == load_template("raw").text(TEA)
    )
    testbed = load_template("testbed")
    assert ("What is 2 + 2?\n", "</think>\n\nThe answer is") == (testbed.text(SUM), testbed.probe)


@pytest.mark.parametrize("name", NAMES)
def test_questions_on_one_paragraph_share_a_prefix(name: str) -> None:
    """All before the question is the same, context included: the server's cache serves it."""
    template = load_template(name)
    asked = ("Who?", "Why?")
    before = {sent(template, replace(TEA, question=one)).partition(one)[0] for one in asked}
    (prefix,) = before
    assert (TEA.context in prefix) == ("{context}" in template.user)


@pytest.mark.parametrize("name", NAMES)
def test_a_question_without_context_leaves_no_trace_of_one(name: str) -> None:
    """Neither a label, nor a word on it, nor a blank line at the beginning."""
    prompt = sent(load_template(name), SUM)
    assert not re.search("context|text|passage", prompt, re.IGNORECASE)
    assert prompt.startswith(("Question: ", "What is 2 + 2?"))
    assert "\n\n" not in prompt


def test_the_lines_of_a_missing_context_are_left_out() -> None:
    """Each line that holds it, with the line breaks after it, wherever it stands."""
    template = Template("own", user="Read on.\nText: {context}\n\n{question}\nAgain: {context}")
    assert "Read on.\nWhat is 2 + 2?\n" == template.messages(SUM)[0]["content"]
    assert template.messages(TEA)[0]["content"].count(TEA.context) == 2


@given(st.text(min_size=1).filter(str.strip), st.text(min_size=1))
def test_braces_in_a_question_or_a_context_are_data(asked: str, context: str) -> None:
    """Whatever stands in them is sent as it is, placeholders included."""
    template = Template("own", user="<{context}|{question}>", chat=False)
    for more in ("", "{question}", "{context}", "{0}", "{{x}}", "\\1"):
        question = Question("1", asked + more, ("x",), context=context + more)
        assert f"<{context}{more}|{asked}{more}>" == template.text(question)


def test_braces_around_no_name_are_text() -> None:
    """A prompt may ask for JSON."""
    template = Template("own", user='{question} Reply as {"answer": "..."} or {}.')
    expected = 'What is 2 + 2? Reply as {"answer": "..."} or {}.'
    assert expected == template.messages(SUM)[0]["content"]


def test_the_fingerprint_is_of_the_content(tmp_path: Path) -> None:
    """It holds for a copy under another name, and for no change of any field."""
    template = Template("own", user="{question}", system="Be short.", probe="\nSo")
    assert re.fullmatch("[0-9a-f]{16}", template.fingerprint)
    assert template.fingerprint == replace(template, name="other").fingerprint
    changes: list[dict[str, Any]] = [
        {"user": "{question} "},
        {"system": ""},
        {"assistant": "So"},
        {"probe": ""},
        {"system": "", "chat": False},
        {"system": "", "probe": "Be short.\nSo"},
    ]
    prints = {replace(template, **change).fingerprint for change in changes}
    assert len(prints | {template.fingerprint}) == len(changes) + 1


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    """It is named after its file, also where a template of the package has that name."""
    path = tmp_path / "raw.toml"
    path.write_text(
        'system = "Be short."\nuser = "{question}"\nassistant = "On {question}:"\n', "utf-8"
    )
    template = load_template(path)
    assert ("raw", True) == (template.name, template.chat)
    assert template == load_template(str(path))
    assert [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "What is 2 + 2?"},
        {"role": "assistant", "content": "On What is 2 + 2?:"},
    ] == template.messages(SUM)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the key 'user' is missing"),
        (b"user = ", "not a TOML text: "),
        (b'user = "\xff"', "not a TOML text: "),
        (b'user = "{question}"\nprompt = "x"', "unknown key 'prompt': known are assistant, chat"),
        (b'user = "{question}"\nname = "x"', "unknown key 'name'"),
        (b"user = 7", "user must be a text, got 7"),
        (b'user = "{question}"\nchat = "no"', "chat must be true or false, got 'no'"),
        (b'user = "Hello"', r"user must hold \{question\}, got 'Hello'"),
        (b'user = "{question} {passage}"', r"user may hold \{context\} and .*, got \{passage\}"),
        (b'user = "{question}"\nsystem = "{context}"', "system may hold no placeholders"),
        (b'user = "{question}"\nprobe = "{question}"', "probe may hold no placeholders"),
        (b'user = "{question}"\nchat = false\nsystem = "x"', "system and assistant must be empty"),
        (b'user = "{question}"\nchat = false\nassistant = "x"', "system and assistant must be"),
    ],
)
def test_a_malformed_file_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    """The error names the file and the key."""
    path = tmp_path / "own.toml"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: {message}"):
        load_template(path)


def test_an_unknown_template_is_refused(tmp_path: Path) -> None:
    """The error says which there are; a file that is not there is the system's error."""
    known = "explain, plain, prefill, raw, testbed or the path of a .toml file"
    for name in ("plian", "plain.txt", "__init__", ""):
        with pytest.raises(ValueError, match=f"template must be one of {known}, got '{name}'"):
            load_template(name)
    with pytest.raises(FileNotFoundError, match=r"own\.toml"):
        load_template(tmp_path / "own.toml")


def test_a_chat_has_no_text_and_a_raw_prompt_no_messages() -> None:
    """A recorder that mixed them up would send a prompt that nobody wrote."""
    with pytest.raises(ValueError, match="template 'plain' is a chat"):
        load_template("plain").text(TEA)
    with pytest.raises(ValueError, match="template 'raw' is a raw prompt"):
        load_template("raw").messages(TEA)


@given(st.text(max_size=30).filter(str.strip), st.text(max_size=60))
@pytest.mark.parametrize("name", NAMES)
def test_what_was_sent_is_read_again(name: str, question: str, context: str) -> None:
    """Question and context come back as they were, where the template's words are not in them."""
    template = load_template(name)
    asked = Question("1", question, ("a",), context=context if "{context}" in template.user else "")
    if template.chat:
        (prompt,) = (m["content"] for m in template.messages(asked) if m["role"] == "user")
    else:
        prompt = template.text(asked)
    assert (asked.question, asked.context) == template.read(prompt)


def test_the_words_of_the_template_in_a_context() -> None:
    """The question is what follows the last of them."""
    raw = load_template("raw")
    tricky = replace(TEA, context="Question: Who?\nAnswer: me.\nQuestion: x")
    assert (TEA.question, tricky.context) == raw.read(raw.text(tricky))


@pytest.mark.parametrize("prompt", ["", "Where did tea come from?", "Context: x\nQuestion: y"])
def test_another_prompt_is_not_read(prompt: str) -> None:
    """What was not made from the template gives nothing."""
    assert load_template("raw").read(prompt) is None


def test_a_place_that_stands_twice_must_hold_one_text() -> None:
    """A question asked twice is one question."""
    twice = Template("t", "{question} I say: {question}", chat=False)
    assert ("Who?", "") == twice.read("Who? I say: Who?")
    assert twice.read("Who? I say: Why?") is None
