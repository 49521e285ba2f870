"""A LangGraph node that says after each round of a loop whether there is another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Protocol, TypedDict

from langchain_core.documents import Document
from langchain_core.messages import BaseMessage
from langgraph.channels import UntrackedValue
from langgraph.graph import END
from langgraph.runtime import Runtime
from langgraph.types import Command

from stopping_core.hybrids import Purse, Rounds, RoundState


class Judge(Protocol):
    """A node of a graph: is told its state and what belongs to the run; says where it goes."""

    def __call__(self, state: Any, runtime: Runtime[Any]) -> Command[str]:
        """Count a round."""
        ...


def rounds_node(
    rounds: Rounds,
    *,
    again: str,
    done: str = END,
    draft: str = "draft",
    evidence: str | None = None,
    answer: str = "answer",
    keep: str = "rounds",
    purse: str | None = None,
) -> Judge:
    """Make a node that counts a round, and sends the graph to the next one or on.

    An edge leads to it from the last node of a round; none leads away, as it returns a ``Command``
    that updates the state and says where to go. It has to run once a round: where branches of
    unequal length lead to it, add it with ``defer=True``. Where it would run twice in one step,
    LangGraph raises ``InvalidUpdateError``.

    Of the state it reads ``draft``, ``evidence`` and ``keep``, and writes ``keep`` and, when the
    rounds are over, ``answer``. What it keeps is plain data, so that any checkpointer holds it, and
    a run that was interrupted goes on with the count where it stood. Keys that the graph's schema
    does not declare are added as private ones: declare ``answer`` to find it in the output. Rounds
    that are over begin anew with the next run of the thread. To begin anew before that, for a
    second question of the run or after one that was broken off, declare ``keep`` and set it to
    None.

    Args:
        rounds: When to end.
        again: Node with which the next round begins.
        done: Node that comes after the last round.
        draft: Key of the draft: a text or a message; of a list, such as ``messages``, the last.
        evidence: Key of the passages, texts or documents: those of the round, or all so far.
        answer: Key under which the draft to return is written.
        keep: Key under which the count is kept: :meth:`~stopping_core.hybrids.RoundState.to_dict`.
        purse: Name of the question's :class:`~stopping_core.hybrids.Purse` in the run's context:
            ``graph.invoke(..., context={"purse": Purse(tokens=500)})``. It is no plain data, and
            is given again when a run is resumed.

    Raises:
        TypeError: ``rounds`` is none, or ``purse`` no name. Later, in the graph: a draft or a
            passage is neither text, message nor document.
        ValueError: Later, in the graph: the run's context holds no such purse, or a round comes
            after the last one.

    Examples:
        >>> from langgraph.graph import START, StateGraph
        >>> State = TypedDict("State", {"draft": str, "answer": str})
        >>> graph = StateGraph(State)
        >>> _ = graph.add_node("write", lambda state: {"draft": "The answer is 4."})
        >>> _ = graph.add_node("rounds", rounds_node(Rounds(most=9), again="write"))
        >>> _ = graph.add_edge(START, "write").add_edge("write", "rounds")
        >>> graph.compile().invoke({"draft": ""})["answer"]
        'The answer is 4.'
    """
    if not isinstance(rounds, Rounds):
        raise TypeError(f"rounds must be a Rounds, got {rounds!r}")
    if purse is not None and not isinstance(purse, str):
        raise TypeError(f"purse must be its name in the context of the run, got {purse!r}")
    over = f"{keep}_over"

    def judge(state: Any, runtime: Runtime[Any]) -> Command[str]:
        kept = state.get(keep)
        before = None if kept is None else RoundState.from_dict(kept, keep)
        if before is not None and before.done and state.get(over):
            raise ValueError(
                f"{keep} must be set to None before another question of the run, and the node of "
                f"rounds be deferred where branches of unequal length lead to it: they are over"
            )
        after = rounds.after(
            before,
            _draft(state.get(draft), draft),
            [_text(one, evidence) for one in state.get(evidence) or ()] if evidence else (),
            None if purse is None else _purse(runtime.context, purse),
        )
        update: dict[str, Any] = {keep: after.to_dict()}
        if after.done:
            update |= {answer: after.answer, over: True}
        return Command(update=update, goto=done if after.done else again)

    # LangGraph reads off the annotations what the node needs of the state and where it leads. What
    # is not tracked lasts for the run, and is in no checkpoint.
    keys: dict[str, Any] = {key: Any for key in (draft, evidence, answer, keep) if key is not None}
    keys[over] = Annotated[bool, UntrackedValue]
    judge.__annotations__ = {
        "state": TypedDict("RoundKeys", keys),  # type: ignore[operator]  # its keys are known at run time only
        "return": Command[Literal[again, done]],  # type: ignore[valid-type]  # likewise
    }
    return judge


def _draft(value: Any, key: str) -> str:
    if isinstance(value, list | tuple):
        value = value[-1] if value else ""
    return _text(value, key)


def _text(value: Any, key: str) -> str:
    if isinstance(value, Document):
        return value.page_content
    if isinstance(value, BaseMessage):
        return str(value.text)
    if not isinstance(value, str):
        raise TypeError(f"{key} must hold texts, messages or documents, got {type(value).__name__}")
    return value


def _purse(context: Any, name: str) -> Purse:
    found = context.get(name) if isinstance(context, Mapping) else getattr(context, name, None)
    if not isinstance(found, Purse):
        kind = type(found).__name__
        raise ValueError(f"{name} must be a Purse in the run's context, got {kind}")
    return found
