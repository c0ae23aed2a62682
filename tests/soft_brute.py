"""An oracle of soft behaviour for the tests: dense NumPy arrays, plain loops over joint actions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import torch

import vsg_ppl as vsg
from vsg_ppl.table import Table


@dataclass
class Dense:
    """A game as full arrays; H = 1 where nothing depends on time."""

    rewards: list[np.ndarray]  # (H, S, A_1, ..., A_N) of each agent
    chances: np.ndarray  # (H, S, A_1, ..., A_N, S)
    priors: list[np.ndarray]  # (H, S, A_i) of each agent
    discount: float
    horizon: int | None

    @property
    def sizes(self) -> tuple[int, ...]:
        return self.rewards[0].shape[2:]

    def table(self) -> Table:
        """The same game as the library's table."""
        first = vsg.from_arrays(
            torch.tensor(np.stack([reward[0] for reward in self.rewards])),
            torch.tensor(self.chances[0]),
            discount=self.discount,
            horizon=self.horizon,
        )
        return replace(
            first,
            rewards=tuple(torch.tensor(reward)[None] for reward in self.rewards),
            probabilities=torch.tensor(self.chances)[None],
            log_priors=tuple(torch.tensor(prior)[None].log() for prior in self.priors),
        )


def random_dense(
    seed: int,
    sizes: tuple[int, ...],
    states: int,
    horizon: int | None,
    *,
    timed: bool = False,
    zeros: bool = False,
    discount: float = 0.6,
) -> Dense:
    """A random game; with ``zeros``, the first agent's first action is not available at once."""
    rng = np.random.default_rng(seed)
    h = horizon if timed and horizon is not None else 1
    priors = [rng.dirichlet(np.ones(size), (h, states)) for size in sizes]
    if zeros:
        priors[0][:, 0, 0] = 0.0
        priors[0] /= priors[0].sum(-1, keepdims=True)
    return Dense(
        [rng.normal(size=(h, states, *sizes)) for _ in sizes],
        rng.dirichlet(np.ones(states), (h, states, *sizes)),
        priors,
        discount,
        horizon,
    )


def random_laws(dense: Dense, seed: int) -> list[np.ndarray]:
    """A random policy of each agent that plays what is available, (H, S, A_i)."""
    rng = np.random.default_rng(1000 + seed)
    laws = [prior * rng.uniform(0.2, 1.0, prior.shape) for prior in dense.priors]
    return [law / law.sum(-1, keepdims=True) for law in laws]


def action_values(
    dense: Dense, laws: Sequence[np.ndarray], agent: int, t: int, ahead: np.ndarray
) -> np.ndarray:
    """E over the others of r + γ E V(s'), (S, A_i), one joint action at a time."""
    rewards, chances = _now(dense.rewards[agent], t), _now(dense.chances, t)
    q = np.zeros((rewards.shape[0], dense.sizes[agent]))
    for s in range(len(q)):
        for joint in product(*map(range, dense.sizes)):
            weight = 1.0
            for j, action in enumerate(joint):
                if j != agent:
                    weight *= _now(laws[j], t)[s, action]
            later = dense.discount * (chances[(s, *joint)] @ ahead)
            q[s, joint[agent]] += weight * (rewards[(s, *joint)] + later)
    return q


def soft_policy(
    dense: Dense, laws: Sequence[np.ndarray], agent: int, tau: float
) -> tuple[np.ndarray, np.ndarray]:
    """log ρ* (H, S, A) and its value (H, S): backward induction, or value iteration to the end."""

    def backup(t: int, ahead: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        q = action_values(dense, laws, agent, t, ahead) / tau
        prior = _now(dense.priors[agent], t)
        top = np.where(prior > 0, q, -np.inf).max(-1, keepdims=True)
        value = np.log((prior * np.exp(q - top)).sum(-1, keepdims=True)) + top
        with np.errstate(divide="ignore"):
            return np.log(prior) + q - value, tau * value[:, 0]

    nothing = np.zeros(len(dense.chances[0]))
    if dense.horizon is not None:
        logs, values = [], [nothing]
        for t in reversed(range(dense.horizon)):
            log, value = backup(t, values[-1])
            logs.append(log)
            values.append(value)
        return np.stack(logs[::-1]), np.stack(values[:0:-1])
    ahead = nothing
    for _ in range(2000):
        log, value = backup(0, ahead)
        if np.abs(value - ahead).max() < 1e-15 * (1 + np.abs(value).max()):
            break
        ahead = value
    return log[None], value[None]


def log_likelihood(counts: np.ndarray, log: np.ndarray) -> float:
    """Σ n log ρ over what was seen."""
    return float(sum(n * log[place] for place, n in np.ndenumerate(counts) if n > 0))


def central(function: Any, x: np.ndarray, place: tuple[int, ...], step: float = 1e-5) -> Any:
    """The derivative by one entry of an array, by a fourth-order central difference."""

    def at(k: int) -> Any:
        moved = x.copy()
        moved[place] += k * step
        return np.asarray(function(moved))

    return (8 * (at(1) - at(-1)) - (at(2) - at(-2))) / (12 * step)


def _now(x: np.ndarray, t: int) -> np.ndarray:
    return x[t if len(x) > 1 else 0]
