"""The published rules, one a file, each faithful to what its authors wrote of it.

A bench finds them in ``BASELINES``. They come in four kinds: a :class:`~stopping_core.Policy` stops
one stream, a :class:`SampleRule` draws several runs of a question and votes, a :class:`Schedule`
tries one budget after another, and :class:`SemanticRounds` ends the rounds of an agent.

A rule that asks what the model would answer now keeps, on the channel ``"answer"``, the text up to
its stop and not the answer that it got; :class:`~stopping_core.policies.baselines.probing.Probing`
says more.
"""

from __future__ import annotations

from stopping_core.errors import MissingPackage

try:
    import numpy as _numpy  # noqa: F401  # most rules count with it
except ModuleNotFoundError as error:
    raise MissingPackage("numpy", "traces") from error

from stopping_core.policies.baselines.adaptive_consistency import AdaptiveConsistency
from stopping_core.policies.baselines.answer_convergence import AnswerConvergence
from stopping_core.policies.baselines.baseline import Baseline, Fitted, Tier
from stopping_core.policies.baselines.blank_line import BlankLine
from stopping_core.policies.baselines.conformal_thinking import ConformalThinking
from stopping_core.policies.baselines.cusum import Cusum
from stopping_core.policies.baselines.deepconf import DeepConf
from stopping_core.policies.baselines.deepconf_offline import DeepConfOffline
from stopping_core.policies.baselines.deer import Deer
from stopping_core.policies.baselines.doubling import Doubling
from stopping_core.policies.baselines.dynasor import Dynasor
from stopping_core.policies.baselines.eat import Eat
from stopping_core.policies.baselines.end_probability import EndProbability
from stopping_core.policies.baselines.esc import Esc
from stopping_core.policies.baselines.first_sentence import FirstSentence
from stopping_core.policies.baselines.fixed_budget import FixedBudget
from stopping_core.policies.baselines.halt_cot import HaltCot
from stopping_core.policies.baselines.high_confidence import HighConfidence
from stopping_core.policies.baselines.increment import Increment
from stopping_core.policies.baselines.k_stable import KStable
from stopping_core.policies.baselines.learnstop import LearnStop
from stopping_core.policies.baselines.low_entropy import LowEntropy
from stopping_core.policies.baselines.low_group_confidence import LowGroupConfidence
from stopping_core.policies.baselines.newline import Newline
from stopping_core.policies.baselines.one_budget import OneBudget
from stopping_core.policies.baselines.samples import (
    Drawn,
    Sample,
    SampleRule,
    behind_reasoning,
    draw,
    vote_key,
)
from stopping_core.policies.baselines.schedule import Schedule
from stopping_core.policies.baselines.semantic_rounds import SemanticRounds
from stopping_core.policies.baselines.sequential_edfl import SequentialEdfl
from stopping_core.policies.baselines.stop_string import StopString
from stopping_core.policies.baselines.think_just_enough import ThinkJustEnough
from stopping_core.policies.baselines.thought_calibration import ThoughtCalibration
from stopping_core.policies.baselines.vote_of_n import VoteOfN

__all__ = [
    "BASELINES",
    "AdaptiveConsistency",
    "AnswerConvergence",
    "Baseline",
    "BlankLine",
    "ConformalThinking",
    "Cusum",
    "DeepConf",
    "DeepConfOffline",
    "Deer",
    "Doubling",
    "Drawn",
    "Dynasor",
    "Eat",
    "EndProbability",
    "Esc",
    "FirstSentence",
    "Fitted",
    "FixedBudget",
    "HaltCot",
    "HighConfidence",
    "Increment",
    "KStable",
    "LearnStop",
    "LowEntropy",
    "LowGroupConfidence",
    "Newline",
    "OneBudget",
    "Sample",
    "SampleRule",
    "Schedule",
    "SemanticRounds",
    "SequentialEdfl",
    "StopString",
    "ThinkJustEnough",
    "ThoughtCalibration",
    "Tier",
    "VoteOfN",
    "behind_reasoning",
    "draw",
    "vote_key",
]

BASELINES: tuple[type[Baseline], ...] = (
    FixedBudget,
    FirstSentence,
    Newline,
    BlankLine,
    StopString,
    Doubling,
    Increment,
    OneBudget,
    EndProbability,
    LowEntropy,
    HighConfidence,
    ThinkJustEnough,
    Cusum,
    ConformalThinking,
    SequentialEdfl,
    ThoughtCalibration,
    Dynasor,
    Deer,
    Eat,
    AnswerConvergence,
    KStable,
    HaltCot,
    LearnStop,
    VoteOfN,
    AdaptiveConsistency,
    Esc,
    DeepConf,
    DeepConfOffline,
    SemanticRounds,
)
"""Every published rule, simple ones first."""
