"""Game programs whose public signal follows a law of one's own: a guide over σ (§5.3)."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor

from vsg_ppl.game import Game, call, signal, takes, title
from vsg_ppl.handlers.signal_law import signal_law
from vsg_ppl.states import States


class PublicSignal:
    """A game whose public signals have the law given.

    Args:
        game: the program.
        states: its states, without signals.
        signals: the signals by name, with the number of their values.
        law: σ(ω|s) of their joint values, (H|1, S, Ω).
        added: whether the program has no signals of its own, so that these are drawn before it.

    >>> import vsg_ppl as vsg
    >>> from vsg_ppl.models import Chicken
    >>> law = torch.tensor([[[0.25, 0.75]]])
    >>> states = vsg.tabulate(Chicken()).states
    >>> game = PublicSignal(Chicken(), states, (("light", 2),), law, added=True)
    >>> vsg.tabulate(game).initial
    tensor([[0.2500, 0.7500]], dtype=torch.float64)
    """

    def __init__(
        self,
        game: Game,
        states: States,
        signals: tuple[tuple[str, int], ...],
        law: Tensor,
        *,
        added: bool,
    ) -> None:
        self.game, self.states, self.signals, self.law = game, states, signals, law
        self.added = added
        self.agents, self.name = tuple(game.agents), title(game)
        self.initial = game.initial
        self.discount = getattr(game, "discount", None)
        self.horizon = getattr(game, "horizon", None)
        timed = len(law) > 1 or takes(game.step, "t")
        self.step = self._at if timed else self._always
        # a law that is the same in all states does not read them
        self._reads = not bool((law == law[:, :1]).all())
        self._rows = torch.cat([law, torch.full_like(law[:, :1], torch.nan)], 1)

    def _at(self, state: Any, t: Any) -> Any:
        return self._run(state, t, t if len(self.law) > 1 else 0)

    def _always(self, state: Any) -> Any:
        return self._run(state, 0, 0)

    def _run(self, state: Any, t: Any, at: Any) -> Any:
        # no `if` on the state, which figures of the program could not follow: an unknown one has
        # the law of the last row, which is none
        law = self._rows[at, self.states.locate(state) if self._reads else 0]
        with signal_law(tuple(size for _, size in self.signals), law):
            if self.added:
                for name, size in self.signals:
                    signal(name, dist.Categorical(torch.ones(size)))
            return call(self.game.step, state, t=t)
