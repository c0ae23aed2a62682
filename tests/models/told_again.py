"""The bundled mean-field games told again in plain numbers, state by state, for the tests."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch

FOUR_AND_STAY = ((1, 0), (-1, 0), (0, 1), (0, -1), (0, 0))
Step = tuple[float, dict[Any, float]]


@dataclass
class Told:
    """A mean-field game: labels of states, actions, initial law, and what a step does.

    ``amid(t, crowd)(state, action)`` is the reward and the law of the next state at time t amid a
    crowd of shares by (state, action). ``steps`` is the number of decisions, ``None`` if endless.
    """

    states: list[Any]
    actions: int
    steps: int | None
    initial: dict[Any, float]
    amid: Callable[[int, dict[tuple[Any, int], float]], Callable[[Any, int], Step]]
    ways: Callable[[Any], list[int]] | None = None  # the actions that are available

    def available(self, state):
        return range(self.actions) if self.ways is None else self.ways(state)


def told(game: Any) -> Told:
    """A bundled game, told again."""
    return TOLD[type(game).__name__](game)


def arrays(tale, t, joint):
    """Rewards (S, A) and transitions (S, A, S) amid the crowd joint, (S, A)."""
    numbers = {label: k for k, label in enumerate(tale.states)}
    crowd = {
        (label, a): float(joint[k, a])
        for k, label in enumerate(tale.states)
        for a in range(tale.actions)
    }
    step = tale.amid(t, crowd)
    rewards = np.zeros((len(numbers), tale.actions))
    transitions = np.zeros((len(numbers), tale.actions, len(numbers)))
    for label, k in numbers.items():
        for a in tale.available(label):
            rewards[k, a], law = step(label, a)
            for there, probability in law.items():
                transitions[k, a, numbers[there]] += probability
    return rewards, transitions


def uniform(tale):
    """The policy that takes each available action alike, (T, S, A)."""
    policy = np.zeros((len(tale.states), tale.actions))
    for k, label in enumerate(tale.states):
        policy[k, list(tale.available(label))] = 1 / len(tale.available(label))
    return np.repeat(policy[None], tale.steps, 0)


def initial(tale):
    return np.array([tale.initial.get(label, 0.0) for label in tale.states])


def exploitability(tale, policy):
    """max over replies of their value against the policy's crowd, minus the policy's own."""
    mu, rewards, transitions = initial(tale), [], []
    for t in range(tale.steps):
        pay, law = arrays(tale, t, mu[:, None] * policy[t])
        rewards.append(pay)
        transitions.append(law)
        mu = np.einsum("s,sa,sak->k", mu, policy[t], law)
    open_ = np.zeros(policy.shape[1:], bool)
    for k, label in enumerate(tale.states):
        open_[k, list(tale.available(label))] = True
    best = own = np.zeros(len(tale.states))
    for t in reversed(range(tale.steps)):
        best = np.where(open_, rewards[t] + transitions[t] @ best, -np.inf).max(1)
        own = (policy[t] * (rewards[t] + transitions[t] @ own)).sum(1)
    return float(initial(tale) @ (best - own))


def flow(tale, policy):
    """The crowd's law (T, S, A) when all follow a policy."""
    mu, joint = initial(tale), []
    for t in range(tale.steps):
        joint.append(mu[:, None] * policy[t])
        mu = np.einsum("sa,sak->k", joint[-1], arrays(tale, t, joint[-1])[1])
    return np.array(joint)


def shares(crowd):
    """The share of the crowd in each state."""
    mu = {}
    for (state, _), share in crowd.items():
        mu[state] = mu.get(state, 0.0) + share
    return mu


def alike(labels):
    labels = list(labels)
    return labels, {label: 1 / len(labels) for label in labels}


def gather(outcomes):
    """A law from (label, probability) pairs in which labels may repeat."""
    law = {}
    for label, probability in outcomes:
        law[label] = law.get(label, 0.0) + probability
    return law


def clip(x, low, high):
    return min(max(x, low), high)


# --- the games ---


def left_right(game):
    def amid(t, crowd):
        mu = shares(crowd)
        reward = {0: 0.0, 1: -mu[1], 2: -2 * mu[2]}
        return lambda s, a: (reward[s], {1 + a: 1.0})

    return Told([0, 1, 2], 2, game.horizon, {0: 1.0}, amid)


def rock_paper_scissors(game):
    def amid(t, crowd):
        mu = shares(crowd)
        reward = {
            0: 0.0,
            1: 2 * mu[3] - mu[2],
            2: 4 * mu[1] - 2 * mu[3],
            3: 6 * mu[2] - 3 * mu[1],
        }
        return lambda s, a: (reward[s], {1 + a: 1.0})

    return Told([0, 1, 2, 3], 3, game.horizon, {0: 1.0}, amid)


