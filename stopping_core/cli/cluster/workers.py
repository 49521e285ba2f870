"""Workers on Ray: jobs are dealt out to them, and dealt out again where a worker dies."""

from __future__ import annotations

import logging
import reprlib
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from importlib.metadata import version
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import ray
from ray.exceptions import (
    ObjectLostError,
    OutOfMemoryError,
    RayActorError,
    RayError,
    RayTaskError,
    WorkerCrashedError,
)

from stopping_core.cli.cluster.actor import Actor, Hello
from stopping_core.cli.cluster.connection import connected, first_line, room

_log = logging.getLogger(__name__)

_Tool = TypeVar("_Tool")
_Job = TypeVar("_Job")
_Result = TypeVar("_Result")

_LOST = (RayActorError, WorkerCrashedError, OutOfMemoryError, ObjectLostError)
_LIVES = 4  # workers that one job may end, or that may end before one of them has begun


class Workers(Generic[_Tool]):
    """Processes that each make one tool and do jobs with it; use it in a ``with`` block.

    A worker that dies, by itself or with its machine, loses the jobs in its hands only: they are
    dealt out again, and another worker takes its place where the cluster has room. A job whose
    workers die time and again ends it all, as then the job is what they die of.

    Args:
        address: Of the cluster, as :func:`~stopping_core.cli.cluster.connection.connected` has it.
            Where its CPUs are taken, they are waited for.
        count: How many, >= 1.
        make: Makes a worker's tool. What it needs is sent with it, keys for an endpoint too.
        describe: What is the same for all tools. Compared, so it must have a meaning by ``==``.
        packages: Whose versions must be those of this process.
        cpus: That a worker takes, >= 1.
        at_once: Jobs that a worker does at a time, each in a thread, >= 1.

    Raises:
        ValueError: On entering: the workers are fewer than one, or more than the cluster has room
            for; their packages or tools differ; or the tool cannot be made.
        ConnectionError: On entering: there is no cluster, one of another version, or its workers
            die before they have begun.
    """

    def __init__(
        self,
        address: str,
        count: int,
        make: Callable[[], _Tool],
        describe: Callable[[_Tool], Any],
        packages: Sequence[str],
        *,
        cpus: int = 1,
        at_once: int = 1,
    ) -> None:
        if count < 1:
            raise ValueError(f"--workers must be >= 1, got {count}")
        self._address = address
        self._count = count
        self._make = make
        self._describe = describe
        self._versions = {name: version(name) for name in packages}
        self._cpus = cpus
        self._at_once = at_once
        self._workers: list[_Worker] = []
        self._flying: dict[Any, tuple[_Worker, int | None]] = {}
        self._deaths: Counter[int | None] = Counter()
        self._stack = ExitStack()
        self.description: Any = None

    def __enter__(self) -> Self:
        try:
            self._stack.enter_context(connected(self._address, self._count * self._cpus))
            if (most := room() // self._cpus) < self._count:
                raise ValueError(
                    f"--workers must be <= {most}, as the cluster has {room()} CPUs and each takes "
                    f"{self._cpus}, got {self._count}"
                )
            while not any(worker.begun for worker in self._workers):
                self._fill()
                self._next({}, deque())
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def ask(self, function: Callable[[_Tool, _Job], _Result], job: _Job) -> _Result:
        """Let any one worker do one job.

        Raises:
            Exception: What the function raised.
            ConnectionError: As :meth:`deal` does.
        """
        [(_, result)] = self.deal(function, {0: job})
        return result

    def deal(
        self, function: Callable[[_Tool, _Job], _Result], jobs: Mapping[int, _Job]
    ) -> Iterator[tuple[int, _Result]]:
        """Let the workers do jobs, and give each one's number and result as soon as it is done.

        Args:
            function: Does a job with the tool. Sent by its name, so of a module.
            jobs: By number, in the order in which they are dealt out.

        Raises:
            Exception: What the function raised.
            ConnectionError: No worker is left, or a job has ended several; the message names it and
                says how many are not done.
        """
        left = deque(jobs)
        done = 0
        try:
            while done < len(jobs):
                self._fill()
                self._deal_out(function, jobs, left)
                found = self._next(jobs, left)
                if found is not None:
                    done += 1
                    yield found
        except ConnectionError as error:
            raise ConnectionError(
                f"{error}: {len(jobs) - done} of {len(jobs)} jobs are not done"
            ) from error
        finally:
            self._deaths.clear()
            self._flying = {call: one for call, one in self._flying.items() if one[1] is None}

    def _deal_out(
        self, function: Callable[[_Tool, Any], Any], jobs: Mapping[int, Any], left: deque[int]
    ) -> None:
        for worker in self._workers:
            held = sum(one is worker for one, _ in self._flying.values())
            while left and worker.begun and held < self._at_once:
                number = left.popleft()
                self._flying[_sent(worker, function, jobs[number])] = worker, number
                held += 1

    def _next(self, jobs: Mapping[int, Any], left: deque[int]) -> tuple[int, Any] | None:
        """Wait for a job or a worker; None where no job was done. What is lost is left again."""
        [first], _ = ray.wait(list(self._flying), num_returns=1)
        worker, number = self._flying.pop(first)
        try:
            result = ray.get(first)
        except RayTaskError as error:
            raise _cause(error) from error
        except _LOST as error:
            lost = [number, *self._bury(worker)]
            again = sorted((one for one in lost if one is not None), reverse=True)
            left.extendleft(again)
            _log.warning("a worker died: %d of its jobs are dealt out again", len(again))
            self._deaths.update(lost)
            worst, times = self._deaths.most_common(1)[0]
            if times >= _LIVES:
                what = "beginning" if worst is None else f"doing {reprlib.repr(jobs[worst])}"
                raise ConnectionError(
                    f"{times} workers died of {what}: {first_line(error).rstrip('.')}"
                ) from error
            return None
        if number is not None:
            return number, result
        self._greet(worker, result)
        return None

    def _greet(self, worker: _Worker, hello: Hello) -> None:
        """Take in a worker that has made its tool."""
        for name, own in self._versions.items():
            if hello.versions[name] != own:
                raise ValueError(
                    f"workers must have {name} {own}, as this process has, got "
                    f"{hello.versions[name]}"
                )
        if self.description is None:
            self.description = hello.description
            for logger, message in hello.warnings:  # those of the others say the same
                logging.getLogger(logger).warning("%s", message)
        elif hello.description != self.description:
            raise ValueError(
                f"workers must all have {self.description!r}, got {hello.description!r}"
            )
        del self._deaths[None]
        worker.begun = True

    def _fill(self) -> None:
        """Start the workers that are missing, as far as there is room.

        Raises:
            ConnectionError: There is no room for any.
        """
        while (there := len(self._workers)) < self._count and room() >= self._cpus * (there + 1):
            actor: Any = ray.remote(Actor)
            options = {"num_cpus": self._cpus, "max_concurrency": self._at_once}
            worker = _Worker(actor.options(**options, max_restarts=0).remote(self._make))
            self._workers.append(worker)
            begin = worker.actor.begin.remote(self._describe, list(self._versions))
            self._flying[begin] = worker, None
        if not self._workers:
            raise ConnectionError("the cluster has lost all its workers, and room for any other")

    def _bury(self, worker: _Worker) -> list[int | None]:
        """Forget a worker; return what else was in its hands."""
        self._workers.remove(worker)
        with suppress(RayError, ValueError):
            ray.kill(worker.actor)  # its result may be lost, and not itself
        lost = {job: number for job, (one, number) in self._flying.items() if one is worker}
        for job in lost:
            del self._flying[job]
        return list(lost.values())


@dataclass(slots=True, eq=False)
class _Worker:
    """A worker as this process sees it."""

    actor: Any
    begun: bool = False


def _sent(worker: _Worker, function: Callable[[Any, Any], Any], job: Any) -> Any:
    try:
        return worker.actor.do.remote(function, job)
    except TypeError as error:
        raise ValueError(f"{reprlib.repr(job)} cannot be sent to a worker") from error


def _cause(error: RayTaskError) -> Exception:
    """What a worker raised, as it raised it where it can be sent."""
    if isinstance(error.cause, Exception) and not isinstance(error.cause, RayError):
        return error.cause
    return OSError(f"a worker failed: {str(error).strip().splitlines()[-1]}")
