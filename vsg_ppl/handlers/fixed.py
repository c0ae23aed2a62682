"""Let a policy be as it is: whoever learns beside it does not move it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from pyro.poutine.messenger import Messenger


class FixedMessenger(Messenger):
    """Parameters are hidden from whoever looks, such as SVI, and no gradient reaches them.

    `agent_model` does this to the others' policies: an agent that climbs its own ELBO must not
    move them. What they choose is differentiated still, where it depends on the state.

    >>> import pyro, torch
    >>> from pyro import poutine
    >>> def policy():
    ...     return pyro.param("p", torch.tensor(0.5))
    >>> trace = poutine.trace(FixedMessenger()(policy)).get_trace()
    >>> "p" in trace.nodes, trace.nodes["_RETURN"]["value"].requires_grad
    (False, False)
    """

    def _pyro_param(self, msg: Any) -> None:
        msg["stop"] = True
        if isinstance(msg["args"][-1], torch.nn.Parameter):  # Pyro would have it learn from now on
            msg["value"], msg["done"] = msg["args"][-1], True

    def _pyro_post_param(self, msg: Any) -> None:
        msg["value"] = msg["value"].detach()


class fixed:  # noqa: N801 - used as a function
    """A policy as it is, for opponents that a guide is to know and not to learn.

    >>> import torch
    >>> import vsg_ppl as vsg
    >>> from vsg_ppl.guides import TabularPolicy
    >>> from vsg_ppl.models import PrisonersDilemma
    >>> game = PrisonersDilemma()
    >>> col = TabularPolicy(vsg.tabulate(game), "col")
    >>> guide = vsg.agent_guide(game, "row", torch.tensor([[0.1, 0.9]]), {"col": vsg.fixed(col)})
    """

    def __init__(self, policy: Callable[..., Any]) -> None:
        self.__wrapped__ = policy  # whose arguments it takes

    def __call__(self, *args: Any, **named: Any) -> Any:
        """Run the policy."""
        with FixedMessenger(), _still(self.__wrapped__):
            return self.__wrapped__(*args, **named)


@contextmanager
def _still(policy: Any) -> Iterator[None]:
    """No gradient reaches a module's own parameters, which Pyro does not hand to the module."""
    moved = []
    if isinstance(policy, torch.nn.Module):
        moved = [parameter for parameter in policy.parameters() if parameter.requires_grad]
    for parameter in moved:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in moved:
            parameter.requires_grad_(True)