def beach_bar(game):
    n = game.places
    around = np.minimum(
        np.roll(np.arange(n), game.bar), np.roll(np.flip(np.arange(n)), game.bar + 1)
    )
    still, drift = game.still, (1 - game.still) / 2

    def amid(t, crowd):
        mu = shares(crowd)

        def step(s, a):
            reward = -around[s] - abs(a - 1) / n - np.log(mu[s] + game.floor)
            return reward, gather(
                (clip(s + a - 1 + e, 0, n - 1), p) for e, p in ((-1, drift), (0, still), (1, drift))
            )

        return step

    labels, law = alike(range(n))
    return Told(labels, 3, game.horizon, law, amid)


def susceptible_infected(game):
    def amid(t, crowd):
        mu = shares(crowd)

        def step(s, a):
            reward = {(0, 0): 0.0, (0, 1): -0.5, (1, 0): -1.0, (1, 1): -1.5}[s, a]
            if s == 1:
                ill = 1 - game.recovery
            elif a == 0:
                ill = game.contagion * mu[1]
            else:
                ill = 0.0
            return reward, {0: 1 - ill, 1: ill}

        return step

    return Told([0, 1], 2, game.horizon, {0: 1 - game.infected, 1: game.infected}, amid)


def linear_quadratic(game):
    reach, sigma, delta = game.reach, game.sigma, game.delta
    noise = [j * sigma for j in range(-3, 4)]
    weights = [np.exp(-(e**2) / 2) for e in noise]
    weights = [w / sum(weights) for w in weights]

    def amid(t, crowd):
        m = sum(x * share for x, share in shares(crowd).items())

        def step(x, a):
            u = a - game.steer
            reward = delta * (
                -(u**2) / 2 + game.reward_steer * u * (m - x) - game.cost_apart / 2 * (m - x) ** 2
            )
            if t == game.horizon - 1:
                reward = -game.cost_end / 2 * (m - x) ** 2
            there = [
                x + (game.pull * (m - x) + u) * delta + sigma * e * np.sqrt(delta) for e in noise
            ]  # Python rounds halves to even numbers too
            return reward, gather(
                (clip(round(float(y)), -reach, reach), w)
                for y, w in zip(there, weights, strict=True)
            )

        return step

    labels, law = alike(range(-reach, reach + 1))
    return Told(labels, 2 * game.steer + 1, game.horizon, law, amid)


def building_evacuation(game):
    floors, rows, columns = game.floors, game.rows, game.columns

    def amid(t, crowd):
        mu = shares(crowd)

        def step(s, a):
            f, r, c = s
            reward = -game.crowding * np.log(max(mu[s], game.floor)) + game.safe * (f == 0)
            if a == 0:
                r = min(r + 1, rows - 1)
            elif a == 1:
                r = max(r - 1, 0)
            elif a == 2:
                c = max(c - 1, 0)
            elif a == 3:
                c = min(c + 1, columns - 1)
            elif a == 4 and (r, c) == (0, 0):
                f = max(f - 1, 0)
            elif a == 5 and (r, c) == (rows - 1, columns - 1):
                f = min(f + 1, floors - 1)
            return reward, {(f, r, c): 1.0}

        return step

    labels, law = alike(product(range(floors), range(rows), range(columns)))
    return Told(labels, 6, game.horizon, law, amid)


def crowd_motion(game):
    rows, columns, path = game.rows, game.columns, bar_path(game)
    push = [(1 - game.still) / 4] * 4 + [game.still]

    def amid(t, crowd):
        mu, bar = shares(crowd), path[t]

        def step(s, a):
            far = abs(s[0] - bar[0]) + abs(s[1] - bar[1])
            reward = game.pull * (1 - far / (rows + columns)) - np.log(mu[s] + game.floor)
            i, j = s[0] + FOUR_AND_STAY[a][0], s[1] + FOUR_AND_STAY[a][1]
            return reward, gather(
                ((clip(i + di, 0, rows - 1), clip(j + dj, 0, columns - 1)), p)
                for (di, dj), p in zip(FOUR_AND_STAY, push, strict=True)
            )

        return step

    labels, law = alike(product(range(rows), range(columns)))
    return Told(labels, 5, game.horizon, law, amid)


