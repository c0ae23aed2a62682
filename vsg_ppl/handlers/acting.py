"""Run one step of a game with given actions."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor

from vsg_ppl.action_spaces import Choice, Site, available
from vsg_ppl.errors import GameError
from vsg_ppl.game import Act, Optimality, Signal, role


class Enough(BaseException):
    """All that was looked for in a step was seen; not an error that a program may catch."""


class ActingMessenger(Messenger):
    """Plays given actions and signals in one run of a step of one play, and notes the rest.

    Args:
        agents: of the game.
        sites: all action sites by name; none if they are not known yet.
        given: values of action sites; the priors draw the others.
        signals: values of public signals.
        until: names of actions and signals; the run ends by `Enough` once all were seen.
        illegal: "raise" for an error where a given action is not available, or "prior", which then
            draws another.

    Attributes:
        laws: priors of the action sites, by name.
        acts: what is known of each action site, and its value.
        signals: values of the public signals.
        rewards: by agent.

    >>> import pyro.distributions as dist, vsg_ppl as vsg
    >>> def step():
    ...     row = vsg.act("row", dist.Categorical(torch.ones(3)))
    ...     vsg.optimality("row", 10 * row)
    ...     vsg.optimality("row", 1.0)
    >>> with ActingMessenger(("row",), {"row": Choice("row", 3)}, {"row": torch.tensor(2)}) as run:
    ...     step()
    >>> run.rewards
    {'row': 21.0}
    """

    def __init__(
        self,
        agents: Collection[str],
        sites: Mapping[str, Site],
        given: Mapping[str, Tensor],
        signals: Mapping[str, Tensor] | None = None,
        until: set[str] | None = None,
        illegal: str = "raise",
    ) -> None:
        super().__init__()
        self.agents, self.sites, self.given = agents, sites, given
        self.fixed, self.until, self.illegal = signals or {}, until, illegal
        self.laws: dict[str, Any] = {}
        self.acts: dict[str, tuple[Act, Tensor]] = {}
        self.signals: dict[str, Tensor] = {}
        self.rewards: dict[str, float] = {}

    def _pyro_sample(self, msg: Any) -> None:
        part, name = role(msg), msg["name"]
        if isinstance(part, Act):
            if self.sites and name not in self.sites:
                raise GameError(
                    "this action was not there when the environment was made",
                    site=name,
                    hint="let every agent have the same action sites whenever it acts.",
                )
            self.laws[name] = msg["fn"]
            if name in self.given and self._allows(part, msg["fn"], self.given[name]):
                msg["value"], msg["done"] = self.given[name].to(_device(msg["fn"])), True
        elif isinstance(part, Signal) and name in self.fixed:
            msg["value"], msg["done"] = self.fixed[name], True

    def _pyro_post_sample(self, msg: Any) -> None:
        part = role(msg)
        if isinstance(part, Act):
            self.acts[msg["name"]] = part, msg["value"]
        elif isinstance(part, Signal):
            self.signals[msg["name"]] = msg["value"]
        elif isinstance(part, Optimality):
            paid = self._reward(part.agent, msg)
            self.rewards[part.agent] = self.rewards.get(part.agent, 0.0) + paid
        if self.until is not None and self.until <= self.laws.keys() | self.signals.keys():
            raise Enough

    def _allows(self, part: Act, fn: Any, value: Tensor) -> bool:
        """Whether the action is available; if not, the prior draws another, or it is an error."""
        site = self.sites[part.site]
        if isinstance(site, Choice):
            free = available(fn)
            number = int(value) - site.lower
            good = number < len(free) and bool(free[number])
        else:
            good = site.simplex or bool(fn.support.check(value))
        if not good and self.illegal == "raise":
            raise GameError(
                f"'{part.agent}' chooses {site.words(value)}, which is not available now",
                site=part.site,
                hint="what infos[agent]['action_mask'] allows, or to_pettingzoo(..., "
                "illegal='prior').",
            )
        return good

    def _reward(self, agent: str, msg: Any) -> float:
        reward = msg["fn"].log_factor * msg["scale"]
        if msg["mask"] is not None:
            reward = torch.where(torch.as_tensor(msg["mask"]), reward, 0.0)
        if agent not in self.agents:
            raise GameError(f"'{agent}' is paid but is not among the agents", site=msg["name"])
        if reward.numel() != 1 or not torch.isfinite(reward).all():
            shown = reward.tolist() if reward.numel() < 5 else f"of shape {tuple(reward.shape)}"
            raise GameError(
                f"the reward of '{agent}' is {shown}, not a finite number", site=msg["name"]
            )
        return float(reward)


def _device(fn: Any) -> torch.device:
    """Where a law draws its values."""
    for name in fn.arg_constraints:
        value = getattr(fn, name, None)
        if isinstance(value, Tensor):
            return value.device
    return torch.device("cpu")


acting = ActingMessenger
