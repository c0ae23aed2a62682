"""Multi-agent soft Q-learning: everybody's actions sampled together, one's own played."""

from __future__ import annotations

from collections.abc import Sequence
from math import log
from typing import Unpack

import torch
from torch import Tensor

from vsg_ppl.errors import GameError
from vsg_ppl.game import Game
from vsg_ppl.guides.actions import Shape, Squash
from vsg_ppl.guides.networks import LEAK
from vsg_ppl.learner_networks import Networks
from vsg_ppl.learning import Learning
from vsg_ppl.mai import Cooling
from vsg_ppl.replay import Replay
from vsg_ppl.settings import Options, Schedule, Settings, schedule
from vsg_ppl.team import Team
from vsg_ppl.training import train

PARTICLES = 16
"""Joint actions that say where to go, as many that are moved, and as many for the soft value."""


def masql(
    game: Game,
    *,
    temperature: Schedule | float | None = None,
    particles: int = PARTICLES,
    **options: Unpack[Options],
) -> Learning:
    """Let independent agents learn by multi-agent soft Q-learning.

    Every agent has a critic Q(s, x, o) of its own and the others' actions, and a sampler
    (x, o) = f(s, ξ), ξ ~ N(0, I), of exp(Q / α), by amortised Stein variational gradients. It plays
    x and drops o, as if the others drew with it.

    Source: E. Wei, D. Wicke, D. Freelan and S. Luke (2018), "Multiagent soft Q-learning", after
    T. Haarnoja, H. Tang, P. Abbeel and S. Levine (2017), "Reinforcement learning with deep
    energy-based policies". As there, but for α, which falls here as that of `mai` does, and for
    kernels, which are taken before the tanh: there the density of actions has no edge.

    Args:
        game: a program whose agents choose bounded numbers; it must run on tensors of many plays.
        temperature: α by episode; `Cooling` by default. The source has a number.
        particles: of the Stein gradient, fixed and moved, and of the soft value, each.
        options: `Settings`, as of `mai`. With gamma above 0 the critic's target has the soft value
            α log E exp(Q̄(s', ·) / α) over even play.

    Returns:
        What was learnt: mean rewards by episode, and policies.

    Raises:
        GameError: as `mai`; fewer than two particles.

    >>> from vsg_ppl.models import Differential
    >>> masql(Differential(), episodes=2, steps=5, plays=3).rewards.shape
    torch.Size([2, 3, 2])
    """
    if particles < 2:
        raise GameError(f"{particles} particles; at least 2 are needed to keep apart")
    alpha = schedule("temperature", Cooling() if temperature is None else temperature)

    def make(team: Team, settings: Settings) -> _Agents:
        return _Agents(team, settings, alpha, particles)

    also = {"temperature": alpha, "particles": particles}
    return train(game, "masql", make, options, temperature=alpha, also=also)


def stein(fixed: Tensor, slope: Tensor, moved: Tensor) -> Tensor:
    """Where the Stein variational gradient sends particles.

    φ(u) = mean over fixed v of [ k(v, u) ∇ log p(v) + ∇_v k(v, u) ], with
    k(v, u) = exp(−|v − u|² / h) and h = median |v − u|² / log(n + 1).

    Source: Q. Liu and D. Wang (2016), "Stein variational gradient descent", Eq. 8 and section 5.

    Args:
        fixed: v, (..., n, D).
        slope: ∇ log p(v), (..., n, D).
        moved: u, (..., m, D).

    Returns:
        φ(u), (..., m, D).

    >>> stein(torch.zeros(1, 1), torch.ones(1, 1), torch.zeros(1, 1))
    tensor([[1.]])
    """
    square = ((fixed.unsqueeze(-2) - moved.unsqueeze(-3)) ** 2).sum(-1)  # (..., n, m)
    width = square.flatten(-2).median(-1).values / log(fixed.shape[-2] + 1)
    width = width.clamp(min=1e-6)[..., None, None]
    kernel = (-square / width).exp().mT
    push = kernel @ fixed - kernel.sum(-1, keepdim=True) * moved
    return (kernel @ slope - 2 / width * push) / fixed.shape[-2]


