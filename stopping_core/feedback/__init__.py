"""What came of every request and what was thought of it: stored, off the hot path."""

from stopping_core.feedback.outcomes import (
    Arm,
    Feedback,
    FeedbackKind,
    Outcome,
    outcome_of,
)
from stopping_core.feedback.spool import SpoolFull
from stopping_core.feedback.store import OutcomeStore, Segment
from stopping_core.feedback.writer import OutcomeWriter

__all__ = [
    "Arm",
    "Feedback",
    "FeedbackKind",
    "Outcome",
    "OutcomeStore",
    "OutcomeWriter",
    "Segment",
    "SpoolFull",
    "outcome_of",
]
