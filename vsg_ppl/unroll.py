"""A game program as one long program over time."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.poutine.runtime import effectful

from vsg_ppl.game import Game, Limited, call, discount
from vsg_ppl.game import horizon as horizon_of
from vsg_ppl.handlers.at_time import at_time


@effectful(type="decision")
def decision(state: Any, t: int) -> Any:
    """Tell the handlers that the agents decide in this state, at this time."""
    return state


def unroll(game: Game, horizon: int | None = None) -> Callable[[], Any]:
    """The program of a whole play: the initial state, then step after step.

    Sites are indexed by time. A discount is the paper's absorbing state (§4, infinite horizon):
    before each step but the first, ``alive_t ~ Bernoulli(γ)`` says whether play goes on; once it
    does not, nothing counts any more (the sites are masked). A game without a horizon therefore
    runs for a random number of steps, 1 / (1 − γ) of them on average; one with a horizon always
    has the same sites, as `Predictive` needs them.

    Args:
        game: the game.
        horizon: number of decisions, by default the game's.

    Returns:
        A program without arguments; it returns the state after the last step.

    >>> from pyro import poutine
    >>> from vsg_ppl.models import PrisonersDilemma
    >>> sorted(poutine.trace(unroll(PrisonersDilemma())).get_trace().stochastic_nodes)
    ['col_0', 'row_0']
    """
    played = game if horizon is None else Limited(game, horizon)
    steps, gamma = horizon_of(played), discount(played)

    def program() -> Any:
        with at_time(-1):
            state = game.initial()
        alive: Any = torch.tensor(True)
        for t in range(steps) if steps is not None else count():
            if t > 0 and gamma < 1.0:
                with poutine.mask(mask=alive):
                    goes_on = pyro.sample(f"alive_{t}", dist.Bernoulli(gamma))
                alive = alive & goes_on.bool()
                if steps is None and not alive.any():
                    break
            with poutine.mask(mask=alive) if gamma < 1.0 else poutine.mask(mask=True):
                decision(state, t)
                with at_time(t):
                    state = call(game.step, state, t=t)
        return state

    return program
