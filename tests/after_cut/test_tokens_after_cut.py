"""However it is attached and asked, the server generates at most two tokens after the cut."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

import pytest

from benchmarks.cutting import Ask, langchain_ways, llama_index_ways
from benchmarks.tokens_after_cut import CUT, ScriptedServer, after_cut, measure, table

WAYS = {
    " | ".join(way): ask
    for ways in (langchain_ways(), llama_index_ways())
    for way, ask in ways.items()
}
AT_MOST = 2  # tokens, at 20 a second


@pytest.fixture(scope="module")
def server() -> Iterator[ScriptedServer]:
    """The server of the benchmark, in a process of its own."""
    with ScriptedServer() as server:
        yield server


@pytest.mark.parametrize("ask", WAYS.values(), ids=WAYS)
def test_the_server_stops_at_the_cut(server: ScriptedServer, ask: Ask) -> None:
    """Asked once; on a machine that just then was busy, the median of three."""
    tokens = [after_cut(server, ask, cut=CUT)]
    if tokens[0] > AT_MOST:
        tokens += [after_cut(server, ask, cut=CUT) for _ in range(2)]
    assert statistics.median(tokens) <= AT_MOST


def test_an_answer_that_was_not_cut_is_no_measurement(server: ScriptedServer) -> None:
    """A way that loses the cut, or cuts elsewhere, does not pass for zero tokens."""
    way = ("chat model", "chat")
    with pytest.raises(RuntimeError, match=r"not cut as it should have been: 'Paris is the"):
        measure(server, {way: llama_index_ways()[way]}, 1, cut="Paris is")


def test_a_cell_shows_the_worst_and_the_median() -> None:
    """A cell that was not measured shows a dash, a column without any does not show."""
    found = {("a", "x"): [0, 2, 1], ("b", "y"): [0, 1, 0, 1]}
    expected = ["| | x | y |", "|---|---|---|", "| a | 2 (1) | - |", "| b | - | 1 (0.5) |"]
    assert expected == list(table(found, ["x", "y", "z"]))
