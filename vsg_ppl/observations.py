"""What was seen of play, as counts: all that the likelihood of the agents' choices reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor

from vsg_ppl.errors import GameError
from vsg_ppl.table import Table

if TYPE_CHECKING:
    from vsg_ppl.simulate import Plays

UNSEEN = -1
"""Stands for an action that was not seen."""

Step: TypeAlias = tuple[Any, Mapping[str, Any]]
"""A state by its label, and each agent's action by number or name; who is left out was not seen."""


class Observations:
    """How often each agent did what, in which state and at what time.

    They take as much memory as the table's policies, however many steps are observed: chance and
    the order of the steps tell nothing of a policy that reads the state (and the time) alone.

    Args:
        table: the game's table; its states and actions are what is counted.

    Attributes:
        counts: of each agent's actions, (H|1, S, A_i), float64.
        visits: to each state, (H|1, S).
        steps: number of steps seen.

    >>> import torch, vsg_ppl as vsg
    >>> from vsg_ppl.models import StagHunt
    >>> table = vsg.tabulate(StagHunt())
    >>> seen = Observations(table)
    >>> seen.add(states=torch.tensor([0, 0, 1]), actions={"col": torch.tensor([1, 1, 0])})
    >>> seen.counts["col"]
    tensor([[[0., 2.],
             [1., 0.]]], dtype=torch.float64)
    """

    def __init__(self, table: Table) -> None:
        if table.batched:
            raise GameError(f"play is of one game, and this table holds a batch of {table.batch}")
        self.table, self.steps = table, 0
        h, n = table.horizon or 1, len(table.states)
        like = table.initial
        self.visits = like.new_zeros(h, n)
        self.counts = {
            agent: like.new_zeros(h, n, size)
            for agent, size in zip(table.agents, table.sizes, strict=True)
        }

    @classmethod
    def of(
        cls, table: Table, play: Observations | Plays | Iterable[Iterable[Step]]
    ) -> Observations:
        """Count what was observed.

        Args:
            table: the game's table.
            play: what `simulate` gives; or trajectories, each of them steps (state, actions) in
                order from time 0, with states by label and actions by name or number,
                such as ``[[(0, {"row": "STAG", "col": 1}), ...], ...]``; or observations, which
                are taken as they are.

        Raises:
            GameError: states, agents or actions that are not of this game.
        """
        from vsg_ppl.simulate import Plays

        if isinstance(play, Observations):
            _check_same(table, play.table)
            return play
        seen = cls(table)
        if isinstance(play, Plays):
            _check_same(table, play.table)
            times = torch.arange(play.states.shape[1], device=play.states.device)
            seen.add(
                times=times.expand_as(play.states).reshape(-1),
                states=play.states.reshape(-1),
                actions={agent: done.reshape(-1) for agent, done in play.actions.items()},
            )
            return seen
        if isinstance(play, str | Mapping) or not isinstance(play, Iterable):
            raise GameError(
                f"play is given as a {type(play).__name__}",
                hint="what `simulate` gives, or trajectories [[(state, {agent: action}), ...], "
                "...]; a file is read by `read_play`.",
            )
        for k, trajectory in enumerate(play):
            seen._follow(k, trajectory)
        return seen

    def add(
        self,
        *,
        states: Tensor,
        actions: Mapping[str, Tensor],
        times: Tensor | None = None,
    ) -> None:
        """Count n more steps.

        Args:
            states: numbers of the states, (n,).
            actions: numbers of each agent's actions, (n,), −1 where not seen; an agent that is
                left out was not seen at all.
            times: (n,); needed where the game has a horizon.

        Raises:
            GameError: numbers outside the table; nothing is counted then.
        """
        h, n = self.visits.shape
        if (self.table.horizon or 1) > 1 and times is None:
            raise GameError(f"{self.table.name} has a horizon, so what was seen needs its times")
        if times is None or self.table.horizon is None:
            times = torch.zeros_like(states)
        for agent, done in actions.items():
            if done.shape != states.shape:
                raise GameError(
                    f"{len(done)} actions of '{agent}' are given for {len(states)} states"
                )
        _inside(states, n, "state")
        _inside(times, h, "time")
        for agent, done in actions.items():
            _inside(done, self.counts[self._name(agent)].shape[-1], f"action of '{agent}'", UNSEEN)
        place = times * n + states
        one = self.visits.new_ones(())
        self.visits.view(-1).index_add_(0, place, one.expand(len(place)))
        for agent, done in actions.items():
            counts = self.counts[agent]
            cells, known = place * counts.shape[-1] + done, done != UNSEEN
            cells = cells if bool(known.all()) else cells[known]
            counts.view(-1).index_add_(0, cells, one.expand(len(cells)))
        self.steps += len(states)

    def smoothed(self, agent: str, weight: float = 1.0) -> Tensor:
        """The policy that counting gives, (1, H|1, S, A): the prior weighs ``weight`` steps.

        With a uniform prior over A actions and a weight of A, this is Laplace's rule of succession.
        """
        prior = self.table.log_priors[self.table.number(agent)].exp()
        counted = self.counts[self._name(agent)] + weight * prior
        return counted / counted.sum(-1, keepdim=True)

    def __repr__(self) -> str:
        seen = int((self.visits > 0).sum())
        return (
            f"Observations({self.table.name}: {self.steps:,} steps, {seen:,} of "
            f"{self.visits.numel():,} states seen)"
        )

    def _name(self, agent: str) -> str:
        self.table.number(agent)
        return agent

    def _follow(self, k: int, trajectory: Iterable[Step]) -> None:
        """Count one trajectory."""
        states: list[int] = []
        chosen: dict[str, list[int]] = {agent: [] for agent in self.table.agents}
        for t, step in enumerate(trajectory):
            try:
                state, actions = step
                states.append(int(self.table.states.index(state)))
                for agent in actions:
                    self._name(agent)
                for agent, numbers in chosen.items():
                    numbers.append(action_number(self.table, agent, actions.get(agent)))
            except GameError as error:
                raise GameError(f"trajectory {k}, step {t}: {error}") from error
            except (TypeError, ValueError, AttributeError) as error:
                raise GameError(
                    f"trajectory {k}, step {t} is {step!r}",
                    hint="(state, {agent: action}) for each step.",
                ) from error
        if self.table.horizon is not None and len(states) > self.table.horizon:
            raise GameError(
                f"trajectory {k} has {len(states)} steps, and {self.table.name} ends after "
                f"{self.table.horizon}"
            )
        self.add(
            times=torch.arange(len(states)),
            states=torch.tensor(states, dtype=torch.long),
            actions={agent: torch.tensor(done, dtype=torch.long) for agent, done in chosen.items()},
        )


