"""Soft actor–critic by independent agents, to whom the others are part of the world."""

from __future__ import annotations

from typing import Unpack

from vsg_ppl.game import Game
from vsg_ppl.learning import Learning
from vsg_ppl.mai import Cooling
from vsg_ppl.mai_learner import Learner, Plan
from vsg_ppl.settings import Options, Schedule, Settings, schedule
from vsg_ppl.team import Team
from vsg_ppl.training import train


def sac(
    game: Game,
    *,
    temperature: Schedule | float | None = None,
    **options: Unpack[Options],
) -> Learning:
    """Let independent agents learn by soft actor–critic, without a model of the others.

    Policy π(x | s) and critic Q(s, x) know the agent's own actions only. The losses are the ELBOs
    of `mai` with nobody else in them.

    Source: T. Haarnoja, A. Zhou, P. Abbeel and S. Levine (2018), "Soft actor-critic", Eq. 3 for the
    value of the next step; with one critic, and with the temperature of `mai`, for comparison.

    Args:
        game: a program whose agents choose bounded numbers; it must run on tensors of many plays.
            Of priors only the bounds count.
        temperature: α, of the policy's entropy, by episode; `Cooling` by default.
        options: `Settings`, as of `mai`. With gamma above 0 the critic's target has
            γ (Q̄(s', x') − α log π(x' | s')), where π is counted against even play.

    Returns:
        What was learnt: mean rewards by episode, and policies.

    Raises:
        GameError: as `mai`.

    >>> from vsg_ppl.models import Differential
    >>> sac(Differential(), episodes=2, steps=5, plays=3).rewards.shape
    torch.Size([2, 3, 2])
    """
    alpha = schedule("temperature", Cooling() if temperature is None else temperature)

    def make(team: Team, settings: Settings) -> Learner:
        return Learner(
            team.groups,
            team.seen,
            team.own,
            (),
            hidden=settings.hidden,
            learning_rate=settings.learning_rate,
            leak=settings.leak,
            plan=Plan(settings, alpha, alpha, entropy=True),
            device=team.device,
        )

    return train(game, "sac", make, options, temperature=alpha, also={"temperature": alpha})
