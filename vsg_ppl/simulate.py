"""Play a game by given policies, many plays at once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vsg_ppl.bellman import Policies
from vsg_ppl.errors import GameError
from vsg_ppl.reading import read_policies
from vsg_ppl.table import Table

FORGOTTEN = 1e-3
"""Plays of games without end stop when the discount falls below this."""


@dataclass(frozen=True, eq=False)
class Plays:
    """n plays of T steps; made by `simulate`.

    Attributes:
        table: the game's table.
        states: numbers of the states, (n, T).
        actions: numbers of each agent's actions, (n, T).
        rewards: each agent's expected reward of the state and joint action, (n, T).
    """

    table: Table
    states: Tensor
    actions: dict[str, Tensor]
    rewards: dict[str, Tensor]

    def __len__(self) -> int:
        return len(self.states)

    def returns(self) -> dict[str, Tensor]:
        """Σ_t γ^t r_t of each agent in each play, (n,)."""
        steps = torch.arange(self.states.shape[1], dtype=torch.float64, device=self.states.device)
        weights = self.table.discount**steps
        return {agent: rewards @ weights for agent, rewards in self.rewards.items()}

    def labels(self, k: int) -> list[Any]:
        """The states of play k by label, one for each step."""
        return [self.table.states[s] for s in self.states[k].tolist()]

    def trajectory(self, k: int) -> list[dict[str, Any]]:
        """Play k for people: for each step the time, the state, who did what and got what.

        An agent that sits a step out is not among the ``actions`` of that step.

        >>> import vsg_ppl as vsg
        >>> from vsg_ppl.models import PrisonersDilemma
        >>> plays = vsg.nash(PrisonersDilemma()).simulate(3)
        >>> plays.trajectory(0)  # doctest: +NORMALIZE_WHITESPACE
        [{'t': 0, 'state': 0, 'actions': {'row': 'DEFECT', 'col': 'DEFECT'},
          'rewards': {'row': 1.0, 'col': 1.0}}]
        """
        names = {
            agent: actions.names()
            for agent, actions in zip(self.table.agents, self.table.actions, strict=True)
        }
        chosen = {agent: actions[k].tolist() for agent, actions in self.actions.items()}
        paid = {agent: rewards[k].tolist() for agent, rewards in self.rewards.items()}
        return [
            {
                "t": t,
                "state": label,
                "actions": {agent: names[agent][chosen[agent][t]] for agent in self._acting(t)},
                "rewards": {agent: paid[agent][t] for agent in paid},
            }
            for t, label in enumerate(self.labels(k))
        ]

    def _acting(self, t: int) -> list[str]:
        """Who acts at time t."""
        acting = self.table.acting
        if acting is None:
            return list(self.table.agents)
        acts = _now(acting, t).tolist()
        return [agent for agent, does in zip(self.table.agents, acts, strict=True) if does]


def simulate(
    table: Table,
    policies: Mapping[str, Any],
    n: int = 1,
    *,
    steps: int | None = None,
    seed: int = 0,
) -> Plays:
    """Play a game n times, all plays at once, with a random generator of their own.

    A discount weighs rewards and stops no play: in a game without end, T is by default the fewest
    steps after which γ^T < 1e-3.

    Args:
        table: of one game.
        policies: for each agent, probabilities (S, A) or (H, S, A) or a policy program.
        n: number of plays.
        steps: T; by default the horizon, or as above.
        seed: of the generator. The same seed on the same device gives the same plays.

    Raises:
        GameError: policies that do not fit, a batch of games, more steps than the horizon, or play
            that gets where the table knows no way on.

    >>> import torch, vsg_ppl as vsg
    >>> from vsg_ppl.models import StagHunt
    >>> both_hare = torch.tensor([[0.0, 1.0], [0.0, 1.0]])
    >>> plays = simulate(vsg.tabulate(StagHunt()), {"row": both_hare, "col": both_hare}, 5)
    >>> plays.states.shape, plays.rewards["row"].unique()
    (torch.Size([5, 66]), tensor([2.], dtype=torch.float64))
    """
    length = _steps(table, steps)
    if n < 1:
        raise GameError(f"{n} plays are asked for; at least 1 is needed")
    if table.batched:
        raise GameError(f"a play is of one game, and this table holds {table.batch}")
    tables = [policy.to(table.device) for policy in read_policies(table, policies)]
    for agent, policy in zip(table.agents, tables, strict=True):
        if policy.ndim > 4:
            raise GameError(
                f"the policy of '{agent}' is conditional on the others' actions",
                hint="simulate what is executed: its average over the opponent model.",
            )
    with torch.no_grad():
        return _play(table, tables, n, length, seed)


def _play(table: Table, policies: Policies, n: int, steps: int, seed: int) -> Plays:
    generator = torch.Generator(table.device).manual_seed(seed)
    first = table.initial[0].nonzero()[:, 0]
    law = table.initial[0, first]
    state = first[torch.multinomial(law, n, replacement=True, generator=generator)]
    states: list[Tensor] = []
    actions: list[list[Tensor]] = [[] for _ in policies]
    rewards: list[list[Tensor]] = [[] for _ in policies]
    for t in range(steps):
        chosen = [
            torch.multinomial(_now(policy[0], t)[state], 1, generator=generator)[:, 0]
            for policy in policies
        ]
        states.append(state)
        for i, action in enumerate(chosen):
            actions[i].append(action)
            rewards[i].append(_entry(_now(table.rewards[i][0], t), state, chosen))
        if t + 1 < steps:
            state = next_states(table, state, chosen, t, generator)
    return Plays(
        table,
        torch.stack(states, 1),
        {agent: torch.stack(parts, 1) for agent, parts in zip(table.agents, actions, strict=True)},
        {agent: torch.stack(parts, 1) for agent, parts in zip(table.agents, rewards, strict=True)},
    )


def next_states(
    table: Table, state: Tensor, chosen: list[Tensor], t: int, generator: torch.Generator
) -> Tensor:
    """Draw the states that follow n states and joint actions at time t, (n,).

    Args:
        table: of one game.
        state: numbers of the states, (n,).
        chosen: numbers of each agent's actions, (n,) each.
        t: the time.
        generator: of random numbers, on the table's device.

    Raises:
        GameError: play gets where the table knows no way on.
    """
    law = _entry(_now(table.probabilities[0], t), state, chosen)  # (n, K)
    lost = law.sum(-1) < 1 - 1e-6
    if lost.any():
        where = table.states[int(state[lost][0])]
        raise GameError(
            f"play reached {where} at time {t}, from where the table knows "
            "no way on: it holds the states that available actions reach within the horizon",
            hint="policies that play only available actions.",
        )
    drawn = torch.multinomial(law, 1, generator=generator)
    if table.successors is None:
        return drawn[:, 0]
    numbers = _entry(_now(table.successors, t), state, chosen)  # (n, K)
    return numbers.gather(1, drawn)[:, 0]


def _now(x: Tensor, t: int) -> Tensor:
    """The slice at time t of a tensor with all times or one."""
    return x[t if len(x) > 1 else 0]


def _entry(x: Tensor, state: Tensor, chosen: list[Tensor]) -> Tensor:
    """The entries at states and joint actions of (S, A_1|1, ..., A_N|1, ...), (n, ...)."""
    index = [
        action if x.shape[1 + i] > 1 else torch.zeros_like(action)
        for i, action in enumerate(chosen)
    ]
    found: Tensor = x[(state, *index)]
    return found


def _steps(table: Table, steps: int | None) -> int:
    if steps is None:
        if table.horizon is not None:
            return table.horizon
        if table.discount < FORGOTTEN:
            return 1
        steps = math.floor(math.log(FORGOTTEN) / math.log(table.discount))
        while table.discount**steps >= FORGOTTEN:
            steps += 1
        return steps
    if steps < 1:
        raise GameError(f"{steps} steps are asked for; at least 1 is needed")
    if table.horizon is not None and steps > table.horizon:
        raise GameError(f"{steps} steps are asked for, and {table.name} ends after {table.horizon}")
    return steps
