"""Plays of a game program by policy programs, many side by side, with gradients and any actions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from vsg_ppl import structure
from vsg_ppl.errors import GameError, telling
from vsg_ppl.game import Act, Game, Optimality, agents, call, discount, horizon, role, takes, title
from vsg_ppl.guides.supports import FirstStep, Support
from vsg_ppl.handlers.play import Policy, play
from vsg_ppl.simulate import FORGOTTEN
from vsg_ppl.unroll import decision

Values = Mapping[str, Tensor]
"""What an agent does in each of K plays, (K, ...), by site."""

Response = Callable[[Tensor, int], Values]
"""What an agent does where it sees (K, parts) at a time."""


class Rollout:
    """Plays of given policies, each drawn for itself; one agent may deviate.

    Everything is differentiable that the program lets be. Where chance or a policy draws from a
    law without reparameterised samples that depends on the response, the gradient of `score` is
    that of its log probability.

    Args:
        game: the game; its step must work on tensors with a leading dimension.
        policies: a program for each agent.
        steps: of a play; by default the horizon, or the fewest after which γ^T < 1e-3.

    Raises:
        GameError: an agent is unknown or has no policy, or looks at the others' actions.

    >>> from vsg_ppl.models import Differential
    >>> def five(agent):
    ...     return lambda state: pyro.sample(agent, dist.Delta(torch.tensor(5.0)))
    >>> rollout = Rollout(Differential(), {name: five(name) for name in ("first", "second")})
    >>> rollout.returns(plays=2)["first"]
    tensor([250., 250.], dtype=torch.float64)
    """

    def __init__(
        self, game: Game, policies: Mapping[str, Policy], steps: int | None = None
    ) -> None:
        self.game, self.agents, self.first = game, agents(game), FirstStep(game)
        for agent, policy in policies.items():
            if agent not in self.agents:
                self.first.of(agent)  # says who there is
            if not callable(policy):
                raise GameError(
                    f"the policy of '{agent}' is a {type(policy).__name__}",
                    hint=f"a program policy(state) with pyro.sample('{agent}', ...).",
                )
            if takes(policy, "seen"):
                raise GameError(
                    f"the policy of '{agent}' looks at the others' actions of the step",
                    hint="what is executed: its average over the opponent model.",
                )
        missing = [agent for agent in self.agents if agent not in policies]
        if missing:
            raise GameError(f"no policy is given for '{missing[0]}'")
        self.policies = {agent: _named(agent, policy) for agent, policy in policies.items()}
        self.timed = list(policies.values())
        self.gamma = discount(game)
        self.steps = length(game, steps)

    def returns(
        self,
        plays: int,
        agent: str | None = None,
        response: Response | None = None,
        *,
        paired: bool = False,
        steps: int | None = None,
    ) -> dict[str, Tensor]:
        """Σ_t γ^t r_t of each agent in each play, (K,); "" is the score, see `Rollout`.

        Args:
            plays: K.
            agent: who deviates.
            response: what it does instead of its policy; without one it acts by its prior.
            paired: run its policy nevertheless, so that chance draws the same random numbers.
            steps: fewer than all.
        """
        played = dict(self.policies)
        if agent is not None:
            played.pop(agent)
            if response is not None:
                before = self.policies[agent] if paired else None
                played[agent] = self.program(agent, response, before)
        total = {name: torch.zeros(plays, dtype=torch.float64) for name in self.agents}
        with (
            telling(f"`step` of {title(self.game)}"),
            SideBySide(plays, self.first) as run,
            play(played),
        ):
            state = self._wide(self.game.initial(), plays)
            for t in range(steps or self.steps):
                run.rewards = {}
                decision(state, t)
                state = self._wide(call(self.game.step, state, t=t), plays)
                for name, reward in run.rewards.items():
                    total[name] = total[name] + self.gamma**t * reward.double()
        return {**total, "": run.score}

    def visited(self, agent: str, plays: int) -> Tensor:
        """Different states of plays by the policies, and with the agent at random, (S, parts)."""
        found: list[Tensor] = []
        first = self.first

        class Look(Messenger):
            def _pyro_decision(self, msg: Any) -> None:
                found.append(first.inputs(msg["args"][0]).expand(plays, first.width))

        with Look(), torch.no_grad():
            self.returns(plays)
            self.returns(plays, agent)
        different: Tensor = torch.cat(found).unique(dim=0)
        return different

    def program(self, agent: str, response: Response, before: Policy | None = None) -> Policy:
        """A response as a policy program."""
        sites = self.first.supports[agent]

        def respond(state: Any, t: Any = None) -> None:
            if before is not None:
                call(before, state, t=t)
            seen = self.first.inputs(state)
            values = response(seen.reshape(-1, seen.shape[-1]), 0 if t is None else int(t))
            for name, site in sites.items():
                wide = values[name].reshape((*seen.shape[:-1], *site.shape))
                pyro.sample(name, dist.Delta(wide, event_dim=len(site.shape)))

        return respond

    def _wide(self, state: Any, plays: int) -> Any:
        """A state of K plays."""
        wide = []
        for leaf, shape in zip(structure.tensors(state), self.first.shapes, strict=False):
            if leaf.shape not in (shape, (plays, *shape)):
                raise GameError(
                    f"a part of the state has the shape {tuple(leaf.shape)} where {plays} plays "
                    f"run side by side, not {(plays, *shape)}"
                )
            wide.append(leaf.expand(plays, *shape))
        return structure.rebuild(state, wide)


class SideBySide(Messenger):
    """Draws what policies and chance draw for each of K plays, and collects the rewards.

    Attributes:
        rewards: by agent, (K,).
        score: log probabilities, (K,), of all draws with a gradient but no reparameterisation.
    """

    def __init__(self, plays: int, first: FirstStep) -> None:
        super().__init__()
        self.plays, self.first = plays, first
        self.rewards: dict[str, Tensor] = {}
        self.score = torch.zeros(plays, dtype=torch.float64)

    def _pyro_sample(self, msg: Any) -> None:
        msg["stop"] = True
        part = role(msg)
        if site_is_subsample(msg):
            return
        if isinstance(part, Optimality):
            paid = msg["fn"].log_factor
            if paid.shape not in ((), (1,), (self.plays,)):
                raise GameError(
                    f"the reward of '{part.agent}' has the shape {tuple(paid.shape)} where "
                    f"{self.plays} plays run side by side",
                    site=msg["name"],
                )
            self.rewards[part.agent] = self.rewards.get(part.agent, 0.0) + paid.expand(self.plays)
        elif not msg["is_observed"] and msg["fn"].batch_shape in ((), (1,)):
            msg["fn"] = msg["fn"].expand([self.plays])

    def _pyro_post_sample(self, msg: Any) -> None:
        part, law = role(msg), msg["fn"]
        if isinstance(part, Optimality) or msg["is_observed"] or site_is_subsample(msg):
            return
        if isinstance(part, Act):
            sites = self.first.supports[part.agent]
            if part.site in sites:
                self._check(part.agent, sites[part.site], msg["value"])
        if torch.is_grad_enabled() and not law.has_rsample:
            log = law.log_prob(msg["value"].detach())
            if log.requires_grad:
                self.score = self.score + log

    def _check(self, agent: str, site: Support, value: Tensor) -> None:
        wanted = (self.plays, *site.shape)
        if value.shape != wanted:
            raise GameError(
                f"the policy of '{agent}' gives actions of shape {tuple(value.shape)}; expected "
                f"{wanted}: {self.plays} plays side by side"
                + (f", {site.shape[0]} numbers each" if site.shape else ""),
                site=site.site,
            )
        value = value.detach().double()
        if site.kind == "finite":
            fits = (value >= 0) & (value < site.size)
        elif site.kind == "simplex":
            fits = (value >= 0).all(-1) & ((value.sum(-1) - 1).abs() < 1e-4)
        else:
            room = 1e-5 * (
                1 + torch.stack([site.low, site.high]).nan_to_num(posinf=0, neginf=0).abs()
            )
            flat = value.reshape(self.plays, -1)
            fits = ((flat >= site.low - room[0]) & (flat <= site.high + room[1])).all(-1)
        if not fits.all():
            bad = value[~fits][0].tolist()
            raise GameError(
                f"the policy of '{agent}' plays {bad}, where its prior does not lie", site=site.site
            )


def length(game: Game, steps: int | None) -> int:
    """Steps of a play: as asked, the horizon, or the fewest after which γ^T < 1e-3."""
    end, gamma = horizon(game), discount(game)
    if steps is None:
        if end is not None:
            return end
        return 1 if gamma < FORGOTTEN else math.ceil(math.log(FORGOTTEN) / math.log(gamma))
    if steps < 1 or (end is not None and steps > end):
        raise GameError(
            f"{steps} steps are asked for; {title(game)} has "
            + ("1 and more" if end is None else f"1 to {end}")
        )
    return steps


def _named(agent: str, policy: Policy) -> Policy:
    """The policy, whose errors say whose it is."""

    def named(state: Any, t: Any = None) -> None:
        with telling(f"the policy of '{agent}'"):
            call(policy, state, t=t)

    return named


def learnt(
    game: Game,
    agent: str,
    act: Callable[[Tensor], Tensor],
    stretch: Callable[[Tensor], Tensor],
    plays: int,
    experiment: int,
) -> Policy:
    """A learner's policy as a program.

    Args:
        game: the game.
        agent: whose policy it is.
        act: vectors (K, width) where the K experiments see (K, parts).
        stretch: from the vectors to values of the agent's site.
        plays: K.
        experiment: which one's policy.
    """
    first = FirstStep(game)
    [site] = first.of(agent).values()

    together = True

    def rows(seen: Tensor) -> Tensor:
        nonlocal together
        wide = seen.repeat_interleave(plays, 0)
        if together:
            with suppress(RuntimeError):
                done = act(wide)
                if len(done) == len(wide):
                    return done[experiment::plays]
            together = False  # it takes one row for each experiment and no more
        return torch.stack([act(part)[experiment] for part in wide.split(plays)])

    def policy(state: Any) -> None:
        seen = first.inputs(state)
        with torch.no_grad():
            done = rows(seen.reshape(-1, seen.shape[-1]).float())
        value = stretch(done).reshape((*seen.shape[:-1], *site.shape))
        pyro.sample(site.site, dist.Delta(value, event_dim=len(site.shape)))

    return policy
