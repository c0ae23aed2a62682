"""Policies as neural networks of the state: any actions, any states, learnt by sampled SVI."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.nn import PyroModule
from torch import Tensor, nn

from vsg_ppl.errors import GameError
from vsg_ppl.game import Game, horizon
from vsg_ppl.guides.policy import fresh_name
from vsg_ppl.guides.supports import FirstStep, Support, beside

Features = Callable[[Any], Tensor]


class NeuralPolicy(PyroModule):
    """π(a | s) by a multilayer perceptron: a program for `agent_guide`, learnt with `Trace_ELBO`.

    The law of an action is chosen by the support of its prior. Numbers without bounds are normal;
    in an interval tanh of a normal, stretched to the bounds; above or below a bound the
    exponential of one; shares of a simplex are Dirichlet, and a finite set is categorical. All but
    the last are reparameterised, so gradients pass through actions and, where they are
    reparameterised too, states. (Dirichlet laws fit better than stick-breaking normals at moderate
    temperatures, and where a share goes to zero, as that of an unused path.) A network starts near
    the prior; for bounded numbers near even. Actions are in double precision. An agent's several
    sites are chosen one after another, each in view of those before.

    Args:
        game: the game.
        agent: whose policy it is.
        hidden: widths of the hidden layers.
        features: what the network sees of a state, (..., F) in double precision. By default all its
            parts as they are, and the time in a game with a horizon: scale them if they are large,
            and make finite ones one-hot.
        name: of the parameters in Pyro's store; a new one by default.

    Raises:
        GameError: the agent does not act in the first step, or in a support of no known kind. It is
            read there once: bounds that depend on the state are not followed.

    >>> import vsg_ppl as vsg
    >>> from pyro.infer import SVI, Trace_ELBO
    >>> from pyro.optim import Adam
    >>> from vsg_ppl.game import Limited
    >>> from vsg_ppl.models import Differential
    >>> game = Limited(Differential(), 1)
    >>> guide = vsg.agent_guide(game, "first", NeuralPolicy(game, "first"))
    >>> loss = Trace_ELBO(num_particles=8, vectorize_particles=True)
    >>> svi = SVI(vsg.agent_model(game, "first"), guide, Adam({"lr": 1e-2}), loss)
    >>> svi.step() > 0
    True
    """

    def __init__(
        self,
        game: Game,
        agent: str,
        *,
        hidden: tuple[int, ...] = (64, 64),
        features: Features | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name or fresh_name(f"policy.{agent}"))
        self.agent, self.first, self.features = agent, FirstStep(game), features
        self.supports = self.first.of(agent)
        steps = horizon(game) or 1
        self.times = steps if features is None else 1
        size = self._width(game) + (self.times > 1)
        for k, site in enumerate(self.supports.values()):
            setattr(self, f"network{k}", _perceptron((size, *hidden, site.outputs)))
            size += site.size

    def forward(self, state: Any, t: Any = None) -> None:
        """Sample the agent's action sites, given the state and, with a horizon, the time."""
        self._sample([self._see(state, t)])

    def _width(self, game: Game) -> int:
        """How many numbers the state shows."""
        if self.features is None:
            return self.first.width
        with torch.no_grad(), poutine.block(), torch.random.fork_rng(devices=[]):
            return int(self.features(game.initial()).shape[-1])

    def _see(self, state: Any, t: Any) -> Tensor:
        if self.features is not None:
            return self.features(state).double()
        seen = self.first.inputs(state)
        if self.times == 1:
            return seen
        if t is None:
            raise GameError("a policy for a finite horizon needs the time", hint="pass t=.")
        clock = 2 * torch.as_tensor(t, dtype=torch.float64) / (self.times - 1) - 1
        return beside([seen, clock[..., None]])

    def _sample(self, seen: list[Tensor]) -> None:
        for k, (name, site) in enumerate(self.supports.items()):
            law = site.law(getattr(self, f"network{k}")(beside(seen)))
            seen = [*seen, site.read(pyro.sample(name, law))]


class ConditionalNeuralPolicy(NeuralPolicy):
    """π(a | s, a^{-i}) by a perceptron: the paper's factorisation (Fig. 1, Prop. 5.2).

    As `NeuralPolicy`; the network sees the others' actions of the step too, which a guide draws
    from its opponent model. What is *executed* is the average over that model.
    """

    def forward(self, state: Any, t: Any = None, seen: Mapping[str, Tensor] | None = None) -> None:
        """Sample the agent's action sites, given the state, the time and the others' actions."""
        given = [self._see(state, t)]
        for site in self._others():
            if seen is None or site.site not in seen:
                raise GameError(
                    "a conditional policy looks at this action, and nobody has chosen it",
                    site=site.site,
                    hint="give every other agent a policy or an opponent model.",
                )
            given.append(site.read(seen[site.site]))
        self._sample(given)

    def _width(self, game: Game) -> int:
        return super()._width(game) + sum(site.size for site in self._others())

    def _others(self) -> list[Support]:
        everyone = self.first.supports.items()
        return [site for agent, own in everyone if agent != self.agent for site in own.values()]


def _perceptron(widths: tuple[int, ...]) -> Any:
    """Layers of tanh; the last starts small, so that its outputs are near zero."""
    linear: Any = PyroModule[nn.Linear]
    sequential: Any = PyroModule[nn.Sequential]
    layers: list[Any] = []
    for k, (inputs, outputs) in enumerate(zip(widths, widths[1:], strict=False)):
        layers += [nn.Tanh()] if k else []
        layers += [linear(inputs, outputs, dtype=torch.float64)]
    with torch.no_grad():
        layers[-1].weight.mul_(0.01)
        layers[-1].bias.zero_()
    return sequential(*layers)
