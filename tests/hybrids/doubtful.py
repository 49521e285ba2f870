"""Samples of which one loses confidence, as a server says them, and the rule that ends it."""

from __future__ import annotations

from stopping_core import AdaptiveStopping
from stopping_core.policies import Never
from stopping_core.policies.baselines import DeepConf
from stopping_core.testing import words
from tests.support.sse_server import Script

RULE = DeepConf(warmup=2, keep=0.5, window=2, consensus=None, most=4)
WHOLE = AdaptiveStopping(policy=Never(), checkpoint_every=1)

SAID = [  # the bar is 3.5 nats: half a nat more than these are from 0, of two candidates
    Script(words("The answer is 4."), logprobs=[-4.0] * 4),
    Script(words("The answer is 5."), logprobs=[-2.0] * 4),
    Script(["So ", "4? ", *["or "] * 900], logprobs=[-9.0, -0.5, *[-0.25] * 900]),
    Script(words("The answer is 4."), logprobs=[-6.0] * 4),
]
