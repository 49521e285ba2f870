"""What a completion shows of its level's stops, worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest

from stopping_core import Audit, Boundary, Checkpoint, Completion, Usage
from stopping_core.results import Attempt, Verdict
from stopping_core.steering.sighting import Sighting

PLACE = Checkpoint(9, 30, 0.1, Boundary.SENTENCE)
AUDIT = Audit(PLACE, "answer", "a", "a b", "stop")


def ended(reason: str = "", reasoning: int = 0, error: str = "", **changes: Any) -> Completion:
    given: dict[str, Any] = {
        "text": "",
        "reasoning": "",
        "complete": True,
        "verdict": Verdict(True),
        "finish_reason": "stop",
        "reason": reason,
        "usage": Usage(generated=100, probed=5),
        "attempts": (Attempt("first", 256, 100, reasoning, 9, 1.0, "stop", reason, error=error),),
        "seconds": 1.0,
        "audit_share": 0.25,
    }
    return Completion(**{**given, **changes})


@pytest.mark.parametrize(
    ("completion", "seen"),
    [
        (ended(), Sighting(False, False, 0.25, 0, 100)),
        (ended("learned"), Sighting(True, False, 0.25, 0, 100)),
        (ended("learned", audit=AUDIT), Sighting(True, True, 0.25, 70, 100)),
        (ended("learned", 20, audit=AUDIT), Sighting(True, True, 0.25, 50, 100)),
        (ended(audit_failed=True), Sighting(True, True, 0.25, 0, 100)),
        (
            ended("learned", audit=Audit(PLACE, "reasoning", "a", "a b", "stop")),
            Sighting(True, True, 0.25, 65, 100),
        ),
        (ended(mode="shadow", would_stop=PLACE, audit=AUDIT), Sighting(True, True, 1.0, 70, 100)),
        (ended(mode="shadow", would_stop=PLACE), Sighting(True, True, 1.0, 0, 100)),
        (ended(mode="shadow"), Sighting(False, False, 1.0, 0, 100)),
        (ended("loop"), Sighting(False, False, 0.25, 0, 100)),
        (ended(uncertified="another model"), None),
        (ended(error="reset"), None),
        (ended(attempts=()), None),
        (ended(audit_share=0.0), None),
    ],
)
def test_what_is_seen(completion: Completion, seen: Sighting | None) -> None:
    """Stops that were only noted, stops that were made, and none."""
    assert seen == Sighting.of(completion)


def test_what_is_known_to_its_end_and_how_likely_that_was() -> None:
    """A request without a stop always; a stop by the share of audits."""
    cases = (ended(), ended("learned"), ended("learned", audit=AUDIT))
    made = [Sighting.of(one) for one in cases]
    assert [(True, 1.0), (False, 4.0), (True, 4.0)] == [
        (one.complete, one.weight) for one in made if one is not None
    ]
