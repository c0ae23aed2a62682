"""Draw public signals by a law of one's own."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor

from vsg_ppl.game import Signal, role


class SignalLawMessenger(Messenger):
    """Signals follow σ, whatever the program says; the rest is the program's.

    Args:
        sizes: the number of values of each signal, in order.
        law: of their joint value, (..., Ω), the last signal's counting fastest.

    >>> import pyro, vsg_ppl as vsg
    >>> with SignalLawMessenger((2,), torch.tensor([0.0, 1.0])):
    ...     vsg.signal("light", dist.Categorical(torch.ones(2)))
    tensor(1)
    """

    def __init__(self, sizes: tuple[int, ...], law: Tensor) -> None:
        super().__init__()
        self.sizes, self.batch = sizes, law.shape[:-1]
        self.law = law.reshape(-1, *sizes)
        self.drawn: list[Tensor] = []

    def __enter__(self) -> Any:
        self.drawn = []
        return super().__enter__()

    def _pyro_sample(self, msg: Any) -> None:
        if isinstance(role(msg), Signal):
            later = len(self.sizes) - len(self.drawn) - 1
            weights = self.law.sum(tuple(range(-later, 0))) if later else self.law
            which = torch.arange(len(self.law), device=self.law.device).reshape(self.batch)
            weights = weights[(which, *self.drawn)]
            self.kind = (
                msg["fn"].enumerate_support(expand=False).dtype
            )  # of a Bernoulli signal it is a float
            never = weights.sum(-1, keepdim=True) == 0  # given the signals before
            msg["fn"] = dist.Categorical(torch.where(never, 1.0, weights))

    def _pyro_post_sample(self, msg: Any) -> None:
        if isinstance(role(msg), Signal):
            self.drawn.append(msg["value"].long())
            msg["value"] = msg["value"].to(self.kind)


signal_law = SignalLawMessenger
