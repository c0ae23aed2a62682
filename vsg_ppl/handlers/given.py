"""Fix named sites of a program at values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyro.poutine.messenger import Messenger
from torch import Tensor

from vsg_ppl.game import role


class GivenMessenger(Messenger):
    """Sites and parameters of these names take these values, and nothing outside sees them.

    Unlike `pyro.condition` it makes no observation: the values are constants of the program.

    >>> import pyro, pyro.distributions as dist, torch
    >>> with GivenMessenger({"weight": torch.tensor(2.0)}):
    ...     pyro.sample("weight", dist.Normal(0.0, 1.0))
    tensor(2.)
    """

    def __init__(self, values: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.values = values

    def _pyro_sample(self, msg: Any) -> None:
        if role(msg) is None:
            self._fix(msg)

    def _pyro_param(self, msg: Any) -> None:
        self._fix(msg)

    def _fix(self, msg: Any) -> None:
        if msg["name"] in self.values:
            msg["value"], msg["done"], msg["stop"] = self.values[msg["name"]], True, True


given_values = GivenMessenger
