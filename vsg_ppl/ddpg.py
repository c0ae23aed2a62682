"""Deterministic policy gradients: MADDPG, and independent agents."""

from __future__ import annotations

from typing import Unpack

import torch
from torch import Tensor

from vsg_ppl.game import Game
from vsg_ppl.guides.actions import Shape, Squash
from vsg_ppl.guides.networks import LEAK
from vsg_ppl.learner_networks import PENALTY, Networks
from vsg_ppl.learning import Learning
from vsg_ppl.replay import Replay
from vsg_ppl.settings import Options, Schedule, Settings, schedule
from vsg_ppl.team import Team
from vsg_ppl.training import train

NOISE = 0.1
"""σ of what is added to actions in (−1, 1) while agents learn."""


def maddpg(
    game: Game,
    *,
    noise: Schedule | float = NOISE,
    **options: Unpack[Options],
) -> Learning:
    """Let agents learn by MADDPG: policies of their own, critics of everybody's actions.

    With gamma above 0 the critic's target needs what the others would do next: agents then read
    the others' target policies. Of the methods here this is the one that peeks. With gamma 0
    learners are independent: they know the others' past actions, and nothing else.

    Source: R. Lowe, Y. Wu, A. Tamar, J. Harb, P. Abbeel and I. Mordatch (2017), "Multi-agent
    actor-critic for mixed cooperative-competitive environments", Eq. 5 and 6. The noise is normal,
    and agents of one play do not draw the same steps from their memories.

    Args:
        game: a program whose agents choose bounded numbers; it must run on tensors of many plays.
        noise: σ of exploration, by episode, in the range from −1 to 1, or of shares. It lowers the
            rewards that are counted (at the top of `Differential` by 200 σ², which is 2 for the
            default); a schedule as ``lambda episode: 0.1 * 0.98**episode`` lets it fade.
        options: `Settings`, as of `mai`.

    Returns:
        What was learnt: mean rewards by episode, and policies, without noise.

    Raises:
        GameError: as `mai`; negative noise.

    >>> from vsg_ppl.models import Differential
    >>> maddpg(Differential(), episodes=2, steps=5, plays=3).rewards.shape
    torch.Size([2, 3, 2])
    """
    scale, everyone = schedule("noise", noise, zero=True), Everyone()

    def make(team: Team, settings: Settings) -> _Agents:
        return _Agents(team, settings, scale, everyone)

    return train(game, "maddpg", make, options, also={"noise": scale})


def iddpg(
    game: Game,
    *,
    noise: Schedule | float = NOISE,
    **options: Unpack[Options],
) -> Learning:
    """Let independent agents learn by DDPG; to each the others are part of the world.

    Policy π(s) and critic Q(s, x) know the agent's own actions only.

    Source: T. Lillicrap et al. (2016), "Continuous control with deep reinforcement learning",
    Algorithm 1; with normal noise.

    Args:
        game: a program whose agents choose bounded numbers; it must run on tensors of many plays.
        noise: σ of exploration, by episode, in the range from −1 to 1, or of shares. It lowers the
            rewards that are counted (at the top of `Differential` by 200 σ², which is 2 for the
            default); a schedule as ``lambda episode: 0.1 * 0.98**episode`` lets it fade.
        options: `Settings`, as of `mai`.

    Returns:
        What was learnt: mean rewards by episode, and policies, without noise.

    Raises:
        GameError: as `mai`; negative noise.

    >>> from vsg_ppl.models import Differential
    >>> iddpg(Differential(), episodes=2, steps=5, plays=3).rewards.shape
    torch.Size([2, 3, 2])
    """
    scale = schedule("noise", noise, zero=True)

    def make(team: Team, settings: Settings) -> _Agents:
        return _Agents(team, settings, scale, None)

    return train(game, "iddpg", make, options, also={"noise": scale})


