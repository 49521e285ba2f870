"""Watches a certified policy in use: its risk, drift of the requests, and the way back."""

from stopping_core.monitoring.confidence_sequence import ConfidenceSequence
from stopping_core.monitoring.drift import DriftDetectors
from stopping_core.monitoring.monitor import Advice, Monitor
from stopping_core.monitoring.observation import Observation, Outcome
from stopping_core.monitoring.retreat import Change, Retreat
from stopping_core.monitoring.risk_monitor import RiskMonitor
from stopping_core.monitoring.segments import Segments

__all__ = [
    "Advice",
    "Change",
    "ConfidenceSequence",
    "DriftDetectors",
    "Monitor",
    "Observation",
    "Outcome",
    "Retreat",
    "RiskMonitor",
    "Segments",
]