class Sampler(Networks):
    """G agents that sample everybody's actions.

    Args:
        groups: G.
        seen: how many numbers it observes.
        own: shape of its action.
        others: shapes of the others' actions.
        hidden: sizes of the hidden layers.
        learning_rate: of Adam, for both networks.
        leak: of rectifiers, their slope below zero.
        particles: of the Stein gradient, fixed and moved, each.
        device: where networks are.

    >>> one = Shape("box", 1)
    >>> agents = Sampler(3, 2, one, [one], hidden=(8,), learning_rate=1e-2)
    >>> agents.draw(torch.zeros(3, 5, 2)).shape, agents.act(torch.zeros(3, 5, 2)).shape
    (torch.Size([3, 5, 2]), torch.Size([3, 5, 1]))
    """

    def __init__(
        self,
        groups: int,
        seen: int,
        own: Shape,
        others: Sequence[Shape],
        *,
        hidden: tuple[int, ...],
        learning_rate: float,
        particles: int = PARTICLES,
        leak: float = LEAK,
        device: str = "cpu",
    ) -> None:
        self.own, self.shapes, self.particles = own, (own, *others), particles
        self.squash = Squash(self.shapes)
        self.free = sum(shape.free for shape in self.shapes)
        width = sum(shape.width for shape in self.shapes)
        sizes = {
            "sampler": (seen + self.free, *hidden, self.free),
            "critic": (seen + width, *hidden, 1),
        }
        slow = {"target": "critic"}
        super().__init__(groups, sizes, slow, learning_rate=learning_rate, leak=leak, device=device)

    def start(self, mean: float, scale: float) -> None:
        """Let joint actions begin near one, in (−1, 1), where parts of the state are 0."""
        network = self.networks["sampler"]
        groups, inputs = network.weights[0].shape[:2]
        seen = torch.zeros(groups, 1000, inputs - self.free, device=network.weights[0].device)
        with torch.no_grad():
            drawn = self.draw(seen)
            shrink = scale / drawn.std(1, keepdim=True)
            network.weights[-1].mul_(shrink)
            middle = (drawn * shrink).mean(1, keepdim=True)
            network.biases[-1].copy_(torch.tensor(mean).atanh() - middle)

    def draw(self, seen: Tensor) -> Tensor:
        """Joint actions before they are squashed, own ones first, (G, B, free)."""
        noise = torch.randn(*seen.shape[:2], self.free, device=seen.device)
        drawn: Tensor = self.networks["sampler"](torch.cat([seen, noise], -1))
        return drawn

    def act(self, seen: Tensor) -> Tensor:
        """The own part of joint actions, (G, B, width)."""
        with torch.no_grad():
            joint: Tensor = self.squash(self.draw(seen))
        return joint[..., : self.own.width]

    def explore(self, seen: Tensor, episode: int) -> Tensor:
        """The same: they are random enough."""
        return self.act(seen)

    def slope(self, seen: Tensor, before: Tensor, temperature: float) -> Tensor:
        """∇ log p of what is squashed to joint actions, p ∝ exp(Q / α) of them, (G, B, free)."""
        before = before.detach().requires_grad_()
        with torch.enable_grad():
            joint = self.squash(before)
            density = self.squash.log_abs_det_jacobian(before, joint)
            value = self.q(seen, joint) / temperature + density
            (slope,) = torch.autograd.grad(value.sum(), before)
        return slope

    def sampler_loss(self, seen: Tensor, temperature: float) -> Tensor:
        """Its gradient is −φ · ∂f, averaged over draws and summed over learners."""
        groups, draws = seen.shape[:2]
        n = self.particles
        wide, shape = seen.repeat_interleave(n, 1), (groups, draws, n, self.free)
        with torch.no_grad():
            fixed = self.draw(wide)
        moved = self.draw(wide)
        slope = self.slope(wide, fixed, temperature)
        way = stein(fixed.view(shape), slope.view(shape), moved.detach().view(shape))
        return -(way.view(moved.shape) * moved).sum() / (draws * n)

    def soft_value(self, seen: Tensor, temperature: float) -> Tensor:
        """α log E exp(Q̄(s, ·) / α) over even play, by draws, (G, B)."""
        groups, draws = seen.shape[:2]
        n = self.particles
        with torch.no_grad():
            even = [shape.even(groups, draws * n) for shape in self.shapes]
            joint = torch.cat(even, -1).to(seen.device)
            value = self.q(seen.repeat_interleave(n, 1), joint, target=True)
            value = value.reshape(groups, draws, n) / temperature
            return temperature * (value.logsumexp(-1) - log(n))


class _Agents(Sampler):
    """Learners with their schedule."""

    def __init__(self, team: Team, settings: Settings, alpha: Schedule, particles: int) -> None:
        super().__init__(
            team.groups,
            team.seen,
            team.own,
            team.others,
            hidden=settings.hidden,
            learning_rate=settings.learning_rate,
            leak=settings.leak,
            particles=particles,
            device=team.device,
        )
        self.settings, self.alpha = settings, alpha

    def learn(self, memory: Replay, episode: int) -> None:
        """One step of the critic and of the sampler."""
        alpha, gamma = self.alpha(episode), self.settings.discount
        drawn = memory.sample(self.settings.batch)
        seen, actions, wanted = (
            drawn["seen"],
            (drawn["own"], drawn["other"]),
            drawn["reward"][..., 0],
        )
        if gamma > 0:
            later = self.soft_value(drawn["next"], alpha)
            wanted = wanted + gamma * drawn["goes_on"][..., 0] * later
        self.improve("critic", lambda: self.critic_loss(seen, *actions, wanted=wanted))
        self.improve("sampler", lambda: self.sampler_loss(seen, alpha))
        if gamma > 0:
            self.follow(self.settings.follow)
