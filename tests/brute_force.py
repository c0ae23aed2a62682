"""An oracle for the tests: runs a game's own program outcome by outcome, and adds up.

It reads no table and no enumeration handler: each site takes one scalar value at a time, every play
is followed on its own, and chance, priors and rewards are those that the program names.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor

from vsg_ppl.game import Act, Optimality, Signal, call, role, takes


@dataclass
class Outcome:
    """One way a step can go."""

    probability: float = 1.0  # of chance and signals
    signals: dict[str, int] = field(default_factory=dict)
    actions: dict[str, tuple[int, ...]] = field(default_factory=lambda: defaultdict(tuple))
    priors: dict[str, float] = field(default_factory=lambda: defaultdict(lambda: 1.0))
    rewards: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    following: Any = None
    place: Any = None  # the frozen state, with the signals if there are any


class _Script(Messenger):
    """Plays a list of choices, one for each site that can be chosen; the rest takes the first."""

    def __init__(self, choices: list[int]) -> None:
        super().__init__()
        self.choices, self.sizes, self.outcome = choices, [], Outcome()

    def _pyro_sample(self, msg: Any) -> None:
        part, fn, outcome = role(msg), msg["fn"], self.outcome
        if isinstance(part, Optimality):
            outcome.rewards[part.agent] += float(fn.log_factor)
            return
        support = fn.enumerate_support()
        place = len(self.sizes)
        self.sizes.append(len(support))
        choice = self.choices[place] if place < len(self.choices) else 0
        law = fn.probs if len(support) == fn.probs.numel() else [1 - fn.probs, fn.probs]
        probability = float(law[choice])  # not log_prob: torch keeps it away from log 0
        value = int(support[choice])
        if isinstance(part, Act):
            outcome.actions[part.agent] += (value,)
            outcome.priors[part.agent] *= probability
        else:
            outcome.probability *= probability
            if isinstance(part, Signal):
                outcome.signals[part.site] = value
        msg["value"], msg["done"] = support[choice], True


def runs(program: Callable[[], Any]) -> Iterator[Outcome]:
    """All runs of a program that are possible, each with scalars."""
    pending: list[list[int]] = [[]]
    while pending:
        choices = pending.pop()
        with _Script(choices) as script:
            script.outcome.following = program()
        for place in range(len(choices), len(script.sizes)):
            prefix = choices + [0] * (place - len(choices))
            pending += [[*prefix, other] for other in range(1, script.sizes[place])]
        outcome = script.outcome
        if outcome.probability > 0 and all(prior > 0 for prior in outcome.priors.values()):
            yield outcome


def freeze(state: Any) -> Any:
    """A state as something that can be compared and hashed."""
    if state is None:
        return ()
    if isinstance(state, dict):
        return tuple((key, freeze(part)) for key, part in state.items())
    if isinstance(state, tuple | list):
        return tuple(freeze(part) for part in state)
    return int(state)


Action = tuple[int, ...]
Seen = Mapping[str, Action]
LogPolicy = Callable[[Any, int, Seen], dict[Action, Tensor]]
"""``log_policy(place, t, seen)``: log π of each available joint action of the agent.

