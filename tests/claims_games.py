"""Games by the thousand for the audit, and what policies are worth in them, by plain arithmetic.

τ is 1, as in the paper: rewards of size R stand for rewards of size 1 at τ = 1 / R.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

import vsg_ppl as vsg

COUNT = 1000


def tensor(x) -> Tensor:
    return torch.as_tensor(x, dtype=torch.float64)


@dataclass(frozen=True)
class Finding:
    """One row of the audit's table, and the numbers behind it."""

    claim: str
    verdict: str
    evidence: str
    numbers: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Games:
    """B discounted games: rewards (B, N, S, A_1..A_N) and chances (B, S, A_1..A_N, S)."""

    rewards: Tensor
    chances: Tensor
    discount: float

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        return tuple(self.rewards.shape[3:])

    @property
    def agents(self) -> int:
        return len(self.sizes)

    @property
    def states(self) -> int:
        return self.rewards.shape[2]

    def table(self, **options):
        """The same games for the library."""
        options.setdefault("discount", self.discount)
        return vsg.from_arrays(self.rewards, self.chances, batched=True, **options)


def random_games(seed, sizes=(2, 3), states=2, discount=0.8, size=1.0, count=COUNT, team=False):
    """Rewards even in [-size, size], next states from a Dirichlet law; a team shares its reward."""
    random = np.random.default_rng(seed)
    rewards = random.uniform(-1, 1, (count, 1 if team else len(sizes), states, *sizes))
    rewards = tensor(rewards).expand(count, len(sizes), states, *sizes)
    chances = tensor(random.dirichlet(np.full(states, 0.5), (count, states, *sizes)))
    scale = tensor(size).reshape(-1, *[1] * (rewards.ndim - 1))
    return Games(rewards * scale, chances, discount)


def sizes_of_rewards(seed, low=-1.0, high=2.0, count=COUNT):
    """From 10^low to 10^high, evenly in the exponent: temperatures from 1/10^low to 1/10^high."""
    return tensor(10 ** np.random.default_rng(seed).uniform(low, high, count))


def random_logits(seed, *shape, scale=1.5):
    return scale * tensor(np.random.default_rng(seed).standard_normal(shape))


def random_policies(seed, games, scale=1.5):
    count = len(games.rewards)
    return [
        random_logits((seed, i), count, games.states, size, scale=scale).softmax(-1)
        for i, size in enumerate(games.sizes)
    ]


def average(x, policies, keep=()):
    """Over all agents' actions but those to keep; x is (B, S, A_1..A_N, ...)."""
    n = len(policies)
    gone = [j for j in range(n) if j not in keep]
    trailing = x.ndim - 2 - n
    for j in gone:
        policy = policies[j]
        shape = (*policy.shape[:2], *[1] * j, -1, *[1] * (n - 1 - j + trailing))
        x = (x * policy.reshape(shape)).sum(2 + j, keepdim=True)
    return x.squeeze([2 + j for j in gone])


def entropy(policy):
    return -torch.special.xlogy(policy, policy).sum(-1)


def divergence(p, q):
    return (torch.special.xlogy(p, p) - torch.special.xlogy(p, q)).sum(-1)


def worth(law, stream, discount):
    """V = stream + γ law V, for laws (B, S, S) and streams (B, S)."""
    eye = torch.eye(law.shape[-1], dtype=law.dtype)
    return torch.linalg.solve(eye - discount * law, stream[..., None])[..., 0]


def visits(law, start, discount):
    """Σ_t γ^t P(s_t = s) for a law (B, S, S) and a start (B, S)."""
    return worth(law.mT, start, discount)


def values(games, policies, pays="own"):
    """Each agent's value by state, (B, N, S); ``pays`` whose entropy: own, joint or none."""
    law = average(games.chances, policies)
    entropies = torch.stack([entropy(policy) for policy in policies], 1)
    out = []
    for i in range(games.agents):
        stream = average(games.rewards[:, i], policies)
        if pays == "own":
            stream = stream + entropies[:, i]
        elif pays == "joint":
            stream = stream + entropies.sum(1)
        out.append(worth(law, stream, games.discount))
    return torch.stack(out, 1)


