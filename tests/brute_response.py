"""Best responses and gains for the tests, from a game's own program: see `brute_force`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from itertools import product
from math import prod
from typing import Any

import numpy as np

from tests.brute_force import Action, BruteForce, LogPolicy, Outcome

Answer = tuple[dict[Action, float], float]
Choose = Callable[[Any, int, dict[Action, float], dict[Action, float]], Answer]
"""``choose(place, t, q, prior)``: probabilities of the agent's actions and what they are worth.

A place is a state, with its signals if there are any.
"""


def soft(temperature: float) -> Choose:
    """π ∝ u exp(Q/τ), worth τ log Σ u exp(Q/τ) (Prop. 5.2); the best action at τ = 0."""

    def choose(place: Any, t: int, q: dict[Action, float], prior: dict[Action, float]) -> Answer:
        top = max(q.values())
        if temperature == 0:
            return {a: float(a == max(q, key=q.__getitem__)) for a in q}, top
        weight = {a: prior[a] * np.exp((q[a] - top) / temperature) for a in q}
        total = sum(weight.values())
        return {a: w / total for a, w in weight.items()}, top + temperature * np.log(total)

    return choose


class BruteResponse:
    """Answers of one agent to given policies of the others.

    Args:
        brute: the game.
        agent: who answers.
        policies: of all agents; the agent's own is used by `gains` alone.
        conditional: whether the agent sees the others' actions.
    """

    def __init__(
        self,
        brute: BruteForce,
        agent: str,
        policies: Mapping[str, LogPolicy],
        *,
        conditional: bool = False,
    ) -> None:
        self.brute, self.agent, self.policies = brute, agent, policies
        self.conditional = conditional
        self.layers = [brute.states()] if brute.horizon is None else brute.layers(brute.horizon)

    def induct(self, choose: Choose, steps: int | None = None) -> dict[tuple[Any, int], Any]:
        """Backward induction: for each place and time ``(answers, value)``.

        ``answers`` has one entry for each joint action of the others that the agent sees, or one,
        ``()``. Endless games make ``steps`` backups and list the first of them as time 0.
        """
        times = self.brute.horizon or steps
        assert times is not None
        ahead: dict[Any, float] = defaultdict(float)
        found: dict[tuple[Any, int], Any] = {}
        for t in reversed(range(times)):
            now = 0 if self.brute.horizon is None else t
            here = self._backup(choose, ahead, now)
            ahead = defaultdict(float)
            for (state, place), (answers, value, sigma) in here.items():
                found[place, now] = answers, value
                ahead[state] += sigma * value
        return found

    def gains(self) -> tuple[float, dict[tuple[Any, int], float]]:
        """What the agent gains by the best of *all* its deterministic policies, one by one.

        Returns:
            the gain from the initial law, and that from each place and time.
        """
        given_start, given = self._worth(self._given)
        best_start, best = given_start, dict(given)
        for plan in self.plans():
            start, values = self._worth(plan)
            best_start = max(best_start, start)
            for key, value in values.items():
                best[key] = max(best[key], value)
        return best_start - given_start, {key: best[key] - given[key] for key in given}

    def value(self) -> float:
        """What the agent's own policy is worth from the initial law."""
        return self._worth(self._given)[0]

    def count(self) -> int:
        """How many deterministic policies there are."""
        return prod(len(actions) for actions in self._decisions().values())

    def plans(self) -> Iterator[Choose]:
        """All deterministic policies; with a horizon they depend on time."""
        decisions = self._decisions()
        for chosen in product(*decisions.values()):
            plan = dict(zip(decisions, chosen, strict=True))

            def follow(
                place: Any, t: int, q: dict[Action, float], prior: Any, plan: Any = plan
            ) -> Answer:
                return {plan[place, t]: 1.0}, q[plan[place, t]]

            yield follow

    def _decisions(self) -> dict[tuple[Any, int], list[Action]]:
        return {
            (outcome.place, t): list(self.brute.prior(self.agent, outcome.place, t))
            for t, layer in enumerate(self.layers)
            for state in layer
            for outcome in self.brute.outcomes(state, t)
        }

    def _given(self, place: Any, t: int, q: dict[Action, float], prior: Any) -> Answer:
        if list(q) == [()]:
            return {(): 1.0}, q[()]
        log = self.policies[self.agent](place, t, {})
        policy = {a: float(log[a].detach().exp()) for a in q}
        return policy, sum(policy[a] * q[a] for a in q)

    def _worth(self, choose: Choose) -> tuple[float, dict[tuple[Any, int], float]]:
        """The value of a policy of the agent: from the initial law, and from each place."""
        if self.brute.horizon is None:
            here = self._backup(choose, self._solve(choose), 0)
            values = {(place, 0): value for (_, place), (_, value, _) in here.items()}
            start: dict[Any, float] = defaultdict(float)
            for (state, _), (_, value, sigma) in here.items():
                start[state] += sigma * value
        else:
            ahead: dict[Any, float] = defaultdict(float)
            values = {}
            for t in reversed(range(self.brute.horizon)):
                here = self._backup(choose, ahead, t)
                ahead = defaultdict(float)
                for (state, place), (_, value, sigma) in here.items():
                    values[place, t] = value
                    ahead[state] += sigma * value
            start = ahead
        return sum(p * start[state] for state, p in self.brute.initial().items()), values

    def _solve(self, choose: Choose) -> dict[Any, float]:
        """V(s) of a stationary policy, by one linear system."""
        states = {state: k for k, state in enumerate(self.layers[0])}
        matrix, reward = np.eye(len(states)), np.zeros(len(states))
        zero = self._backup(choose, defaultdict(float), 0)  # only its answers are used
        for state, k in states.items():
            for outcome in self.brute.outcomes(state, 0):
                answers = zero[state, outcome.place][0]
                own = outcome.actions[self.agent]
                p = self._weight(state, 0, outcome) * answers[self._seen(outcome)].get(own, 0.0)
                matrix[k, states[outcome.following]] -= self.brute.discount * p
                reward[k] += p * outcome.rewards[self.agent]
        return dict(zip(states, np.linalg.solve(matrix, reward).tolist(), strict=True))

    def _backup(self, choose: Choose, ahead: Mapping[Any, float], t: int) -> dict[Any, Any]:
        """For each state and place: the agent's answers, V and σ(ω|s)."""
        found = {}
        for state in self.layers[t]:
            mass: Any = defaultdict(lambda: defaultdict(lambda: defaultdict(float)))
            worth: Any = defaultdict(lambda: defaultdict(lambda: defaultdict(float)))
            for outcome in self.brute.outcomes(state, t):
                place, seen = outcome.place, self._seen(outcome)
                own = outcome.actions[self.agent]
                p = self._weight(state, t, outcome)
                amount = outcome.rewards[self.agent]
                amount += self.brute.discount * ahead[outcome.following]
                mass[place][seen][own] += p
                worth[place][seen][own] += p * amount
            for place, groups in mass.items():
                prior = self.brute.prior(self.agent, place, t)
                answers, value, sigma = {}, 0.0, 0.0
                for seen, weights in groups.items():
                    weight = next(iter(weights.values()))  # the same for each own action
                    if weight == 0:
                        continue
                    q = {a: worth[place][seen][a] / weight for a in weights}
                    answers[seen], best = choose(place, t, q, prior)
                    value += weight * best
                    sigma += weight
                found[state, place] = answers, value / sigma, sigma
        return found

    def _seen(self, outcome: Outcome) -> Any:
        if not self.conditional:
            return ()
        others = (j for j in self.brute.agents if j != self.agent)
        return tuple((j, outcome.actions[j]) for j in others)

    def _weight(self, state: Any, t: int, outcome: Outcome) -> float:
        """Chance and the others."""
        weight, place = outcome.probability, outcome.place
        for j in self.brute.agents:
            action = outcome.actions[j]
            if j != self.agent and action:
                weight *= float(self.policies[j](place, t, {})[action].detach().exp())
        return weight