A place is a frozen state, with the signals if there are any; ``seen`` has the other agents'
actions, which a marginal policy does not look at.
"""


class BruteForce:
    """All plays of a game, by running its program.

    Args:
        game: a game program.
    """

    def __init__(self, game: Any) -> None:
        self.game, self.agents = game, tuple(game.agents)
        self.horizon = getattr(game, "horizon", None)
        gamma = getattr(game, "discount", None)
        self.discount = 1.0 if gamma is None else gamma
        self.timed = takes(game.step, "t")
        self._live: dict[Any, Any] = {}  # a state to run for each frozen one
        self._steps: dict[Any, list[Outcome]] = {}
        self._priors: dict[Any, dict[Action, float]] = defaultdict(dict)

    def initial(self) -> dict[Any, float]:
        """The law of the first state."""
        law: dict[Any, float] = defaultdict(float)
        for run in runs(self.game.initial):
            law[self._freeze(run.following)] += run.probability
        return dict(law)

    def outcomes(self, state: Any, t: int) -> list[Outcome]:
        """The outcomes of the step in a frozen state."""
        key = (state, t if self.timed else 0)
        if key not in self._steps:
            live = self._live[state]
            found = list(runs(lambda: call(self.game.step, live, t=t)))
            for outcome in found:
                outcome.following = self._freeze(outcome.following)
                seen = freeze(outcome.signals)
                outcome.place = (state, seen) if seen else state
                for agent in self.agents:
                    action = outcome.actions[agent]
                    self._priors[agent, outcome.place, key[1]][action] = outcome.priors[agent]
            self._steps[key] = found
        return self._steps[key]

    def layers(self, steps: int) -> list[list[Any]]:
        """The states that can occur at each time."""
        layers = [list(self.initial())]
        for t in range(steps - 1):
            found = {o.following: None for state in layers[-1] for o in self.outcomes(state, t)}
            layers.append(list(found))
        return layers

    def states(self) -> list[Any]:
        """All states of an endless game."""
        known = dict.fromkeys(self.initial())
        todo = list(known)
        while todo:
            for outcome in self.outcomes(todo.pop(), 0):
                if outcome.following not in known:
                    known[outcome.following] = None
                    todo.append(outcome.following)
        return list(known)

    def prior(self, agent: str, place: Any, t: int) -> dict[Action, float]:
        """The prior of each available joint action; ``{(): 1.0}`` if the agent does not act."""
        return self._priors[agent, place, t if self.timed else 0]

    def elbo(
        self,
        agent: str,
        policy: LogPolicy,
        opponents: Mapping[str, LogPolicy],
        others: Mapping[str, LogPolicy],
        temperature: float,
    ) -> Tensor:
        """Σ over plays of q(play) · (log p(play) − log q(play)), chance cancelling.

        Finite horizons only. A discount is the probability that a play goes on, so later terms
        count γ^t of their number (§4).
        """

        def ratio(state: Any, t: int, outcome: Outcome) -> tuple[Tensor, Tensor]:
            log_q = self._log(agent, policy, state, t, outcome)
            log_p = outcome.rewards[agent] / temperature + np.log(outcome.priors[agent])
            for j in self.agents:
                if j != agent:
                    log_q = log_q + self._log(j, opponents[j], state, t, outcome)
                    log_p = log_p + self._log(j, others[j], state, t, outcome)
            return log_q, log_p - log_q

        return self._plays(ratio)

    def value(self, agent: str, policies: Mapping[str, LogPolicy]) -> Tensor:
        """E Σ γ^t r over all plays."""

        def reward(state: Any, t: int, outcome: Outcome) -> tuple[Tensor, Tensor]:
            log_q = sum(self._log(j, policies[j], state, t, outcome) for j in self.agents)
            return torch.as_tensor(log_q), _number(outcome.rewards[agent])

        return self._plays(reward)

    def _log(self, agent: str, policy: LogPolicy, state: Any, t: int, outcome: Outcome) -> Tensor:
        action = outcome.actions[agent]
        if not action:
            return _number(0.0)
        seen = {j: outcome.actions[j] for j in self.agents if j != agent}
        return policy(outcome.place, t, seen)[action]

    def _plays(self, term: Callable[[Any, int, Outcome], tuple[Tensor, Tensor]]) -> Tensor:
        """Σ over plays of probability · Σ_t γ^t term; every play is followed separately."""
        assert self.horizon is not None
        law = self.initial()
        plays = {s: (_number(p)[None], _number(0.0)[None]) for s, p in law.items()}
        for t in range(self.horizon):
            grown: dict[Any, list[tuple[Tensor, Tensor]]] = defaultdict(list)
            for state, (weight, total) in plays.items():
                for outcome in self.outcomes(state, t):
                    log_q, amount = term(state, t, outcome)
                    # a play that the guide never makes counts nothing, whatever its ratio
                    if torch.isneginf(log_q.detach()):
                        continue
                    grown[outcome.following].append(
                        (
                            weight * outcome.probability * log_q.exp(),
                            total + self.discount**t * amount,
                        )
                    )
            plays = {s: tuple(map(torch.cat, zip(*ps, strict=True))) for s, ps in grown.items()}  # type: ignore[misc]
        return torch.stack([(weight * total).sum() for weight, total in plays.values()]).sum()

    def equation_3(
        self,
        agent: str,
        policy: LogPolicy,
        opponents: Mapping[str, LogPolicy],
        others: Mapping[str, LogPolicy],
        temperature: float,
        steps: int,
    ) -> Tensor:
        """Eq. 2-3 as printed, by the law of the state at each time.

        Σ_t γ^t E_q[ r/τ − KL(π(·|s, a^{-i}) ‖ u) − Σ_j KL(ρ_j(·|s) ‖ π_j(·|s)) ], the divergences
        by Pyro. With an infinite horizon the sum stops after ``steps``.
        """
        guides = {**opponents, agent: policy}
        costs: dict[Any, Tensor] = {}

        def cost(j: str, place: Any, t: int, seen: Seen) -> Tensor:
            key = (j, place, t if self.horizon else 0, freeze(dict(seen)))
            if key not in costs:
                rho = guides[j](place, t, seen)
                if j == agent:
                    prior = self.prior(j, place, t)
                    against = torch.stack([_number(prior[a]) for a in rho]).log()
                else:
                    pi = others[j](place, t, seen)
                    against = torch.stack([pi[a] for a in rho])
                mine = torch.stack(list(rho.values()))
                kl = torch.distributions.kl_divergence
                costs[key] = kl(_categorical(mine), _categorical(against))
            return costs[key]

        law: dict[Any, Tensor] = {s: _number(p) for s, p in self.initial().items()}
        total = _number(0.0)
        for t in range(steps):
            following: dict[Any, Tensor] = defaultdict(lambda: _number(0.0))
            for state, here in law.items():
                for outcome in self.outcomes(state, t):
                    q = here * outcome.probability
                    amount = _number(outcome.rewards[agent] / temperature)
                    for j in self.agents:
                        if not outcome.actions[j]:
                            continue
                        seen = {k: outcome.actions[k] for k in self.agents if k != j}
                        q = q * guides[j](outcome.place, t, seen)[outcome.actions[j]].exp()
                        amount = amount - cost(j, outcome.place, t, seen)
                    total = total + self.discount**t * q * amount
                    following[outcome.following] = following[outcome.following] + q
            law = following
        return total

    def visits(self, policies: Mapping[str, LogPolicy], steps: int) -> dict[tuple[Any, int], float]:
        """P(s_t = s) of each place and time, when all play marginal policies."""
        law, found = self.initial(), defaultdict(float)
        for t in range(steps):
            following: dict[Any, float] = defaultdict(float)
            for state, here in law.items():
                for outcome in self.outcomes(state, t):
                    p = here * outcome.probability
                    for j, action in outcome.actions.items():
                        p *= float(policies[j](outcome.place, t, {})[action].detach().exp())
                    found[outcome.place, t] += p
                    following[outcome.following] += p
            law = following
        return dict(found)

    def _freeze(self, state: Any) -> Any:
        frozen = freeze(state)
        self._live[frozen] = state
        return frozen


def _number(x: float) -> Tensor:
    return torch.tensor(x, dtype=torch.float64)


def _categorical(logits: Tensor) -> Any:
    return torch.distributions.Categorical(logits=logits)
