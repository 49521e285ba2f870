"""Requests under way, given back in the order in which they began."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(slots=True)
class _Ticket(Generic[T]):
    began: float
    ended: list[T] = field(default_factory=list)


class Tickets(Generic[T]):
    """Holds what is known of requests until all that began before them have ended.

    Requests that are cut end first, and audits of the same moment late and together. Told in that
    order, losses would come in a way that no test of them is made for. So each waits for its turn.
    One that has not ended after ``patience`` seconds is given up, and counted: as far as audits are
    given up more often than others, losses go unseen.

    Args:
        patience: Seconds, > 0.
        most: Requests at once, >= 1; beyond it the one that began first is given up.

    Raises:
        ValueError: An argument is out of its interval.

    Attributes:
        given_up: How many requests never ended.
    """

    def __init__(self, patience: float = 600.0, most: int = 10_000) -> None:
        if not patience > 0:
            raise ValueError(f"patience must be > 0, got {patience}")
        if most < 1:
            raise ValueError(f"most must be >= 1, got {most}")
        self.patience, self.most = patience, most
        self.given_up = 0
        self._tickets: OrderedDict[str, _Ticket[T]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._tickets)

    @property
    def running(self) -> int:
        """How many have begun and not ended."""
        return sum(not ticket.ended for ticket in self._tickets.values())

    def begin(self, name: str, now: float) -> None:
        """Note that a request begins; one of the same name begins anew."""
        self._tickets.pop(name, None)
        self._tickets[name] = _Ticket(now)
        while len(self._tickets) > self.most:
            self._give_up()

    def end(self, name: str, known: T) -> bool:
        """Note what is known of a request that has ended; False where it had not begun."""
        ticket = self._tickets.get(name)
        if ticket is None:
            return False
        ticket.ended = [known]
        return True

    def due(self, now: float) -> Iterator[T]:
        """Give back all whose turn it is, oldest first."""
        while self._tickets:
            first = next(iter(self._tickets.values()))
            if first.ended:
                self._tickets.popitem(last=False)
                yield first.ended[0]
            elif now - first.began >= self.patience:
                self._give_up()
            else:
                return

    def _give_up(self) -> None:
        _, ticket = self._tickets.popitem(last=False)
        self.given_up += not ticket.ended