def facing(games, policies, i):
    """The decision problem of agent i: rewards (B, S, A) and chances (B, S, A, S)."""
    return (
        average(games.rewards[:, i], policies, (i,)),
        average(games.chances, policies, (i,)),
    )


def action_values(games, policies, value, i):
    """E_{a^{-i}}[ r^i + γ E V(s') ], (B, S, A_i)."""
    reward, chances = facing(games, policies, i)
    return reward + games.discount * (chances @ value[:, None, :, None])[..., 0]


def best_value(reward, chances, discount):
    """Max value of decision problems, by policy iteration."""
    choice = reward.argmax(-1)
    while True:
        picked = torch.nn.functional.one_hot(choice, reward.shape[-1]).to(reward)
        law = (chances * picked[..., None]).sum(2)
        value = worth(law, (reward * picked).sum(-1), discount)
        q = reward + discount * (chances @ value[:, None, :, None])[..., 0]
        better = q.amax(-1) > (q * picked).sum(-1) + 1e-12 * (1 + q.abs().amax(-1))
        if not bool(better.any()):
            return value
        choice = torch.where(better, q.argmax(-1), choice)


def soft_best(reward, chances, discount, steps=60):
    """The policy with the largest value plus entropy, and that value, by soft policy iteration."""
    policy = torch.full_like(reward, 1 / reward.shape[-1])
    for _ in range(steps):
        law = (chances * policy[..., None]).sum(2)
        value = worth(law, (reward * policy).sum(-1) + entropy(policy), discount)
        q = reward + discount * (chances @ value[:, None, :, None])[..., 0]
        new = q.softmax(-1)
        if float((new - policy).abs().max()) < 1e-14:
            break
        policy = new
    return policy, value


def nash_gap(games, policies):
    """The most that an agent gains by deviating, from its worst state: (B,)."""
    now = values(games, policies, "none")
    gains = [
        (best_value(*facing(games, policies, i), games.discount) - now[:, i]).amax(-1)
        for i in range(games.agents)
    ]
    return torch.stack(gains).amax(0)


def layered(games, steps):
    """The same number of states, as many at each of so many steps, after which nothing comes."""
    step = torch.arange(games.states) * steps // games.states
    onward = (step[:, None] + 1 == step).double()
    shape = (games.states, *[1] * games.agents, games.states)
    chances = games.chances * onward.reshape(shape)
    chances = chances / chances.sum(-1, keepdim=True).clamp_min(1e-300)
    return Games(games.rewards, chances, 1.0)


def planted(
    seed, sizes=(2, 3), states=2, discount=0.8, scale=1.5, count=COUNT, steps=None, pays="own"
):
    """Games in which given policies are a joint fixed point: an own-action term makes them so.

    V is drawn at random; then r^i + γ E V is moved by a term in (s, a^i) until it averages to
    V + log π^i, which is what a fixed point is.
    """
    games = random_games((seed, 1), sizes, states, discount, count=count)
    if steps is not None:
        games = layered(games, steps)
    policies = random_policies((seed, 2), games, scale)
    rewards = []
    for i in range(len(sizes)):
        value = random_logits((seed, 3, i), count, states, scale=3.0)
        free = sum(entropy(p) for j, p in enumerate(policies) if j != i and pays == "joint")
        off = policies[i].log() - action_values(games, policies, value, i)
        off = off + torch.as_tensor(value - free)[..., None]
        shape = (count, states, *[1] * i, sizes[i], *[1] * (len(sizes) - 1 - i))
        rewards.append(games.rewards[:, i] + off.reshape(shape))
    return Games(torch.stack(rewards, 1), games.chances, games.discount), policies


def one_shot(*rewards):
    """One game of one step, from matrices."""
    stacked = torch.stack([tensor(reward) for reward in rewards])[None, :, None]
    return Games(stacked, torch.ones(*stacked.shape[:1], *stacked.shape[2:], 1).double(), 0.0)


def two(x) -> str:
    """Two significant digits."""
    return f"{float(x):.2g}"


def share(which) -> str:
    return f"{int(which.sum()):,} of {which.numel():,}"
