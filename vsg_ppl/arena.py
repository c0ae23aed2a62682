"""Many plays of a game program at once, step by step, with actions from outside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from pyro import poutine
from pyro.distributions import constraints
from torch import Tensor

from vsg_ppl import structure
from vsg_ppl.errors import GameError, telling
from vsg_ppl.game import Act, Game, agents, call, role, title
from vsg_ppl.handlers.steer import steer


@dataclass(frozen=True)
class ActionSpace:
    """What an agent chooses at its one action site.

    Attributes:
        site: its name.
        count: number of actions, of a finite set; ``None`` for numbers.
        low: the least each number may be, (D,); ``None`` for a finite set.
        high: the most.
    """

    site: str
    count: int | None
    low: Tensor | None = None
    high: Tensor | None = None

    @property
    def size(self) -> int:
        """How many numbers say an action: D, or one for each of a finite set."""
        return self.count if self.low is None else len(self.low)  # type: ignore[return-value]


class Arena:
    """K plays of a game, side by side.

    The step runs once for all plays: its operations must work on tensors with a leading dimension,
    as `tabulate` asks of them too. Every agent has one action site, with a finite prior, or one of
    bounded numbers (`Uniform`, `Beta`).

    Args:
        game: the program.
        plays: K.

    Raises:
        GameError: actions without bounds, several sites of one agent, a step that is none.

    >>> from vsg_ppl.models import Differential
    >>> arena = Arena(Differential(), plays=3)
    >>> arena.reset()
    >>> arena.step({"first": torch.full((3, 1), 0.5), "second": torch.full((3, 1), 0.5)})
    tensor([[10., 10.],
            [10., 10.],
            [10., 10.]])
    """

    def __init__(self, game: Game, plays: int) -> None:
        self.game, self.plays = game, plays
        self.agents = agents(game)
        self.spaces = {space_of[0]: space_of[1] for space_of in _spaces(game)}
        for agent in self.agents:
            if agent not in self.spaces:
                raise GameError(f"'{agent}' of {title(game)} does not act in the first step")
        self.state: Any = None
        self.time = 0

    def reset(self) -> None:
        """Begin all plays anew."""
        with torch.no_grad(), steer(self.plays):
            state = self.game.initial()
        leaves = [self._wide(leaf) for leaf in _leaves(state)]
        self.state, self.time = structure.rebuild(state, leaves), 0

    def observe(self) -> Tensor:
        """The parts of the states as numbers, (K, parts)."""
        parts = [leaf.reshape(self.plays, -1).float() for leaf in _leaves(self.state)]
        return torch.cat(parts, -1) if parts else torch.zeros(self.plays, 0)

    def step(self, actions: Mapping[str, Tensor]) -> Tensor:
        """Let all act.

        Args:
            actions: of each agent: numbers in [−1, 1], (K, D), that are stretched to its bounds; or
                numbers of actions, (K,).

        Returns:
            The rewards, (K, N).
        """
        values = {
            space.site: self._stretched(space, actions[agent])
            for agent, space in self.spaces.items()
        }
        with (
            torch.no_grad(),
            telling(f"`step` of {title(self.game)}"),
            steer(self.plays, values) as steered,
        ):
            after = call(self.game.step, self.state, t=self.time)
        self.state = structure.rebuild(after, [self._wide(leaf) for leaf in _leaves(after)])
        self.time += 1
        zero = torch.zeros(self.plays)
        paid = [steered.rewards.get(agent, zero).float() for agent in self.agents]
        return torch.stack([reward.expand(self.plays) for reward in paid], -1)

    def _stretched(self, space: ActionSpace, action: Tensor) -> Tensor:
        if space.low is None or space.high is None:
            return action
        value = space.low + (action + 1) / 2 * (space.high - space.low)
        return value[..., 0] if len(space.low) == 1 else value

    def _wide(self, leaf: Tensor) -> Tensor:
        return leaf if leaf.ndim and leaf.shape[0] == self.plays else leaf.expand(self.plays)


def _leaves(state: Any) -> list[Tensor]:
    """Tensors of a state in order, of any kind of number."""
    if state is None:
        return []
    if isinstance(state, Tensor):
        return [state]
    if isinstance(state, bool | int | float):
        return [torch.tensor(state)]
    parts = state.values() if isinstance(state, dict) else state
    return [leaf for part in parts for leaf in _leaves(part)]


def _spaces(game: Game) -> list[tuple[str, ActionSpace]]:
    """Agents with what they choose, read off one sampled step."""
    with (
        poutine.block(),
        torch.random.fork_rng(devices=[]),
        torch.no_grad(),
        telling(f"`step` of {title(game)}"),
    ):
        first = game.initial()
        trace = poutine.trace(lambda: call(game.step, first, t=0)).get_trace()
    found: dict[str, ActionSpace] = {}
    for name, site in trace.nodes.items():
        part = role(site) if site["type"] == "sample" else None
        if not isinstance(part, Act):
            continue
        if part.agent in found:
            raise GameError(
                f"'{part.agent}' acts at two sites of a step",
                site=name,
                hint="one site with a vector, or a finite set of pairs.",
            )
        found[part.agent] = _space(name, site["fn"])
    return list(found.items())


def _space(name: str, law: Any) -> ActionSpace:
    if isinstance(law, torch.distributions.Categorical):
        return ActionSpace(name, law.probs.shape[-1])
    support = law.support
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    if not hasattr(support, "lower_bound") or not hasattr(support, "upper_bound"):
        raise GameError(
            f"the prior {type(law).__name__} sets no bounds to the action",
            site=name,
            hint="dist.Uniform(low, high), with `.to_event(1)` for a vector; dist.Categorical.",
        )
    size = prod(law.event_shape)
    low, high = (
        torch.as_tensor(bound, dtype=torch.float32).expand(law.event_shape).reshape(size)
        for bound in (support.lower_bound, support.upper_bound)
    )
    return ActionSpace(name, None, low, high)
