"""Where a generation is probed."""

from __future__ import annotations

from collections.abc import Sequence


def places(
    tokens: Sequence[str], every: int, tags: tuple[str, str] | None = None
) -> tuple[int, ...]:
    r"""Say where a generation is probed, in tokens before the probe.

    At the start and at the end, every so many tokens, and after every token that holds a line's
    end. Reasoning is probed inside only: from the opening tag, where the text begins with it, up to
    where the closing tag begins; a text that begins otherwise has no such place.

    Args:
        tokens: Text of each token.
        every: >= 1.
        tags: Of the reasoning. None for an answer.

    Examples:
        >>> places(["a", " b", ".\n", "c"], 8)
        (0, 3, 4)
        >>> places(["<think>", "1", "2", "</think>", "3"], 8, ("<think>", "</think>"))
        (1, 3)
    """
    first, last = 0, len(tokens)
    if tags is not None:
        text = "".join(tokens)
        begin = len(text) - len(text.lstrip())
        if not text.startswith(tags[0], begin):
            return ()
        begin += len(tags[0])
        end = text.find(tags[1], begin)
        ends = [0]
        for token in tokens:
            ends.append(ends[-1] + len(token))
        first = next(at for at, reached in enumerate(ends) if reached >= begin)
        if end >= 0:
            last = max(at for at, reached in enumerate(ends) if reached <= end)
    found = {first, last} | {at + 1 for at, token in enumerate(tokens) if "\n" in token}
    found |= set(range(0, last + 1, every))
    return tuple(sorted(at for at in found if first <= at <= last))
