"""A finite game as tensors: what `tabulate` makes and what every exact solver reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import log, prod
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


def from_arrays(
    rewards: Tensor,
    transitions: Tensor | None = None,
    *,
    discount: float = 1.0,
    horizon: int | None = None,
    initial: Tensor | None = None,
    agents: Sequence[str] | None = None,
    batched: bool = False,
    name: str = "arrays",
) -> Table:
    """A table from dense arrays, many games at once with ``batched=True``.

    Args:
        rewards: r^i(s, a), shape (N, S, A_1, ..., A_N); with ``batched`` a leading (B,).
        transitions: P(s'|s, a), shape (S, A_1, ..., A_N, S), or (B, ...); ``None`` for one-shot
            games, which then have horizon 1.
        discount: γ.
        horizon: number of decisions, ``None`` for infinite.
        initial: P(s_0), shape (S,) or (B, S); uniform by default.
        agents: names; ``agent1, agent2, ...`` by default.
        batched: whether a batch dimension leads.
        name: of the game.

    Raises:
        GameError: wrong shapes, entries that are not finite, probabilities off the simplex.

    >>> table = from_arrays(torch.rand(1000, 2, 1, 10, 10), batched=True)
    >>> table.batch, table.sizes, table.horizon
    (1000, (10, 10), 1)
    """
    rewards = torch.as_tensor(rewards, dtype=torch.float64)
    if not batched:
        rewards = rewards[None]
    n_agents = rewards.shape[1] if rewards.ndim > 1 else 0
    if rewards.ndim != 3 + n_agents or n_agents == 0:
        shown = tuple(rewards.shape[0 if batched else 1 :])
        raise GameError(
            f"the rewards have shape {shown}; expected {'(B, ' if batched else '('}N, S, "
            "A_1, ..., A_N), one action dimension for each of the N agents"
        )
    if not torch.isfinite(rewards).all():
        bad = (~torch.isfinite(rewards)).nonzero()[0].tolist()[0 if batched else 1 :]
        raise GameError(f"the reward at index {tuple(bad)} is not finite")
    n_states, sizes = rewards.shape[2], tuple(rewards.shape[3:])
    if transitions is None:
        if n_states != 1 and horizon != 1:
            raise GameError(
                f"{n_states} states and no transitions", hint="pass transitions, or horizon=1."
            )
        horizon = 1
        probabilities = torch.zeros((1, 1, n_states) + (1,) * n_agents + (n_states,))
        probabilities[..., 0] = 1.0
        probabilities = probabilities.double()
    else:
        probabilities = torch.as_tensor(transitions, dtype=torch.float64)
        if probabilities.ndim == 2 + n_agents:
            probabilities = probabilities[None]
        if tuple(probabilities.shape[1:]) != (n_states, *sizes, n_states):
            raise GameError(
                f"the transitions have shape {tuple(transitions.shape)}; expected "
                f"{(n_states, *sizes, n_states)}"
            )
        check_simplex(probabilities, "the transition probabilities", _where(batched))
        probabilities = probabilities / probabilities.sum(-1, keepdim=True)
        probabilities = probabilities[:, None]
    if initial is None:
        law = torch.full((1, n_states), 1.0 / n_states, dtype=torch.float64)
    else:
        law = torch.as_tensor(initial, dtype=torch.float64)
        law = law[None] if law.ndim == 1 else law
        if law.shape[-1] != n_states:
            raise GameError(f"the initial law has {law.shape[-1]} entries for {n_states} states")
        check_simplex(law, "the probabilities of the initial law", _where(batched))
        law = law / law.sum(-1, keepdim=True)
    if not 0 <= discount <= 1:
        raise GameError(f"the discount is {discount:g}, not in [0, 1]")
    if horizon is not None and (not float(horizon).is_integer() or horizon < 1):
        raise GameError(f"the horizon is {horizon!r}; it counts decisions, 1 or more")
    if horizon is None and discount == 1:
        raise GameError(
            f"discount {discount:g} and no horizon: the game never ends",
            hint="discount=0.9, or horizon=10.",
        )
    names = tuple(agents) if agents is not None else tuple(f"agent{i + 1}" for i in range(n_agents))
    if len(names) != n_agents or len(set(names)) != n_agents:
        raise GameError(f"the names {', '.join(names)} are not {n_agents} different ones")
    device = rewards.device
    return Table(
        agents=names,
        actions=tuple(
            Actions((agent,), (size,), (tuple(map(str, range(size))),))
            for agent, size in zip(names, sizes, strict=True)
        ),
        states=States(torch.tensor(0), torch.arange(n_states)[:, None]),
        log_priors=tuple(
            torch.full((1, 1, n_states, size), -log(size), dtype=torch.float64, device=device)
            for size in sizes
        ),
        rewards=tuple(rewards[:, i, None] for i in range(n_agents)),
        successors=None,
        probabilities=probabilities.to(device),
        initial=law.to(device),
        discount=float(discount),
        horizon=horizon,
        batched=batched,
        name=name,
    )


def _where(batched: bool) -> Callable[[tuple[int, ...]], str]:
    def where(place: tuple[int, ...]) -> str:
        shown = place if batched else place[1:]
        return f"at index {shown}" if shown else ""

    return where


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
