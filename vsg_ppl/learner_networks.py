"""The networks of many learners side by side, and their losses as ELBOs of Pyro programs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import Trace_ELBO
from torch import Tensor

from vsg_ppl.guides.networks import LEAK, Perceptrons

PENALTY = 5e-4
"""Of the squares of what goes into a tanh: keeps it from its flat ends."""


class Networks:
    """Networks by name, G of each side by side, an optimiser for each, and slow copies of some.

    Args:
        groups: G.
        sizes: of the layers of each network. One is the "critic" of a state and actions.
        slow: which network a copy follows, by the name of the copy. "target" follows the critic.
        learning_rate: of Adam.
        leak: of rectifiers, their slope below zero.
        device: where they are.

    >>> pair = Networks(3, {"critic": (2, 8, 1)}, {"target": "critic"}, learning_rate=1e-2)
    >>> pair.q(torch.zeros(3, 5, 1), torch.zeros(3, 5, 1)).shape
    torch.Size([3, 5])
    """

    def __init__(
        self,
        groups: int,
        sizes: Mapping[str, tuple[int, ...]],
        slow: Mapping[str, str],
        *,
        learning_rate: float,
        leak: float = LEAK,
        device: str = "cpu",
    ) -> None:
        self.networks = {
            name: Perceptrons(groups, layers, leak=leak).to(device)
            for name, layers in sizes.items()
        }
        self.optimisers = {
            name: torch.optim.Adam(network.parameters(), lr=learning_rate, fused=True)
            for name, network in self.networks.items()
        }
        self.slow = dict(slow)
        for name, source in self.slow.items():
            self.networks[name] = Perceptrons(groups, sizes[source], leak=leak).to(device)
        self.copy()
        self._elbo = Trace_ELBO().differentiable_loss

    def q(self, seen: Tensor, *actions: Tensor, target: bool = False) -> Tensor:
        """Q(s, actions), (G, B)."""
        return self.values("target" if target else "critic", seen, *actions)[..., 0]

    def values(self, name: str, seen: Tensor, *actions: Tensor) -> Tensor:
        """What a network says of a state and actions, (G, B, outputs)."""
        value: Tensor = self.networks[name](torch.cat([seen, *actions], -1))
        return value

    def critic_loss(
        self, seen: Tensor, *actions: Tensor, wanted: Tensor, name: str = "critic"
    ) -> Tensor:
        """½ (Q(s, actions) − what was paid and is expected after that)², and a constant.

        The negative ELBO of the program r ~ Normal(Q, 1).

        Args:
            seen: (G, B, parts).
            actions: (G, B, width) each.
            wanted: (G, B), or (G, B, outputs) of a network with several.
            name: of the network.
        """
        wanted = wanted if wanted.dim() == 3 else wanted[..., None]

        def model() -> None:
            with Plates(seen):
                value = self.values(name, seen, *actions)
                law = dist.Normal(value, 1.0, validate_args=False).to_event(1)
                pyro.sample("reward", law, obs=wanted)

        return self.loss(model, nothing, seen)

    def loss(self, model: Callable[[], None], guide: Callable[[], None], seen: Tensor) -> Tensor:
        """−ELBO, averaged over the draws and summed over the learners."""
        loss: Tensor = self._elbo(model, guide)  # type: ignore[no-untyped-call]
        return loss / seen.shape[1]

    def improve(self, name: str, loss: Callable[[], Tensor]) -> None:
        """One step on a loss; only this network is moved."""
        for other, network in self.networks.items():
            network.requires_grad_(other == name)
        optimiser = self.optimisers[name]
        optimiser.zero_grad()
        loss().backward()
        optimiser.step()

    def follow(self, rate: float) -> None:
        """Let slow copies follow."""
        with torch.no_grad():
            for name, source in self.slow.items():
                pairs = (self.networks[key].parameters() for key in (name, source))
                for old, new in zip(*pairs, strict=True):
                    old.lerp_(new, rate)

    def state_dict(self) -> dict[str, Any]:
        """Weights, and where Adam stands."""
        return {
            "networks": {name: net.state_dict() for name, net in self.networks.items()},
            "optimisers": {name: adam.state_dict() for name, adam in self.optimisers.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        for name, network in self.networks.items():
            network.load_state_dict(state["networks"][name])
        for name, optimiser in self.optimisers.items():
            optimiser.load_state_dict(state["optimisers"][name])

    def copy(self) -> None:
        """Make slow copies equal."""
        for name, source in self.slow.items():
            self.networks[name].load_state_dict(self.networks[source].state_dict())


class Plates:
    """Around a program of G learners and B draws, of what they see, (G, B, parts)."""

    def __init__(self, seen: Tensor) -> None:
        groups, draws = seen.shape[:2]
        self.plates = (pyro.plate("learners", groups, dim=-2), pyro.plate("draws", draws, dim=-1))

    def __enter__(self) -> None:
        for plate in self.plates:
            plate.__enter__()

    def __exit__(self, *error: Any) -> None:
        for plate in reversed(self.plates):
            plate.__exit__(*error)


def nothing() -> None:
    """The guide of a model without latent sites."""