def action_number(table: Table, agent: str, action: Any) -> int:
    """The number of an agent's action given by name or number; −1 for ``None``, not seen.

    >>> import vsg_ppl as vsg
    >>> from vsg_ppl.models import StagHunt
    >>> table = vsg.tabulate(StagHunt())
    >>> action_number(table, "row", "HARE"), action_number(table, "row", None)
    (1, -1)
    """
    if action is None:
        return UNSEEN
    names = table.actions[table.number(agent)].names()
    if isinstance(action, str):
        if action in names:
            return names.index(action)
        number = int(action) if action.strip().isdigit() else len(names)
    else:
        number = int(action) if float(action).is_integer() else len(names)
    if not 0 <= number < len(names):
        raise GameError(
            f"'{agent}' has no action {action!r}",
            hint=f"one of {', '.join(names)}, or a number from 0 to {len(names) - 1}.",
        )
    return number


def _inside(numbers: Tensor, size: int, what: str, least: int = 0) -> None:
    bad = (numbers < least) | (numbers >= size)
    if bool(bad.any()):
        raise GameError(f"the {what} has the number {int(numbers[bad][0])}, not one below {size}")


def _check_same(table: Table, other: Table) -> None:
    """Raise `GameError` unless both number the same states, times and actions."""
    mine, yours = table.states.values, other.states.values
    same = (
        table.agents == other.agents
        and table.sizes == other.sizes
        and table.horizon == other.horizon
        and mine.shape == yours.shape
        and bool((mine == yours).all())
    )
    if not same:
        raise GameError(f"the play was observed in another game than {table.name}: {other.name}")
