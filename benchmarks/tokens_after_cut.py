"""Tokens that the server generates after the cut: ``make bench-cut``.

The server counts what it writes, and the session how many tokens it had been given when it decided:
the difference is what the model wrote on, unread. Each cell is asked several times and shows the
worst and, in brackets, the median. Once against a scripted server at 20 tokens a second, in a
process of its own; once against llama.cpp with the embedded model, at its speed, by its counter.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

from benchmarks.cutting import (
    COLUMNS,
    FIRST_SENTENCE,
    Ask,
    Endpoint,
    chat_openai,
    langchain_ways,
    llama_index_ways,
)
from stopping_core import Completion, Request
from stopping_core.embedded import EmbeddedServer
from tests.integration_llama_index.asking import METHODS
from tests.support.sse_process import ServerProcess

CUT = "Paris is the capital."
TEXT = f"{CUT} It is {' '.join(f'number{n}' for n in range(54))}"
"""A token a word; the fifth shows that the first sentence has ended."""
DELAY = 0.05
"""Seconds a token."""

QUESTION = "Explain what the len function in Python does."


class Server(Endpoint, Protocol):
    """An endpoint that counts."""

    def tokens_generated(self) -> int:
        """Tokens generated in all calls so far."""

    def settled(self, before: int) -> int:
        """Wait until the call that came after a count of ``before`` has ended; the count then."""


class ScriptedServer(ServerProcess):
    """Says TEXT to every call, at 20 tokens a second."""

    def __init__(self) -> None:
        super().__init__(TEXT, delay=DELAY)

    def tokens_generated(self) -> int:
        return self.stats()["sent"]

    def settled(self, before: int) -> int:
        _wait(lambda: self.stats()["running"] == 0)
        return self.tokens_generated()


class LlamaServer(EmbeddedServer):
    """llama.cpp, which books a call's tokens when the call ends or its client hangs up."""

    def settled(self, before: int) -> int:
        _wait(lambda: self.tokens_generated() > before)
        return self.tokens_generated()


def after_cut(server: Server, ask: Ask, *, cut: str | None = None) -> int:
    """Ask once; the tokens that the server generated after the decision.

    Args:
        server: No call runs on it.
        ask: One of the ways.
        cut: What the answer has to be. None takes any that was cut.

    Raises:
        RuntimeError: The answer was not cut, or not where it should have been.
    """
    told: list[Completion] = []

    def tell(request: Request, completion: Completion) -> None:
        told.append(completion)

    before = server.tokens_generated()
    text = ask(server, FIRST_SENTENCE.replace(hooks=(tell,)), QUESTION)
    generated = server.settled(before) - before
    if len(told) != 1 or told[0].finish_reason != "cut" or (cut is not None and text != cut):
        raise RuntimeError(f"the answer was not cut as it should have been: {text!r}, {told}")
    return generated - told[0].usage.generated


def measure(
    server: Server, ways: Mapping[tuple[str, str], Ask], repetitions: int, *, cut: str | None = None
) -> dict[tuple[str, str], list[int]]:
    """Tokens after the cut, a list for each way; all ways once, then all again."""
    found: dict[tuple[str, str], list[int]] = {way: [] for way in ways}
    for _ in range(repetitions):
        for way, ask in ways.items():
            found[way].append(after_cut(server, ask, cut=cut))
    return found


def after_hang_up(server: Server, tokens: int = 10) -> int:
    """Hang up on a plain stream behind so many tokens; how many more the server generated."""
    before = server.tokens_generated()
    stream = chat_openai(server, max_completion_tokens=128).stream(QUESTION)
    with contextlib.closing(stream):  # type: ignore[type-var]  # declared as an iterator
        said = (chunk for chunk in stream if chunk.content)
        read = sum(1 for _ in itertools.islice(said, tokens))
    return server.settled(before) - before - read


def table(found: Mapping[tuple[str, str], Sequence[int]], columns: Sequence[str]) -> Iterator[str]:
    """Lines of a Markdown table: the worst of each cell, and in brackets its median."""
    shown = [column for column in columns if any(column == name for _, name in found)]
    yield f"| | {' | '.join(shown)} |"
    yield f"|---|{'---|' * len(shown)}"
    for row in dict.fromkeys(row for row, _ in found):
        cells = [found.get((row, column)) for column in shown]
        told = (f"{max(cell)} ({statistics.median(cell):g})" if cell else "-" for cell in cells)
        yield f"| {row} | {' | '.join(told)} |"


def report(server: Server, repetitions: int, *, with_tool: bool, cut: str | None = None) -> None:
    """Measure and print both frameworks' tables, and what is the server's own."""
    own = [after_hang_up(server) for _ in range(repetitions)]
    print(f"A plain client that hangs up by itself: {max(own)} ({statistics.median(own):g})")
    for columns, ways in (
        (tuple(COLUMNS), langchain_ways(with_tool=with_tool)),
        (METHODS, llama_index_ways()),
    ):
        found = measure(server, ways, repetitions, cut=cut)
        print("", *table(found, columns), "", sep="\n")
        print(f"worst of {sum(map(len, found.values()))} cuts: {max(map(max, found.values()))}")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tokens_after_cut")
    parser.add_argument("--repetitions", type=int, default=5, help="cuts a cell")
    repetitions = parser.parse_args().repetitions
    print(f"Tokens generated after the cut, worst (median) of {repetitions}.")
    print("\nScripted server, 20 tokens a second:")
    with ScriptedServer() as scripted:
        report(scripted, repetitions, with_tool=True, cut=CUT)
    print("\nllama.cpp with the embedded model, its own speed and counter:")
    with LlamaServer() as llama:
        report(llama, repetitions, with_tool=False)


def _wait(true: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"a call has not ended within {seconds} s")
        time.sleep(0.01)


if __name__ == "__main__":
    main()
