"""Run a step of many plays at once with given actions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from vsg_ppl.errors import GameError
from vsg_ppl.game import Act, Optimality, role


class SteerMessenger(Messenger):
    """Action sites take given values, chance is drawn for each play, and rewards are collected.

    Nothing is seen outside. Laws that do not depend on the play are drawn once for each.

    Args:
        plays: K, the number of plays.
        actions: a value for each action site by name, (K,) or (K, ...) for vectors.
        look: is shown who acts, and by which prior.

    Raises:
        GameError: a site without an action, or a reward that is not one number for each play.

    >>> import torch
    >>> from vsg_ppl.models import Differential
    >>> game, at = Differential(), {"first": torch.tensor([5.0, 4.0])}
    >>> with SteerMessenger(2, {**at, "second": torch.tensor([5.0, 5.0])}) as steered:
    ...     _ = game.step(game.initial())
    >>> steered.rewards["first"]
    tensor([10.,  9.])
    """

    def __init__(
        self,
        plays: int,
        actions: Mapping[str, Tensor] | None = None,
        look: Callable[[Act, Any], None] | None = None,
    ) -> None:
        super().__init__()
        self.plays, self.actions, self.look = plays, actions or {}, look
        self.rewards: dict[str, Tensor] = {}

    def _pyro_sample(self, msg: Any) -> None:
        msg["stop"] = True  # the plays are nobody else's business
        part = role(msg)
        if site_is_subsample(msg):
            return
        if isinstance(part, Optimality):
            reward = msg["fn"].log_factor
            if reward.shape not in ((), (1,), (self.plays,)):
                raise GameError(
                    f"the reward of '{part.agent}' has the shape {tuple(reward.shape)} where "
                    f"{self.plays} plays run side by side",
                    site=msg["name"],
                )
            before = self.rewards.get(part.agent)
            self.rewards[part.agent] = reward if before is None else before + reward
        elif isinstance(part, Act):
            if msg["name"] not in self.actions:
                raise GameError("no action is given", site=msg["name"])
            if self.look is not None:
                self.look(part, msg["fn"])
            msg["value"], msg["done"] = self.actions[msg["name"]], True
        elif not msg["is_observed"] and msg["fn"].batch_shape == ():
            msg["fn"] = msg["fn"].expand([self.plays])


steer = SteerMessenger