class Deterministic(Networks):
    """G agents with deterministic policies: what a network says is squashed to an action.

    Args:
        groups: G.
        seen: how many numbers it observes.
        own: shape of its action.
        others: how many numbers of the others' actions its critic knows; 0 for none.
        hidden: sizes of the hidden layers.
        learning_rate: of Adam, for both networks.
        leak: of rectifiers, their slope below zero.
        device: where networks are.

    >>> agents = Deterministic(3, 2, Shape("box", 1), 1, hidden=(8,), learning_rate=1e-2)
    >>> agents.act(torch.zeros(3, 5, 2)).shape
    torch.Size([3, 5, 1])
    """

    def __init__(
        self,
        groups: int,
        seen: int,
        own: Shape,
        others: int,
        *,
        hidden: tuple[int, ...],
        learning_rate: float,
        leak: float = LEAK,
        device: str = "cpu",
    ) -> None:
        sizes = {
            "policy": (seen, *hidden, own.free),
            "critic": (seen + own.width + others, *hidden, 1),
        }
        slow = {"target": "critic", "target policy": "policy"}
        super().__init__(groups, sizes, slow, learning_rate=learning_rate, leak=leak, device=device)
        self.own, self.squash = own, Squash([own])

    def start(self, mean: float, scale: float) -> None:
        """Let policies begin near an action, in (−1, 1). They have no σ."""
        network = self.networks["policy"]
        with torch.no_grad():
            network.weights[-1].mul_(0.01)
            network.biases[-1].fill_(torch.atanh(torch.tensor(mean)))
        self.copy()

    def act(self, seen: Tensor) -> Tensor:
        """Actions without noise, (G, B, width)."""
        with torch.no_grad():
            return self.squash(self.networks["policy"](seen))  # type: ignore[no-any-return]

    def next(self, seen: Tensor) -> Tensor:
        """Actions of the target policies, (G, B, width)."""
        with torch.no_grad():
            action: Tensor = self.networks["target policy"](seen)
            return self.squash(action)  # type: ignore[no-any-return]

    def policy_loss(self, seen: Tensor, *others: Tensor) -> Tensor:
        """−Q(s, π(s), o), o what the others did; averaged over draws, summed over learners."""
        before = self.networks["policy"](seen)
        penalty = PENALTY * (before**2).mean(-1)
        loss: Tensor = penalty - self.q(seen, self.squash(before), *others)
        return loss.sum() / seen.shape[1]


class Everyone:
    """All learners of a game, where those of MADDPG find the others' target policies."""

    def __init__(self) -> None:
        self.teams: list[tuple[Team, Deterministic]] = []

    def next(self, team: Team, seen: Tensor) -> Tensor:
        """What the others' target policies do, in the order of everyone, each by what it sees.

        Args:
            team: of those who ask.
            seen: by everyone, as the team remembers it, (G, B, parts of all).

        Returns:
            Actions, (G, B, others).
        """
        n, draws = len(team.agents), seen.shape[1]
        # each play's policies, on what every asking agent of that play has drawn
        drawn = seen.unflatten(0, (n, team.plays)).transpose(0, 1).flatten(1, 2)
        asked = dict(zip(team.everyone, drawn.split(list(team.sights.values()), -1), strict=True))
        found: dict[str, Tensor] = {}
        for other, learner in self.teams:
            actions = learner.next(torch.cat([asked[agent] for agent in other.agents]))
            actions = actions.view(len(other.agents), team.plays, n, draws, -1).transpose(1, 2)
            found.update(zip(other.agents, actions, strict=True))  # (n, K, B, D) of each
        rows = [
            torch.cat([found[other][i] for other in team.everyone if other != agent], -1)
            for i, agent in enumerate(team.agents)
        ]
        return torch.cat(rows)


class _Agents(Deterministic):
    """Learners with their noise, and with the others where they know them."""

    def __init__(
        self, team: Team, settings: Settings, noise: Schedule, everyone: Everyone | None
    ) -> None:
        super().__init__(
            team.groups,
            team.seen,
            team.own,
            sum(shape.width for shape in team.others) if everyone else 0,
            hidden=settings.hidden,
            learning_rate=settings.learning_rate,
            leak=settings.leak,
            device=team.device,
        )
        self.team, self.settings, self.noise, self.everyone = team, settings, noise, everyone
        self.keeps = ("all_next",) if everyone and settings.discount > 0 else ()
        if everyone:
            everyone.teams.append((team, self))

    def explore(self, seen: Tensor, episode: int) -> Tensor:
        """Actions with noise, (G, B, width)."""
        action = self.act(seen)
        return self.own.nearby(action + self.noise(episode) * torch.randn_like(action))

    def learn(self, memory: Replay, episode: int) -> None:
        """One step of critic and policy."""
        gamma = self.settings.discount
        drawn = memory.sample(self.settings.batch)
        seen, others = drawn["seen"], [drawn["other"]] if self.everyone else []
        wanted = drawn["reward"][..., 0]
        if gamma > 0:
            after = drawn["next"]
            theirs = [self.everyone.next(self.team, drawn["all_next"])] if self.everyone else []
            wanted = wanted + gamma * drawn["goes_on"][..., 0] * self._later(after, theirs)
        self.improve("critic", lambda: self.critic_loss(seen, drawn["own"], *others, wanted=wanted))
        self.improve("policy", lambda: self.policy_loss(seen, *others))
        if gamma > 0:
            self.follow(self.settings.follow)

    def _later(self, seen: Tensor, others: list[Tensor]) -> Tensor:
        """Q̄(s', π̄(s'), o'), (G, B)."""
        with torch.no_grad():
            return self.q(seen, self.next(seen), *others, target=True)
