"""Made-up traffic for the pilot: requests whose stops lose their answer as often as is said."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np

from stopping_core import (
    Audit,
    Boundary,
    Checkpoint,
    Completion,
    Request,
    Usage,
)
from stopping_core.certificates import CertifiedLevel
from stopping_core.results import Attempt, Setting, Verdict
from stopping_core.steering import (
    LevelBandit,
    Pilot,
    Satisfaction,
)
from stopping_core.testing import FakeClock
from tests.calibration.certified import made_certificate

RISKS = (0.01, 0.02, 0.05)
LEVELS = tuple(
    CertifiedLevel(risk, threshold, 500, 0, risk * 0.9, saving)
    for risk, threshold, saving in zip(RISKS, (-5.0, -3.0, -0.5), (0.2, 0.4, 0.6), strict=True)
)
CERTIFICATE = made_certificate(levels=LEVELS)
WHOLE = 100  # tokens of a full answer
PLACES = {
    level.risk: Checkpoint(9, round(WHOLE * (1 - level.saving)), 0.1, Boundary.SENTENCE)
    for level in LEVELS
}
PLACE = PLACES[0.05]


def graded(request: Request, audit: Audit) -> float | None:
    """The full answer says how much was lost."""
    return None if audit.full == "?" else float(audit.full)


def pilot(**changes: Any) -> Pilot:
    """One whose users are content with everything, so that it saves what it may."""
    given: dict[str, Any] = {
        "audit": 0.5,
        "explore": 0.2,
        "clock": FakeClock(),
        "draw": random.Random(0).random,
        "bandit": LevelBandit(Satisfaction(1e6), token_worth=1.0, seed=0),
    }
    return Pilot(CERTIFICATE, **{"loss": graded, **given, **changes})


class Traffic:
    """Requests whose stops are lost with some probability, as a session would report them.

    Each is stopped, unless it has the use case ``short``, and saves what the certificate says.
    """

    def __init__(self, one: Pilot, seed: int = 0) -> None:
        self.pilot, self.rng, self.number = one, np.random.default_rng(seed), 0
        self.places = dict(PLACES)

    def begin(self, **labels: str) -> tuple[Request, Setting]:
        self.number += 1
        request = Request(metadata={"request_id": str(self.number), **labels})
        return request, self.pilot.steer(request, CERTIFICATE)

    def end(self, request: Request, setting: Setting, lost: float, **changes: Any) -> None:
        loss, place = float(self.rng.random() < lost), self.places[setting.risk]
        stops = request.metadata.get("use_case") != "short"
        audited = stops and (not setting.cut or self.rng.random() < setting.audit)
        made = stops and not audited
        generated = place.tokens if made else WHOLE
        reason = "learned" if made else ""
        known: dict[str, Any] = {
            "text": "",
            "reasoning": "",
            "complete": True,
            "verdict": Verdict(True),
            "finish_reason": "cut" if made else "stop",
            "reason": reason,
            "usage": Usage(generated=generated),
            "attempts": (Attempt("first", WHOLE, generated, 0, 9, 1.0, "cut", reason),),
            "seconds": 1.0,
            "mode": "active" if setting.cut else "shadow",
            "would_stop": place if stops and not setting.cut else None,
            "audit": Audit(place, "answer", "", str(loss), "stop") if audited else None,
            "audit_share": setting.audit if setting.cut else 1.0,
            "request_id": request.metadata["request_id"],
        }
        self.pilot.take(request, Completion(**{**known, **changes}))

    def go(self, count: int, lost: Callable[[Setting], float], **labels: str) -> list[Setting]:
        made = []
        for _ in range(count):
            request, setting = self.begin(**labels)
            self.end(request, setting, lost(setting))
            made.append(setting)
        return made
