"""Recorded runs: read and written, replayed to the engine, and cut by arrays."""

from stopping_core.traces.columns import Columns
from stopping_core.traces.needed import needed_lengths
from stopping_core.traces.replay import Outcome, replay
from stopping_core.traces.run import Header, Run, Trace
from stopping_core.traces.store import read_trace, write_trace
from stopping_core.traces.sweep import Cuts, cut

__all__ = [
    "Columns",
    "Cuts",
    "Header",
    "Outcome",
    "Run",
    "Trace",
    "cut",
    "needed_lengths",
    "read_trace",
    "replay",
    "write_trace",
]
