"""The crowd: what the step of a mean-field game sees of everybody else."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from vsg_ppl.errors import GameError
from vsg_ppl.states import States
from vsg_ppl.structure import rebuild
from vsg_ppl.table import Actions

TRAILING = 16
"""Dimensions left to the agent's own state, actions and chance in what `Crowd.mean` averages."""


class Crowd:
    """The population's law L(s, a) at the time of a step (§5.2), as a step sees it.

    A mean-field game's step takes it as an argument named ``crowd``. What it returns broadcasts
    against the state and the actions of the step, and is differentiable in the law.

    Args:
        states: all states of the game.
        actions: the actions of the game's one agent; ``None`` while they are not known yet.
        joint: L_t(s, a) at h times, (h, S, A).
        rows: (n,) for each of the n states that the step runs over, which of the h times is its;
            ``None`` if there is one time only.

    >>> import vsg_ppl as vsg
    >>> from vsg_ppl.models import BeachBar
    >>> table = vsg.mean_field_table(BeachBar())
    >>> even = torch.full((1, 4, 3), 1 / 12, dtype=torch.float64)
    >>> crowd = Crowd(table.states, table.actions, even)
    >>> float(crowd.at(2)), float(crowd.mean(lambda place: place.double()))
    (0.25, 1.5)
    """

    def __init__(
        self,
        states: States,
        actions: Actions | None,
        joint: Tensor,
        rows: Tensor | None = None,
    ) -> None:
        self.states, self.actions, self.joint, self.rows = states, actions, joint, rows

    def at(self, state: Any, action: Any = None) -> Tensor:
        """The share μ_t(s) of the crowd in a state, or L_t(s, a) of those who also take an action.

        Args:
            state: in the game's own structure; its leaves broadcast. A state that play cannot reach
                holds nobody: its share is 0.
            action: an action, or a dict of one for each site if the agent has several.

        Raises:
            GameError: a state of another structure, or an action that does not exist.
        """
        place = self.states.locate(state)
        mass = self.joint.sum(-1) if action is None else self.joint.flatten(1)
        entry = place.clamp_min(0)
        if action is not None:
            entry = entry * self.joint.shape[2] + self._number(action)
        found = mass[0][entry] if self.rows is None else mass[self.rows, entry]
        return torch.where(place >= 0, found, 0.0)

    def mean(self, of: Callable[..., Any]) -> Tensor:
        """The average of a function of somebody's state, or state and action, over the crowd.

        Args:
            of: ``of(state)`` or ``of(state, action)``. It is called once with all states (and
                actions) in dimensions of their own at the left, so it may also use the own state
                and action of the step, as in ``crowd.mean(lambda other: (other - place).abs())``.
                Its ``action`` is a dict of sites if the agent has several.

        >>> import vsg_ppl as vsg
        >>> from vsg_ppl.models import BeachBar
        >>> table = vsg.mean_field_table(BeachBar())
        >>> crowd = Crowd(table.states, table.actions, torch.ones(1, 4, 3).double() / 12)
        >>> crowd.mean(lambda place, move: move == 2)
        tensor(0.3333, dtype=torch.float64)
        """
        joint, acts = self.joint, _arguments(of) > 1
        if acts and self.actions is None:  # a first run, only to see what the actions are
            return joint.new_tensor(0.5)
        h, n, size = joint.shape
        state = rebuild(
            self.states.like,
            [part.reshape(n, *[1] * (TRAILING + acts)) for part in self.states.values.unbind(1)],
        )
        value = of(state, self._actions()) if acts else of(state)
        value = torch.as_tensor(value, device=joint.device)
        value = value if value.is_floating_point() else value.double()
        lead = (n, size) if acts else (n,)
        full = len(lead) + TRAILING
        if value.ndim > full:
            raise GameError(
                f"what the crowd's mean is taken of has shape {tuple(value.shape)}, with more than "
                f"{TRAILING} dimensions behind the crowd's own"
            )
        value = value.reshape((1,) * (full - value.ndim) + tuple(value.shape))
        value = value.expand(*lead, *value.shape[len(lead) :])
        law = joint if acts else joint.sum(-1)
        own = value.shape[len(lead) :]
        if all(extent == 1 for extent in own):
            mean = law.flatten(1) @ value.reshape(-1).to(law.dtype)
            return mean[0] if self.rows is None else mean[self.rows]
        # the own state is in there: every row has a mean of its own
        law = law.flatten(1) if self.rows is None else law.flatten(1)[self.rows]  # (n|1, S·A)
        value = value.reshape(-1, *own)
        law = law.T.reshape(-1, *[1] * (TRAILING - 1), len(law))
        mean = (law * value).sum(0)
        keep = next((d for d, extent in enumerate(mean.shape) if extent > 1), TRAILING)
        return mean.reshape(mean.shape[keep:])

    def _actions(self) -> Any:
        """All actions along the second dimension, by site if there are several."""
        size = self.joint.shape[2]
        number = torch.arange(size, device=self.joint.device).reshape(-1, *[1] * TRAILING)
        assert self.actions is not None
        if len(self.actions.sites) == 1:
            return number
        out = {}
        for site, extent in reversed(
            list(zip(self.actions.sites, self.actions.sizes, strict=True))
        ):
            out[site], number = number % extent, number // extent
        return out

    def _number(self, action: Any) -> Tensor:
        """The number of a joint action."""
        if self.actions is None:
            return torch.zeros((), dtype=torch.long)
        if not isinstance(action, Mapping):
            action = {self.actions.sites[0]: action}
        if set(action) != set(self.actions.sites):
            raise GameError(
                f"the crowd is asked for the action at {', '.join(map(str, action))}, and the "
                f"action sites are {', '.join(self.actions.sites)}",
                hint="crowd.at(state, {site: action, ...}) with all sites.",
            )
        number = torch.zeros((), dtype=torch.long, device=self.joint.device)
        for site, extent in zip(self.actions.sites, self.actions.sizes, strict=True):
            chosen = torch.as_tensor(action[site], device=self.joint.device)
            if chosen.is_floating_point() or bool(((chosen < 0) | (chosen >= extent)).any()):
                raise GameError(
                    f"the crowd is asked for an action of '{site}' that is not among its {extent}"
                )
            number = number * extent + chosen
        return number


def _arguments(of: Callable[..., Any]) -> int:
    function = getattr(of, "__func__", of)
    return _counted(function) - (function is not of)


@lru_cache(maxsize=1024)
def _counted(function: Callable[..., Any]) -> int:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(function).parameters.values()
    return sum(p.kind in kinds and p.default is inspect.Parameter.empty for p in parameters)
