"""Stop the rounds of an agent, or of iterative retrieval, when another one would change nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self, TypeAlias, get_args

from stopping_core.hybrids.purse import Purse
from stopping_core.metrics import f1
from stopping_core.plain_data import listed, members, whole_number
from stopping_core.policies.baselines.samples import vote_key

Ending: TypeAlias = Literal[
    "same answer", "enough evidence", "nothing new", "most rounds", "budget"
]
"""Why the rounds of a question are over."""


@dataclass(frozen=True, slots=True)
class RoundState:
    """What is known after some rounds of a question.

    It is plain data: what :meth:`to_dict` returns can be written as JSON, so that a loop that was
    interrupted goes on where it stood. It holds the drafts in full, and of the evidence only
    digests.

    Args:
        drafts: The drafts, in order.
        streak: How many in a row, up to the last, are each the same as the one before.
        seen: Digests of the passages that were given as evidence, each once.
        dry: Rounds in a row, up to the last, that brought no new passage.
        answer: The draft to return, as far as it is known.
        why: Why the rounds are over, or ``""`` while they go on.
    """

    drafts: tuple[str, ...] = ()
    streak: int = 0
    seen: tuple[str, ...] = ()
    dry: int = 0
    answer: str = ""
    why: Ending | Literal[""] = ""

    @property
    def done(self) -> bool:
        """Whether the rounds are over."""
        return self.why != ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {**asdict(self), "drafts": list(self.drafts), "seen": list(self.seen)}

    @classmethod
    def from_dict(cls, data: Any, key: str = "rounds") -> Self:
        """Read what :meth:`to_dict` returned.

        Args:
            data: The plain data.
            key: Where it stands, for errors.

        Raises:
            ValueError: It is none of that.
        """
        found = members(data, cls.__dataclass_fields__, key)
        why = found["why"]
        if why not in ("", *get_args(Ending)):
            raise ValueError(f"{key}.why must be one of {get_args(Ending)} or '', got {why!r}")
        return cls(
            drafts=_texts(found["drafts"], f"{key}.drafts"),
            streak=whole_number(found["streak"], f"{key}.streak"),
            seen=_texts(found["seen"], f"{key}.seen"),
            dry=whole_number(found["dry"], f"{key}.dry"),
            answer=_text(found["answer"], f"{key}.answer"),
            why=why,
        )


@dataclass(frozen=True, slots=True)
class Rounds:
    """Says after each round of a loop whether there is another: retrieve, draft, and so on.

    It is over when the last ``patience`` drafts say the same; when the evidence is enough; when
    retrieval has run ``dry``, so that the next draft is made from what this one was made from;
    after ``most`` rounds; or when the purse is empty. The first of these that holds is the reason.

    The draft to return is the last one that is not blank. Where ``most`` or the purse ended a loop
    that had not settled, it is the one that most drafts agree with, and the last of these.

    That drafts agree does not make them right: a model may repeat an error. ``patience`` is to be
    chosen on questions with known answers.

    Args:
        most: Rounds at most, >= 1.
        patience: Drafts in a row that say the same, >= 2.
        alike: Two drafts say the same where their token F1 is at least this, in (0, 1]: for answers
            of several sentences. By default they do where votes would count them as one: by the
            answer that they state last (``The answer is 42.``), else by their first sentence.
        same: Says whether two drafts say the same, in place of both; it is not asked about blank
            ones.
        enough: Is told the evidence as it was given after a round, and says whether it suffices.
        dry: Rounds in a row that bring no new passage, >= 1, or None for any number. The first
            round with evidence is never one of them, and without evidence there are none. Passages
            that are known may still be read otherwise: on made-up questions of two hops an end
            after the first such round lost answers (``python -m benchmarks.rounds``).

    Raises:
        ValueError: An argument is out of its interval, or there are both ``alike`` and ``same``.
        TypeError: ``same`` or ``enough`` cannot be called.

    References:
        Shrivastava (2026), Semantic Early-Stopping for Iterative LLM Agent Loops. arXiv:2606.27009:
        drafts in a row that are the same, by the cosine of their embeddings; give that as ``same``.

    Examples:
        >>> rounds, state = Rounds(most=5), None
        >>> for draft in ("It is Lyon.", "The answer is Paris.", "Thus, the answer is Paris."):
        ...     state = rounds.after(state, draft)
        >>> state.done, state.why, state.answer
        (True, 'same answer', 'Thus, the answer is Paris.')
    """

    most: int = 5
    patience: int = 2
    alike: float | None = None
    same: Callable[[str, str], bool] | None = None
    enough: Callable[[Sequence[str]], bool] | None = None
    dry: int | None = None

    def __post_init__(self) -> None:
        _check_whole("most", self.most, 1)
        _check_whole("patience", self.patience, 2)
        if self.dry is not None:
            _check_whole("dry", self.dry, 1)
        if self.alike is not None and not 0 < self.alike <= 1:
            raise ValueError(f"alike must be in (0, 1], got {self.alike}")
        for name in ("same", "enough"):
            value = getattr(self, name)
            if value is not None and (not callable(value) or isinstance(value, type)):
                raise TypeError(f"{name} must be callable and no class, got {value!r}")
        if self.alike is not None and self.same is not None:
            raise ValueError(f"alike must be None where same compares drafts, got {self.alike}")

    def after(
        self,
        state: RoundState | None,
        draft: str,
        evidence: Sequence[str] = (),
        purse: Purse | None = None,
    ) -> RoundState:
        """Count a round, and say whether there is another.

        It depends on nothing else, and changes nothing: a round that is done again after a crash
        gets the same decision. No text of a model makes it raise.

        Args:
            state: What it returned after the round before. None for the first round of a question;
                a state that is done begins a new one as well.
            draft: What the round answers.
            evidence: Passages that the draft was made from: those of the round, or all so far.
            purse: The budget of the question, in which the requests of the round are booked.

        Raises:
            TypeError: ``draft`` is no text, or ``evidence`` is a single one.
        """
        if not isinstance(draft, str):
            raise TypeError(f"draft must be a text, got {type(draft).__name__}")
        if isinstance(evidence, str):
            raise TypeError("evidence must be a sequence of texts, got a single text")
        if state is None or state.done:
            state = RoundState()
        drafts = (*state.drafts, draft)
        again = bool(state.drafts) and self.agree(state.drafts[-1], draft)
        streak = state.streak + 1 if again else 1
        found = [_digest(passage) for passage in evidence if passage.strip()]
        seen = tuple(dict.fromkeys((*state.seen, *found)))
        dry = state.dry + 1 if state.seen and len(seen) == len(state.seen) else 0
        why = self._why(streak, dry, evidence, len(drafts), purse)
        if why in ("most rounds", "budget"):
            answer = self._most_supported(drafts)
        else:
            answer = next((one for one in reversed(drafts) if one.strip()), draft)
        return RoundState(drafts, streak, seen, dry, answer, why)

    def agree(self, one: str, other: str) -> bool:
        """Whether two drafts say the same; a draft without an answer agrees with none."""
        if not (one.strip() and other.strip()):
            return False
        if self.same is not None:
            return bool(self.same(one, other))
        if self.alike is not None:
            return f1(one, [other]) >= self.alike
        key = vote_key(one)
        return key != "" and key == vote_key(other)

    def _why(
        self, streak: int, dry: int, evidence: Sequence[str], made: int, purse: Purse | None
    ) -> Ending | Literal[""]:
        if streak >= self.patience:
            return "same answer"
        if self.enough is not None and self.enough(evidence):
            return "enough evidence"
        if self.dry is not None and dry >= self.dry:
            return "nothing new"
        if made >= self.most:
            return "most rounds"
        return "budget" if purse is not None and purse.empty else ""

    def _most_supported(self, drafts: Sequence[str]) -> str:
        supports = [sum(self.agree(one, other) for other in drafts) for one in drafts]
        return max(zip(supports, range(len(drafts)), drafts, strict=True))[-1]


def _digest(passage: str) -> str:
    """Name a passage by its words, however they are spaced."""
    words = " ".join(passage.split())
    return hashlib.sha256(words.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _check_whole(name: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} must be a whole number >= {least}, got {value!r}")


def _text(value: Any, key: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{key} must be a text, got {type(value).__name__}")
    return value


def _texts(value: Any, key: str) -> tuple[str, ...]:
    return tuple(_text(one, f"{key}[{place}]") for place, one in enumerate(listed(value, key)))
