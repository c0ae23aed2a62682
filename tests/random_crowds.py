"""Random mean-field programs, and the same games in plain loops over NumPy arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from hypothesis import strategies as st

import vsg_ppl as vsg


@dataclass(frozen=True)
class Shape:
    """What a random game does. ``sites`` are the sizes of its action sites."""

    seed: int
    states: int
    sites: tuple[int, ...]
    horizon: int | None
    discount: float | None
    moving: bool  # whether the crowd moves the next states
    branching: bool  # whether the step makes numbers of the time, so that it runs time by time


class RandomCrowd:
    """A game whose rewards read the crowd in every way that it can be read."""

    agents = ("one",)

    def __init__(self, shape: Shape) -> None:
        self.shape, self.horizon, self.discount = shape, shape.horizon, shape.discount
        rng = np.random.default_rng(shape.seed)
        n, a, k = shape.states, int(np.prod(shape.sites)), 3
        h = shape.horizon or 1
        self.pay = rng.normal(size=(h, n, a))
        self.shun = rng.uniform(size=n)
        self.near = rng.normal(size=(n, n))
        self.like = rng.normal(size=(n, a))
        self.start = rng.dirichlet(np.ones(n))
        self.pull = rng.normal(size=(n, a, k))
        self.push = rng.normal(size=(n, a, k)) * shape.moving
        self.where = rng.integers(n, size=(n, a, k))
        self.weight = rng.uniform(size=n)
        if shape.horizon is not None:
            self.step = self._branching if shape.branching else self._timed
        else:
            self.step = self._always

    def initial(self) -> torch.Tensor:
        return pyro.sample("first", dist.Categorical(torch.tensor(self.start)))

    def _branching(self, state: torch.Tensor, t: int, crowd: vsg.Crowd) -> torch.Tensor:
        if t < 0:  # a tensor of many times cannot say
            raise AssertionError
        return self._timed(state, int(t), crowd)

    def _timed(self, state: torch.Tensor, t: torch.Tensor, crowd: vsg.Crowd) -> torch.Tensor:
        sites = [
            vsg.act("one", dist.Categorical(torch.ones(size)), name=f"site{j}")
            for j, size in enumerate(self.shape.sites)
        ]
        action = torch.zeros((), dtype=torch.long)
        for size, chosen in zip(self.shape.sites, sites, strict=True):
            action = action * size + chosen
        given = {f"site{j}": chosen for j, chosen in enumerate(sites)}
        same = crowd.at(state, given if len(sites) > 1 else sites[0])
        vsg.optimality("one", torch.tensor(self.pay)[t, state, action])
        vsg.optimality("one", -torch.tensor(self.shun)[state] * (crowd.at(state) + 0.1).log())
        vsg.optimality("one", crowd.mean(lambda other: torch.tensor(self.near)[state, other]))
        vsg.optimality("one", torch.tensor(self.like)[state, action] * same)
        level = crowd.mean(lambda other: torch.tensor(self.weight)[other])
        logits = torch.tensor(self.pull) + 0.0
        logits = logits[state, action] + torch.tensor(self.push)[state, action] * level[..., None]
        outcome = pyro.sample("outcome", dist.Categorical(logits=logits))
        return torch.tensor(self.where)[state, action, outcome]

    def _always(self, state: torch.Tensor, crowd: vsg.Crowd) -> torch.Tensor:
        return self._timed(state, torch.zeros((), dtype=torch.long), crowd)

    # --- The same in loops ---

    def reward(self, t: int, s: int, a: int, law: np.ndarray) -> float:
        mu = law.sum(1)
        company = sum(mu[o] * self.near[s, o] for o in range(len(mu)))
        own = self.pay[t, s, a] - self.shun[s] * np.log(mu[s] + 0.1)
        return float(own + company + self.like[s, a] * law[s, a])

    def following(self, s: int, a: int, law: np.ndarray) -> np.ndarray:
        level = sum(law[o].sum() * self.weight[o] for o in range(len(law)))
        logits = self.pull[s, a] + self.push[s, a] * level
        odds = np.exp(logits - logits.max())
        odds /= odds.sum()
        out = np.zeros(len(law))
        for k, p in zip(self.where[s, a], odds, strict=True):
            out[k] += p
        return out

    def crowds(self, policy: np.ndarray) -> list[np.ndarray]:
        """L_t(s, a) at all times."""
        mu, found = self.start, []
        for t in range(self.horizon):
            law = mu[:, None] * policy[t]
            found.append(law)
            after = np.zeros(len(mu))
            for s in range(len(mu)):
                for a in range(law.shape[1]):
                    after += law[s, a] * self.following(s, a, law)
            mu = after
        return found

    def values(
        self, crowds: list[np.ndarray], policy: np.ndarray | None, tau: float, prior: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """π, Q and V by (11) and (12): of a policy if given, else of the (soft) best response."""
        h, (n, size) = len(crowds), crowds[0].shape
        gamma = 1.0 if self.discount is None else self.discount
        chosen, q, v = np.zeros((h, n, size)), np.zeros((h, n, size)), np.zeros((h + 1, n))
        for t in reversed(range(h)):
            for s in range(n):
                for a in range(size):
                    q[t, s, a] = self.reward(t, s, a, crowds[t])
                    if t + 1 < h:
                        q[t, s, a] += gamma * self.following(s, a, crowds[t]) @ v[t + 1]
                if policy is not None:
                    pi = policy[t, s]
                elif tau > 0:
                    scores = np.log(prior[t, s]) + q[t, s] / tau
                    pi = np.exp(scores - scores.max())
                    pi /= pi.sum()
                else:
                    pi = np.eye(size)[q[t, s].argmax()]
                chosen[t, s] = pi
                v[t, s] = pi @ q[t, s]
                if tau > 0:
                    played = pi > 0
                    v[t, s] -= tau * (pi[played] @ np.log(pi[played] / prior[t, s][played]))
        return chosen, q, v[:h]


@st.composite
def shapes(draw: st.DrawFn, *, stationary: bool = False) -> Shape:
    """Random shapes of games."""
    horizon = None if stationary else draw(st.integers(1, 4))
    discount = (
        draw(st.sampled_from([0.5, 0.9])) if stationary else draw(st.sampled_from([None, 0.8]))
    )
    return Shape(
        seed=draw(st.integers(0, 10_000)),
        states=draw(st.integers(1, 4)),
        sites=draw(st.sampled_from([(2,), (3,), (2, 2)])),
        horizon=horizon,
        discount=discount,
        moving=draw(st.booleans()),
        branching=draw(st.booleans()) and not stationary,
    )


def random_policy(table: vsg.MeanFieldTable, seed: int) -> torch.Tensor:
    """Rows drawn from the simplex, (H, S, A)."""
    rng = np.random.default_rng(seed)
    shape = (table.times, len(table.states))
    return torch.tensor(rng.dirichlet(np.ones(table.actions.size), size=shape))
