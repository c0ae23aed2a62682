"""A finite game as tensors: what `tabulate` makes and what every exact solver reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Any

import torch
from torch import Tensor

from vsg_ppl.errors import GameError
from vsg_ppl.states import States


@dataclass(frozen=True)
class Actions:
    """An agent's actions: its sites, how many actions each has, and their names.

    An agent with several sites chooses them jointly: its action number counts through them in
    order, the last fastest.
    """

    sites: tuple[str, ...]
    sizes: tuple[int, ...]
    labels: tuple[tuple[str, ...], ...]

    @property
    def size(self) -> int:
        """Number of joint actions over the agent's sites."""
        return prod(self.sizes)

    def names(self) -> list[str]:
        """A name for every action, sites joined by commas."""
        names = [""]
        for labels in self.labels:
            names = [f"{name},{label}" if name else label for name in names for label in labels]
        return names


@dataclass(frozen=True, eq=False)
class Table:
    """A finite stochastic game as tensors, all float64 with a leading batch dimension.

    B games, H times (1 when nothing depends on time), S states, A_i actions of agent i, K
    successors. A dimension that an entry does not depend on has size 1.

    Attributes:
        agents: names, in the order of the action dimensions.
        actions: the actions of each agent.
        states: the states by label.
        log_priors: log u^i(a|s) for each agent, (B|1, H|1, S, A_i); −inf where not available.
        rewards: r^i(s, a) for each agent, (B|1, H|1, S, A_1|1, ..., A_N|1).
        successors: numbers of the next states, (H|1, S, A_1|1, ..., A_N|1, K); ``None`` where all
            states are successors (K = S).
        probabilities: of the successors, (B|1, H|1, S, A_1|1, ..., A_N|1, K).
        initial: P(s_0), (B|1, S).
        discount: γ.
        horizon: number of decisions, ``None`` for infinite.
        reachable: (H, S), whether a state can occur at a time; ``None`` when all can.
        acting: (H, N), whether an agent acts at a time; ``None`` when all always do. Who sits out
            has its first action alone available.
        batched: whether the leading dimension is the user's, or of size 1 and not to be shown.
        name: of the game.
        signals: public signals by name, with the number of their values; a state is then a state
            of the program with a value of each, which count fastest (§5.3).
        signal_law: σ(ω|s), (H|1, S/Ω, Ω) for Ω joint values of the signals.
    """

    agents: tuple[str, ...]
    actions: tuple[Actions, ...]
    states: States
    log_priors: tuple[Tensor, ...]
    rewards: tuple[Tensor, ...]
    successors: Tensor | None
    probabilities: Tensor
    initial: Tensor
    discount: float
    horizon: int | None
    reachable: Tensor | None = None
    acting: Tensor | None = None
    batched: bool = False
    name: str = "game"
    signals: tuple[tuple[str, int], ...] = ()
    signal_law: Tensor | None = None

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of actions of each agent."""
        return tuple(actions.size for actions in self.actions)

    @cached_property
    def batch(self) -> int:
        """Number of games."""
        parts = (*self.rewards, *self.log_priors, self.initial, self.probabilities)
        return max(part.shape[0] for part in parts)

    @cached_property
    def times(self) -> int:
        """Number of different times in the tensors: 1, or the horizon."""
        parts = (*self.rewards, *self.log_priors, self.probabilities)
        return max(part.shape[1] for part in parts)

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return self.initial.device

    def number(self, agent: str) -> int:
        """The agent's place in ``agents``; raises `GameError` for a stranger."""
        if agent not in self.agents:
            raise GameError(
                f"{self.name} has no agent '{agent}'", hint=f"one of {', '.join(self.agents)}."
            )
        return self.agents.index(agent)

    def to(self, device: str | torch.device) -> Table:
        """The same table on another device."""
        return replace(
            self,
            log_priors=tuple(prior.to(device) for prior in self.log_priors),
            rewards=tuple(reward.to(device) for reward in self.rewards),
            successors=None if self.successors is None else self.successors.to(device),
            probabilities=self.probabilities.to(device),
            initial=self.initial.to(device),
            reachable=None if self.reachable is None else self.reachable.to(device),
            acting=None if self.acting is None else self.acting.to(device),
            signal_law=None if self.signal_law is None else self.signal_law.to(device),
        )

    def summary(self) -> dict[str, Any]:
        """Sizes for people: agents, states, actions, successors, bytes."""
        tensors = [*self.rewards, *self.log_priors, self.probabilities, self.initial]
        if self.successors is not None:
            tensors.append(self.successors)
        return {
            "game": self.name,
            "agents": list(self.agents),
            "states": len(self.states),
            "actions": dict(zip(self.agents, self.sizes, strict=True)),
            "joint_actions": prod(self.sizes),
            "successors": self.probabilities.shape[-1],
            "discount": self.discount,
            "horizon": self.horizon,
            "time_dependent": self.times > 1,
            "bytes": sum(tensor.numel() * tensor.element_size() for tensor in tensors),
        }


def check_simplex(
    probabilities: Tensor,
    what: str,
    where: Callable[[tuple[int, ...]], str] = lambda place: f"at index {place}",
    tolerance: float = 1e-6,
) -> None:
    """Raise `GameError` where the last dimension is not a probability distribution."""
    total = probabilities.sum(-1)
    bad = (probabilities < 0).any(-1) | ~((total - 1).abs() <= tolerance)
    if bad.any():
        place = tuple(bad.nonzero()[0].tolist())
        row = probabilities[place]
        if (row < 0).any():
            found = f"have the negative entry {row.min():.3g}"
            raise GameError(f"{what} {found} {where(place)}".strip())
        raise GameError(
            f"{what} sum to {row.sum():.6g}, not 1, {where(place)}".rstrip(", "),
            hint="divide them by their sum.",
        )
