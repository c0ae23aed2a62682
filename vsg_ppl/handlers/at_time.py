"""Index the sites of one step by time."""

from __future__ import annotations

from collections import Counter
from typing import Any

from pyro.poutine.messenger import Messenger

from vsg_ppl.game import Optimality, role


class AtTimeMessenger(Messenger):
    """Names every site of a step by its time, as the paper does: s_t, a_t, O_t, then s_{t+1}.

    What agents do or see (actions, optimality, signals) carries ``t``; what chance draws in the
    step carries ``t + 1``, for it makes the next state. A second optimality of one agent is
    numbered.

    >>> import pyro, pyro.distributions as dist, torch
    >>> from pyro import poutine
    >>> import vsg_ppl as vsg
    >>> def step():
    ...     vsg.act("row", dist.Categorical(torch.ones(2)))
    ...     vsg.optimality("row", 1.0)
    ...     vsg.optimality("row", -0.5)
    ...     pyro.sample("weather", dist.Categorical(torch.ones(3)))
    >>> list(poutine.trace(AtTimeMessenger(4)(step)).get_trace().stochastic_nodes)
    ['row_4', 'weather_5']
    >>> list(poutine.trace(AtTimeMessenger(4)(step)).get_trace().observation_nodes)
    ['O_row_4', 'O_row.1_4']
    """

    def __init__(self, t: int) -> None:
        super().__init__()
        self.t = t
        self._seen: Counter[str] = Counter()

    def __enter__(self) -> AtTimeMessenger:
        self._seen.clear()
        super().__enter__()
        return self

    def _pyro_sample(self, msg: Any) -> None:
        part = role(msg)
        name = msg["name"]
        if isinstance(part, Optimality):
            self._seen[name] += 1
            if self._seen[name] > 1:
                name = f"{name}.{self._seen[name] - 1}"
        msg["name"] = f"{name}_{self.t if part is not None else self.t + 1}"


at_time = AtTimeMessenger
