"""What a schedule of budgets would have been billed for recorded runs, where a bill runs on."""

from __future__ import annotations

from dataclasses import dataclass, replace

from stopping_core.budgets import cap
from stopping_core.costs import CostRegime
from stopping_core.ledger import Ledger
from stopping_core.protocols import BudgetSchedule
from stopping_core.results import Attempt
from stopping_core.types import Request, Usage


@dataclass(frozen=True, slots=True)
class Need:
    """A recorded run, as far as a bill depends on it.

    Args:
        request: What production knows before its first token.
        needed: The least budget under which a session is done with it, tokens.
        natural: What the model says if nothing cuts it, tokens.
        prompt: Its prompt, tokens. It is billed whether or not the request says it; a schedule
            knows it after the first call.
    """

    request: Request
    needed: int
    natural: int
    prompt: int


@dataclass(frozen=True, slots=True)
class Bill:
    """What a request was billed.

    Args:
        usage: Its tokens.
        calls: How many calls it took.
    """

    usage: Usage
    calls: int

    def cost(self, regime: CostRegime, call_cost: float = 0.0) -> float:
        """The price in output tokens, with ``call_cost`` for each call after the first."""
        return regime.cost(self.usage) + call_cost * (self.calls - 1)


def exact(need: Need) -> Bill:
    """The bill of the oracle: one call, with exactly what is needed."""
    return play(lambda request, ledger: need.needed, need, ceiling=need.needed)


def play(schedule: BudgetSchedule, need: Need, *, ceiling: int, restarts: bool = False) -> Bill:
    """Bill a run as a session would, call by call, until a grant is enough.

    A grant that is too small is billed whole. One that is enough is billed to the natural end or
    the grant, whichever comes first: what came after the cut is unseen. A run that the recording
    has cut off at its cap is given up there, as it was.

    Args:
        schedule: Grants the budgets.
        need: The run.
        ceiling: The cap of the recording, tokens: no grant is larger.
        restarts: Whether a call begins anew, or continues what came before.

    Raises:
        RuntimeError: The schedule ends before the ceiling and before what is needed.
    """
    ledger, request = Ledger(), need.request
    while True:
        grant = cap(schedule(request, ledger), request, ledger)
        if grant is None:
            raise RuntimeError(f"{schedule!r} ended at {ledger.granted} of {need.needed} tokens")
        grant = min(grant, ceiling)
        if restarts:
            ledger.discard(1.0, thoughts=True)
        kept = ledger.kept
        enough = grant >= min(need.needed, ceiling)
        billed = min(grant, need.natural) if enough else grant
        came = min(billed, need.needed) - kept
        ledger.attempts.append(
            Attempt(
                kind="restart" if restarts and ledger.attempts else "continue",
                budget=grant,
                generated=came,
                reasoning=0,
                prompt_tokens=need.prompt + kept,
                seconds=0.0,
                finish_reason="stop" if enough else "length",
                unseen=billed - kept - came,
            )
        )
        if enough:
            return Bill(ledger.usage(), len(ledger))
        request = replace(request, prompt_tokens=need.prompt)
