"""Says in a step of a LlamaIndex workflow whether there is another round."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llama_index.core.schema import BaseNode, NodeWithScore
from llama_index.core.workflow import Context

from stopping_core.hybrids import Purse, Rounds, RoundState


async def judge_round(
    rounds: Rounds,
    ctx: Context[Any],
    draft: str,
    evidence: Sequence[str | BaseNode | NodeWithScore] = (),
    *,
    purse: Purse | None = None,
    keep: str = "rounds",
) -> RoundState:
    """Count a round of a workflow, and say whether there is another.

    Call it once a round, in the step that has the draft; where a round has several workers, after
    ``ctx.collect_events``. The count is kept in the store of the context, as plain data, so that a
    context that was saved with ``to_dict`` goes on where it stood. Rounds that are over begin anew
    with the next question that is asked in the context. Steps that ask at the same time are counted
    one after the other.

    Args:
        rounds: When to end.
        ctx: The context of the step.
        draft: What the round answers.
        evidence: Passages that it was made from, texts or nodes: those of the round, or all so far.
        purse: The budget of the question. It is no plain data, and is not kept.
        keep: Name under which the count is kept. A typed state needs a field for it that holds a
            dict, or None at first.

    Returns:
        What is known after the round: whether it was the last (``done``), why, and the ``answer``.

    Raises:
        TypeError: ``rounds`` is none, ``draft`` is no text, or a passage is neither text nor node.

    Examples:
        >>> import asyncio
        >>> from llama_index.core.workflow import Event, StartEvent, StopEvent, Workflow, step
        >>> class Again(Event):
        ...     pass
        >>> class Write(Workflow):
        ...     @step
        ...     async def write(self, ctx: Context, ev: StartEvent | Again) -> Again | StopEvent:
        ...         state = await judge_round(Rounds(), ctx, "The answer is 4.")
        ...         return StopEvent(result=state.answer) if state.done else Again()
        >>> async def main():
        ...     return await Write().run()
        >>> asyncio.run(main())
        'The answer is 4.'
    """
    if not isinstance(rounds, Rounds):
        raise TypeError(f"rounds must be a Rounds, got {rounds!r}")
    passages = [_text(one) for one in evidence]
    async with ctx.store.edit_state() as store:
        kept = getattr(store, keep, None)
        before = None if kept is None else RoundState.from_dict(kept, keep)
        state = rounds.after(before, draft, passages, purse)
        setattr(store, keep, state.to_dict())
    return state


def _text(passage: Any) -> str:
    if isinstance(passage, BaseNode | NodeWithScore):
        return passage.get_content()
    if not isinstance(passage, str):
        raise TypeError(f"evidence must hold texts or nodes, got {type(passage).__name__}")
    return passage
