"""Prompt templates: what of a question is sent, and how the answer is asked for."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from dataclasses import asdict, dataclass, fields
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stopping_core.questions import Question

_PLACEHOLDER = re.compile(r"\{([A-Za-z_]\w*)\}")
_CONTEXT_LINE = re.compile(r"^[^\n]*\{context\}[^\n]*(?:\n+|\Z)", re.MULTILINE)
_KNOWN = ("context", "question")


@dataclass(frozen=True, slots=True)
class Template:
    r"""A prompt with places for the question and its context.

    ``{context}`` and ``{question}`` are replaced once: braces in what replaces them are data, as
    are braces around anything but a name. Where a question has no context, each line that holds
    ``{context}`` is left out, with the line breaks after it.

    The context belongs before the question: questions on one paragraph then share a prefix, and
    with it the server's cache.

    Args:
        name: Of the template, for people; no part of its fingerprint.
        user: The user's message, or the whole prompt where ``chat`` is false.
        system: The system message; empty for none.
        assistant: How the reply begins; empty to leave that to the model.
        chat: Whether the model's chat template is put around it.
        probe: What is appended to a text to ask for the answer now.

    Raises:
        ValueError: A field has the wrong type, ``user`` does not hold ``{question}``, a placeholder
            is unknown, or a raw prompt has messages.

    Examples:
        >>> from stopping_core.questions import Question
        >>> raw = Template("mine", "Context: {context}\nQuestion: {question}\nAnswer:", chat=False)
        >>> raw.text(Question("1", "What is {}?", ("a dict",)))
        'Question: What is {}?\nAnswer:'
    """

    name: str
    user: str
    system: str = ""
    assistant: str = ""
    chat: bool = True
    probe: str = ""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            wanted = bool if field.name == "chat" else str
            if not isinstance(value, wanted):
                what = "true or false" if wanted is bool else "a text"
                raise ValueError(f"{field.name} must be {what}, got {value!r}")
        for key in ("user", "assistant", "system", "probe"):
            allowed = _KNOWN if key in {"user", "assistant"} else ()
            for unknown in set(_PLACEHOLDER.findall(getattr(self, key))) - set(allowed):
                places = "{context} and {question}" if allowed else "no placeholders"
                raise ValueError(f"{key} may hold {places}, got {{{unknown}}}")
        if "{question}" not in self.user:
            raise ValueError(f"user must hold {{question}}, got {self.user!r}")
        if not self.chat and (self.system or self.assistant):
            raise ValueError("system and assistant must be empty where chat is false")

    @property
    def fingerprint(self) -> str:
        """16 hex digits of the SHA-256 of all but the name: equal where the prompts are."""
        content = asdict(self)
        del content["name"]
        encoded = json.dumps(content, sort_keys=True).encode()
        return hashlib.sha256(encoded).hexdigest()[:16]

    def messages(self, question: Question) -> list[dict[str, str]]:
        """Return the chat's messages; the last is the assistant's where ``assistant`` is set.

        Raises:
            ValueError: The template is a raw prompt.
        """
        if not self.chat:
            raise ValueError(f"template {self.name!r} is a raw prompt: it has text and no messages")
        parts = (("system", self.system), ("user", self.user), ("assistant", self.assistant))
        return [{"role": role, "content": _fill(part, question)} for role, part in parts if part]

    def text(self, question: Question) -> str:
        """Return the raw prompt.

        Raises:
            ValueError: The template is a chat.
        """
        if self.chat:
            raise ValueError(f"template {self.name!r} is a chat: it has messages and no text")
        return _fill(self.user, question)

    def read(self, prompt: str) -> tuple[str, str] | None:
        r"""Find question and context again in what was sent: ``user`` backwards.

        Args:
            prompt: The user's message, or the whole prompt where ``chat`` is false.

        Returns:
            Question and context, ``""`` where there is none; None where the prompt was not made
            from this template. Where the template's own words stand in the context as well, the
            question is what follows the last of them.

        Examples:
            >>> raw = Template("mine", "Context: {context}\nQ: {question}\nA:", chat=False)
            >>> raw.read("Context: Tea is green.\nQ: What is green?\nA:")
            ('What is green?', 'Tea is green.')
            >>> raw.read("Q: What is green?\nA:"), raw.read("What is green?")
            (('What is green?', ''), None)
        """
        for user in (self.user, _CONTEXT_LINE.sub("", self.user)):
            if found := _pattern(user).fullmatch(prompt):
                places = found.groupdict("")
                return places["question"], places.get("context", "")
        return None


def load_template(name_or_path: str | Path) -> Template:
    """Load a template of this package by its name, or a TOML file of one's own by its path.

    A file holds the fields of :class:`Template` save ``name``, which is the file's.

    Raises:
        ValueError: The name is unknown or the file malformed; the message names file and key.
        OSError: The file cannot be opened.
    """
    if (own := Path(name_or_path)).suffix == ".toml":
        return _parse(own.stem, str(own), own.read_bytes())
    known = {Path(one.name).stem: one for one in resources.files(__package__).iterdir()}
    names = sorted(name for name, one in known.items() if one.name.endswith(".toml"))
    if name_or_path not in names:
        raise ValueError(
            f"template must be one of {', '.join(names)} or the path of a .toml file, "
            f"got {str(name_or_path)!r}"
        )
    found = known[str(name_or_path)]
    return _parse(str(name_or_path), found.name, found.read_bytes())


def _parse(name: str, path: str, content: bytes) -> Template:
    try:
        keys: dict[str, Any] = tomllib.loads(content.decode("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not a TOML text: {error}") from error
    known = {field.name for field in fields(Template)} - {"name"}
    if unknown := sorted(set(keys) - known):
        raise ValueError(
            f"{path}: unknown key {unknown[0]!r}: known are {', '.join(sorted(known))}"
        )
    if "user" not in keys:
        raise ValueError(f"{path}: the key 'user' is missing")
    try:
        return Template(name, **keys)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _fill(part: str, question: Question) -> str:
    if not question.context:
        part = _CONTEXT_LINE.sub("", part)
    values = {"context": question.context, "question": question.question}
    return _PLACEHOLDER.sub(lambda place: values[place[1]], part)


def _pattern(user: str) -> re.Pattern[str]:
    """What matches the texts that a message becomes, with the places by name."""
    pattern, end, named = "", 0, set[str]()
    for place in _PLACEHOLDER.finditer(user):
        pattern += re.escape(user[end : place.start()])
        pattern += f"(?P={place[1]})" if place[1] in named else f"(?P<{place[1]}>.*)"
        named.add(place[1])
        end = place.end()
    return re.compile(pattern + re.escape(user[end:]), re.DOTALL)
