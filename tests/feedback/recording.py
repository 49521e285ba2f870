"""Processes that record, and say what was acknowledged: run by the tests.

``python -m tests.feedback.recording URL SPOOL at-once PROCESSES COUNT``: so many open the store in
one moment, record so many outcomes each and end.
``python -m tests.feedback.recording URL SPOOL one-by-one``: for each word that is read a process
tells its id and records without end; when it was killed, that is told.
"""

from __future__ import annotations

import os
import sys
import time

from stopping_core.feedback import Feedback, Outcome, OutcomeStore, OutcomeWriter


def record(url: str, spool: str, prefix: str, count: int) -> None:
    """Record outcomes with feedback, and write each id once both calls have returned."""
    with (
        OutcomeStore(url) as store,
        OutcomeWriter(store, spool, batch=20, linger=0) as writer,
    ):
        for number in range(count):
            name = f"{prefix}-{number}"
            writer.record(Outcome(name, tenant=prefix))
            writer.give_feedback(Feedback(name, "thumbs", 1, feedback_id=f"f-{name}"))
            os.write(1, f"{name}\n".encode())
            time.sleep(0.001)  # so that the store keeps up, and kills meet it at work


def at_once(url: str, spool: str, processes: str, count: str) -> None:
    """Fork, and open the gate for all."""
    gate, held = os.pipe()
    children = []
    for number in range(int(processes)):
        if child := os.fork():
            children.append(child)
            continue
        status = 1
        try:
            os.close(held)
            os.read(gate, 1)
            record(url, spool, f"p{number}", int(count))
            status = 0
        finally:
            os._exit(status)
    os.close(held)
    statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    sys.exit(any(statuses))


def one_by_one(url: str, spool: str) -> None:
    """Fork for each word, and wait for its end."""
    for word in sys.stdin:
        child = os.fork()
        if not child:
            os.write(1, f"{os.getpid()}\n".encode())
            record(url, spool, word.strip(), 10**9)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        os.write(1, f"ended {status}\n".encode())


if __name__ == "__main__":
    match sys.argv[1:]:
        case [url, spool, "at-once", processes, count]:
            at_once(url, spool, processes, count)
        case [url, spool, "one-by-one"]:
            one_by_one(url, spool)