def bar_path(game):
    """The bar's cells, by the definition's coins: those of torch's global generator."""
    bar, path = (game.rows // 2, game.columns // 2), []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(game.seed)
        for t in range(game.horizon):
            path.append(bar)
            if (t + 1) % game.every == 0:
                i = bar[0] + (-1, 1)[torch.randint(0, 2, size=(1,))]
                j = bar[1] + (-1, 1)[torch.randint(0, 2, size=(1,))]
                if 0 <= i < game.rows and 0 <= j < game.columns:
                    bar = i, j
    return path


def torus_crowd(game):
    n = game.size
    slips = [game.slip / 4] * 4 + [1 - game.slip]

    def amid(t, crowd):
        mu = shares(crowd)
        goal = n // 4 if t < game.horizon / 2 else 3 * n // 4

        def step(s, a):
            far = sum(min((x - goal) % n, (goal - x) % n) for x in s)
            reward = game.pull * (1 - far / n) - np.log(mu[s] + game.floor)
            i, j = s[0] + FOUR_AND_STAY[a][0], s[1] + FOUR_AND_STAY[a][1]
            return reward, gather(
                (((i + di) % n, (j + dj) % n), p)
                for (di, dj), p in zip(FOUR_AND_STAY, slips, strict=True)
            )

        return step

    labels, law = alike(product(range(n), range(n)))
    return Told(labels, 5, game.horizon, law, amid)


def braess(game):
    start, top, road, bottom, end = range(5)
    to_top, to_bottom, to_end = range(3)

    def amid(t, crowd):
        steps = {  # the delay of a road and where it leads
            (start, to_top): (crowd[start, to_top], top),
            (start, to_bottom): (1.0, road),
            (top, to_end): (1.0, end),
            (top, to_bottom): (0.0, bottom),
            (road, to_bottom): (0.0, bottom),
            (bottom, to_end): (crowd[bottom, to_end], end),
            (end, to_end): (0.0, end),
        }
        return lambda s, a: (-steps[s, a][0], {steps[s, a][1]: 1.0})

    ways = {
        start: [to_top, to_bottom],
        top: [to_bottom, to_end] if game.shortcut else [to_end],
        road: [to_bottom],
        bottom: [to_end],
        end: [to_end],
    }
    return Told(list(range(5)), 3, game.horizon, {start: 1.0}, amid, ways.get)


def malware(game):
    n = game.levels

    def amid(t, crowd):
        mean = sum(k / (n - 1) * share for k, share in shares(crowd).items())

        def step(k, a):
            reward = -(game.base + mean) * k / (n - 1) - game.cost * a
            return reward, {0: 1.0} if a else {j: 1 / (n - k) for j in range(k, n)}

        return step

    return Told(list(range(n)), 2, None, {0: 1.0}, amid)


def treasure_hunting(game):
    n = game.places

    def amid(t, crowd):
        apart = {
            s: sum((share - (who == (s, s))) ** 2 for who, share in crowd.items()) for s in range(n)
        }

        def step(s, a):
            if t == 0:
                return 0.0, {a: 1.0}
            k = game.cost * apart[s]
            law = {there: k / (1 + n * k) for there in range(n)}
            law[a] += 1 / (1 + n * k)
            return game.value * (1 - apart[s] / 2) if a == s else 0.0, law

        return step

    labels, law = alike(range(n))
    return Told(labels, n, game.horizon, law, amid)


def equilibrium_price(game):
    orders = game.most_ordered + 1
    c = (
        *(game.cost_made, game.cost_squared, game.cost_ordered),
        *(game.cost_lacking, game.cost_stored),
    )

    def amid(t, crowd):
        supply = sum(share * (a // orders) for (_, a), share in crowd.items()) + game.others
        price = (game.demand / supply) ** (1 / game.elasticity)

        def step(s, a):
            q, h = divmod(a, orders)
            reward = (price - c[0]) * q - c[1] * q**2 - c[2] * h
            reward -= (c[2] + c[3]) * max(q - s, 0) + c[4] * s
            return reward, {min(s - min(q, s) + h, game.store): 1.0}

        return step

    labels, law = alike(range(game.store + 1))
    return Told(labels, (game.most_made + 1) * orders, game.horizon, law, amid)


def random_linear(game):
    n, m = game.size, game.scale
    with torch.random.fork_rng(devices=[]):  # rewards first, by torch's global generator
        torch.manual_seed(game.seed)
        r1, r2 = ((2 * m * torch.rand(n, n) - m).double().numpy() for _ in range(2))
        p1, p2 = ((2 * m * torch.rand(n, n, n) - m).double().numpy() for _ in range(2))

    def amid(t, crowd):
        joint = np.array([[crowd[s, a] for a in range(n)] for s in range(n)])
        rewards = r1 @ joint + r2
        weights = np.exp(p1 @ joint + p2)  # by next state, state, action
        law = weights / weights.sum(0)
        return lambda s, a: (rewards[s, a], dict(enumerate(law[:, s, a])))

    labels, law = alike(range(n))
    return Told(labels, n, game.horizon, law, amid)


TOLD = {
    "BeachBar": beach_bar,
    "Braess": braess,
    "BuildingEvacuation": building_evacuation,
    "CrowdMotion": crowd_motion,
    "EquilibriumPrice": equilibrium_price,
    "LeftRight": left_right,
    "LinearQuadratic": linear_quadratic,
    "Malware": malware,
    "RandomLinear": random_linear,
    "RockPaperScissorsCrowd": rock_paper_scissors,
    "SusceptibleInfected": susceptible_infected,
    "TorusCrowd": torus_crowd,
    "TreasureHunting": treasure_hunting,
}
