"""Games from arrays: payoffs and transition probabilities that someone already has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from vsg_ppl.errors import GameError
from vsg_ppl.game import act, optimality


@dataclass(frozen=True, eq=False)
class ArrayGame:
    """A stochastic game given by arrays, for N agents, S states and A_1, ..., A_N actions.

    Arrays are anything that torch makes tensors of: tensors, NumPy arrays, nested lists, or a list
    of one array for each agent. They are copied, in float64, and checked.

    Args:
        rewards: shape (N, S, A_1, ..., A_N).
        transitions: shape (S, A_1, ..., A_N, S), the probability of the next state last. None makes
            a one-shot game: the state (the type of the game) is drawn, and there is one step.
        discount: γ in [0, 1).
        horizon: number of decisions.
        initial_law: shape (S,), the law of the first state; uniform if None.
        agents: N names, by default ``agent1`` and so on.
        labels: for each agent the names of its actions.
        name: the game's name for people.

    Raises:
        GameError: a shape that does not fit, a reward that is not finite, probabilities off the
            simplex; it says which entry.

    Source: the definition of a stochastic game, L. S. Shapley, 1953, "Stochastic games".

    >>> stay, switch = [1.0, 0.0], [0.0, 1.0]
    >>> game = ArrayGame(
    ...     rewards=[[[0.0, 1.0], [2.0, 0.0]]],
    ...     transitions=[[stay, switch], [switch, stay]],
    ...     discount=0.9,
    ... )
    >>> game.agents, game.rewards.shape
    (('agent1',), torch.Size([1, 2, 2]))
    """

    rewards: Any
    transitions: Any = None
    discount: float | None = None
    horizon: int | None = None
    initial_law: Any = None
    agents: tuple[str, ...] = ()
    labels: Sequence[Sequence[str]] | None = None
    name: str = "ArrayGame"

    def __post_init__(self) -> None:
        rewards = _array(self.rewards, "the rewards")
        agents = tuple(self.agents) or tuple(f"agent{i + 1}" for i in range(len(rewards)))
        _check_rewards(rewards, agents)
        states, *actions = rewards.shape[1:]
        _check_labels(self.labels, agents, actions)

        transitions, horizon = None, self.horizon
        if self.transitions is not None:
            transitions = _array(self.transitions, "the transitions")
            _check_shape(transitions, (states, *actions, states), "the transitions")
            _check_law(transitions, "state", "the next state")
        elif self.discount is None and horizon in (None, 1):
            horizon = 1
        else:
            raise GameError(
                "a game of more than one step has no transitions",
                hint="transitions of shape (S, A_1, ..., A_N, S); without them play is one-shot.",
            )
        law = torch.full((states,), 1 / states, dtype=torch.float64)
        if self.initial_law is not None:
            law = _array(self.initial_law, "the initial law")
            _check_shape(law, (states,), "the initial law")
            _check_law(law, "state", "the first state")

        checked = {
            "rewards": rewards,
            "transitions": transitions,
            "horizon": horizon,
            "initial_law": law,
            "agents": agents,
        }
        for field, value in checked.items():
            object.__setattr__(self, field, value)  # the class is frozen from here on

    def initial(self) -> Tensor:
        """Draw the first state."""
        if len(self.initial_law) == 1:
            return torch.tensor(0)
        return pyro.sample("state", dist.Categorical(self.initial_law))

    def step(self, state: Tensor) -> Tensor:
        """All choose at once; the next state is drawn."""
        actions = []
        for i, agent in enumerate(self.agents):
            uniform = torch.ones(self.rewards.shape[2 + i], dtype=torch.float64)
            labels = None if self.labels is None else self.labels[i]
            actions.append(act(agent, dist.Categorical(uniform), labels=labels))
        for agent, reward in zip(self.agents, self.rewards, strict=True):
            optimality(agent, reward[(state, *actions)])
        if self.transitions is None or len(self.initial_law) == 1:
            return state
        law = self.transitions[(state, *actions)]
        return pyro.sample("state", dist.Categorical(law))


def matrix_game(
    *payoffs: Any,
    agents: Sequence[str] | None = None,
    labels: Sequence[Sequence[str]] | None = None,
    name: str = "MatrixGame",
) -> ArrayGame:
    """A one-shot game from one payoff array for each agent, each of shape (A_1, ..., A_N).

    A single matrix is the row agent's payoff in a zero-sum game.

    Args:
        payoffs: the arrays.
        agents: names, by default ``row`` and ``col`` for two and ``agent1``, ... for others.
        labels: for each agent the names of its actions.
        name: the game's name for people.

    Raises:
        GameError: arrays of different shapes or of the wrong number of dimensions, or a payoff that
            is not finite.

    >>> pennies = matrix_game([[1, -1], [-1, 1]])
    >>> pennies.agents, pennies.rewards[:, 0].tolist()
    (('row', 'col'), [[[1.0, -1.0], [-1.0, 1.0]], [[-1.0, 1.0], [1.0, -1.0]]])
    """
    if not payoffs:
        raise GameError("a matrix game needs payoffs", hint="matrix_game(row, col).")
    arrays = [_array(payoff, f"payoff array {i}") for i, payoff in enumerate(payoffs)]
    if len(arrays) == 1 and arrays[0].dim() == 2:
        arrays.append(-arrays[0])
    for i, array in enumerate(arrays):
        _check_shape(array, tuple(arrays[0].shape), f"payoff array {i}")
    if agents is None and len(arrays) == 2:
        agents = ("row", "col")
    rewards = torch.stack(arrays).unsqueeze(1)
    return ArrayGame(rewards, agents=tuple(agents or ()), labels=labels, name=name)


def _array(value: Any, what: str) -> Tensor:
    """A float64 copy."""
    try:
        if isinstance(value, list | tuple):
            return torch.stack([torch.as_tensor(part, dtype=torch.float64) for part in value])
        return torch.as_tensor(value, dtype=torch.float64).clone()
    except (TypeError, ValueError, RuntimeError) as error:
        raise GameError(f"{what} are no array of numbers ({error})") from error


def _check_shape(array: Tensor, expected: tuple[int, ...], what: str) -> None:
    if tuple(array.shape) != expected:
        raise GameError(f"{what} have shape {tuple(array.shape)}, not {expected}")


def _check_rewards(rewards: Tensor, agents: tuple[str, ...]) -> None:
    if rewards.dim() < 2 or rewards.dim() != len(rewards) + 2 or 0 in rewards.shape:
        raise GameError(
            f"the rewards have shape {tuple(rewards.shape)}, which is not (N, S, A_1, ..., A_N)",
            hint="one array of shape (S, A_1, ..., A_N) for each of the N agents.",
        )
    if len(agents) != len(rewards):
        raise GameError(f"there are {len(agents)} names and the rewards of {len(rewards)} agents")
    bad = (~rewards.isfinite()).nonzero()
    if len(bad):
        agent, state, *actions = bad[0].tolist()
        raise GameError(
            f"the reward in state {state} at actions {tuple(actions)} is "
            f"{float(rewards[tuple(bad[0])])}",
            site=f"O_{agents[agent]}",
        )


def _check_labels(
    labels: Sequence[Sequence[str]] | None, agents: tuple[str, ...], actions: list[int]
) -> None:
    if labels is None:
        return
    if len(labels) != len(agents):
        raise GameError(f"there are labels for {len(labels)} of {len(agents)} agents")
    for agent, names, count in zip(agents, labels, actions, strict=True):
        if len(names) != count:
            raise GameError(f"{count} actions have {len(names)} labels", site=agent)


def _check_law(law: Tensor, site: str, what: str) -> None:
    """Probabilities along the last dimension; the message names the entry that is wrong."""

    def where(index: list[int]) -> str:
        return f" from state {index[0]} at actions {tuple(index[1:])}" if index else ""

    bad = (~(law >= 0)).nonzero()  # so written, it finds NaN too
    if len(bad):
        *index, to = bad[0].tolist()
        value = float(law[tuple(bad[0])])
        raise GameError(f"the probability of {what} {to}{where(index)} is {value:g}", site=site)
    total = law.sum(-1)
    off = (~((total - 1).abs() <= 1e-6)).nonzero()
    if len(off):
        index = off[0].tolist()
        found = float(total[tuple(index)])
        raise GameError(
            f"the probabilities of {what}{where(index)} sum to {found:g}, not 1",
            site=site,
            hint="divide them by their sum, or give what is missing to a state of its own.",
        )
