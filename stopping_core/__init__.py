"""Stop a generation when its answer is done, check that it is complete, continue it when it is not.

The core names no framework: integrations for LangChain, LlamaIndex and transformers build on it.
"""

from stopping_core.answer import Emission
from stopping_core.engine import Engine
from stopping_core.errors import (
    BudgetExhausted,
    GenerationStopped,
    MissingPackage,
    NotCertified,
    StoppingError,
    TransportFailed,
)
from stopping_core.faults import is_transient
from stopping_core.labels import labelled
from stopping_core.ledger import Ledger
from stopping_core.policies import Policy
from stopping_core.protocols import (
    AsyncBackend,
    Backend,
    BudgetSchedule,
    CompletenessCheck,
    Hook,
    Prober,
    Signal,
    Steer,
)
from stopping_core.providers import Provider, find_provider
from stopping_core.report import report
from stopping_core.results import Attempt, Audit, Call, Completion, Draft, Setting, Trial, Verdict
from stopping_core.retry import arun, astream, run, stream
from stopping_core.session import Session
from stopping_core.stitch import stitch
from stopping_core.stopping import AdaptiveStopping
from stopping_core.triage import triage
from stopping_core.types import Boundary, Checkpoint, Decision, Probe, Request, Step, Usage

__all__ = [
    "AdaptiveStopping",
    "AsyncBackend",
    "Attempt",
    "Audit",
    "Backend",
    "Boundary",
    "BudgetExhausted",
    "BudgetSchedule",
    "Call",
    "Checkpoint",
    "CompletenessCheck",
    "Completion",
    "Decision",
    "Draft",
    "Emission",
    "Engine",
    "GenerationStopped",
    "Hook",
    "Ledger",
    "MissingPackage",
    "NotCertified",
    "Policy",
    "Probe",
    "Prober",
    "Provider",
    "Request",
    "Session",
    "Setting",
    "Signal",
    "Steer",
    "Step",
    "StoppingError",
    "TransportFailed",
    "Trial",
    "Usage",
    "Verdict",
    "arun",
    "astream",
    "find_provider",
    "is_transient",
    "labelled",
    "report",
    "run",
    "stitch",
    "stream",
    "triage",
]
