"""Count one agent's optimality only, at a temperature."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
from pyro.poutine.messenger import Messenger

from vsg_ppl.game import Optimality, role


class FocusMessenger(Messenger):
    """Keeps the optimality of one agent, as exp(reward / temperature), and hides all others'.

    Every agent has a graphical model of its own (Def. 4.1, Fig. 1). ``agent=None`` hides them all:
    that is what a guide does. The reward is divided rather than the factor scaled, because a
    scale on one factor clashes with enumeration.

    >>> import torch, vsg_ppl as vsg
    >>> from pyro import poutine
    >>> def step():
    ...     vsg.optimality("row", 3.0)
    ...     vsg.optimality("col", 1.0)
    >>> trace = poutine.trace(FocusMessenger("row", temperature=2.0)(step)).get_trace()
    >>> float(trace.log_prob_sum())
    1.5
    """

    def __init__(self, agent: str | None, temperature: float = 1.0) -> None:
        super().__init__()
        self.agent = agent
        self.temperature = temperature

    def _pyro_sample(self, msg: Any) -> None:
        part = role(msg)
        if not isinstance(part, Optimality):
            return
        if part.agent != self.agent:
            msg["stop"] = True
        else:
            msg["fn"] = dist.Unit(msg["fn"].log_factor / self.temperature, validate_args=False)


focus = FocusMessenger
