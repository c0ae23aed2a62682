"""K environments of PettingZoo's side by side, as a stage for learners."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor
from torch.nn.functional import one_hot

from vsg_ppl import simulator_spaces as simple
from vsg_ppl.arena import ActionSpace, with_available
from vsg_ppl.errors import GameError, telling
from vsg_ppl.guides.actions import Shape

MASK = "action_mask"
"""Part of an observation, or of what is told beside it, that says which actions there are."""


class Simulators:
    """K environments that are played at once, each with a seed of its own from torch's generator.

    Agents see their own observations: numbers as they are, and a vector with a single 1 for each of
    a finite set. Who has left sees what it saw last, does nothing, and is paid nothing; when nobody
    is left, the play begins anew.

    Args:
        make: makes an environment, a `ParallelEnv`.
        plays: K.

    Raises:
        GameError: actions that are neither one finite choice nor bounded numbers, or an environment
            that is not parallel.

    >>> from vsg_ppl.interop_pettingzoo import to_pettingzoo
    >>> from vsg_ppl.models import Chicken
    >>> stage = Simulators(lambda: to_pettingzoo(Chicken(), max_steps=5), plays=3)
    >>> stage.reset()
    >>> stage.step({agent: torch.tensor([[1.0, 0.0]] * 3) for agent in stage.agents}).shape
    torch.Size([3, 2])
    """

    def __init__(self, make: Callable[[], Any], plays: int) -> None:
        self.plays = plays
        self.envs = [make() for _ in range(plays)]
        if not hasattr(self.envs[0], "possible_agents") or hasattr(self.envs[0], "agent_iter"):
            raise GameError(
                f"{type(self.envs[0]).__name__} is not a parallel environment",
                hint="a ParallelEnv of PettingZoo's; `aec_to_parallel` makes one of the others.",
            )
        first = self.envs[0]
        self.name = str(getattr(first, "metadata", {}).get("name", type(first).__name__))
        self._ids = {str(agent): agent for agent in first.possible_agents}
        self.agents = tuple(self._ids)
        self.spaces = {
            agent: _space(agent, first.action_space(key)) for agent, key in self._ids.items()
        }
        self._seen = {
            agent: [
                (path, space)
                for path, space in simple.parts(
                    first.observation_space(key), f"what '{agent}' sees"
                )
                if path[-1:] != (MASK,)
            ]
            for agent, key in self._ids.items()
        }
        width = {a: sum(_width(space) for _, space in parts) for a, parts in self._seen.items()}
        self._last = {agent: torch.zeros(plays, width[agent]) for agent in self.agents}
        self._mask = {
            agent: torch.ones(plays, space.shape.width)
            for agent, space in self.spaces.items()
            if space.shape.kind == "finite"
        }
        self._goes_on = torch.ones(plays, len(self.agents))

    def reset(self) -> None:
        """Begin all plays anew."""
        for play in range(self.plays):
            self._reset(play)

    def renew(self) -> None:
        """Begin anew the plays in which nobody is left."""
        for play, env in enumerate(self.envs):
            if not env.agents:
                self._reset(play)

    def sees(self, agent: str) -> Tensor:
        """What an agent observed last, (K, parts); see `with_available` for finite actions."""
        return with_available(self, agent, self._last[agent].clone())

    def available(self, agent: str) -> Tensor:
        """1 for each of a finite set of actions that there is now, else 0, (K, A)."""
        return self._mask[agent].clone()

    def goes_on(self) -> Tensor:
        """0 where the environment said after the last step that the agent's play ended, (K, N).

        A play that was only cut off (truncated) would have gone on.
        """
        return self._goes_on

    def step(self, actions: Mapping[str, Tensor]) -> Tensor:
        """Let all act who are there; the rewards, (K, N)."""
        paid = torch.zeros(self.plays, len(self.agents))
        self._goes_on = torch.ones(self.plays, len(self.agents))
        for play, env in enumerate(self.envs):
            given = {
                key: self._action(agent, env.action_space(key), actions[agent][play])
                for agent, key in self._ids.items()
                if key in env.agents
            }
            with telling(f"`step` of {self.name}"):
                seen, rewards, ended, _, infos = env.step(given)
            for i, (agent, key) in enumerate(self._ids.items()):
                paid[play, i] = self._reward(agent, rewards.get(key, 0.0))
                self._goes_on[play, i] = float(key in given and not ended.get(key, False))
                self._look(play, agent, seen.get(key), infos.get(key, {}))
        return paid

    def _reset(self, play: int) -> None:
        seed = int(torch.randint((1 << 31) - 1, ()))
        with telling(f"`reset` of {self.name}"):
            seen, infos = self.envs[play].reset(seed=seed)
        for agent, key in self._ids.items():
            self._last[agent][play] = 0
            self._look(play, agent, seen.get(key), infos.get(key, {}))

    def _look(self, play: int, agent: str, seen: Any, info: Any) -> None:
        if seen is not None:
            parts = [
                _numbers(agent, space, simple.at(seen, path)) for path, space in self._seen[agent]
            ]
            self._last[agent][play] = torch.cat([torch.zeros(0), *parts])
        if agent in self._mask:
            told = info.get(MASK) if isinstance(info, Mapping) else None
            if told is None and isinstance(seen, Mapping):
                told = seen.get(MASK)
            there = torch.ones(self.spaces[agent].shape.width)
            if told is not None and np.any(told):  # who waits has no action at all: then any
                there = torch.as_tensor(np.asarray(told, dtype=np.float32))
            self._mask[agent][play] = there

    def _action(self, agent: str, space: Any, action: Tensor) -> Any:
        value = self.spaces[agent].value(action[None])[0]
        if isinstance(space, spaces.Discrete):
            return space.start + np.int64(value.item())
        return value.numpy().astype(space.dtype).clip(space.low, space.high)

    def _reward(self, agent: str, reward: Any) -> float:
        if not np.isfinite(float(reward)):
            raise GameError(f"{self.name} pays '{agent}' {reward}, not a finite number")
        return float(reward)


def _space(agent: str, space: Any) -> ActionSpace:
    if isinstance(space, spaces.Discrete):
        return ActionSpace(agent, Shape("finite", int(space.n)))
    simple.check_box(agent, space)
    if not isinstance(space, spaces.Box) or not np.isfinite(space.low).all():
        raise GameError(
            f"the actions of '{agent}' are {space}",
            hint="Discrete, or a Box with bounds; others by a wrapper.",
        )
    low, high = (
        torch.as_tensor(bound, dtype=torch.float32).reshape(-1) for bound in (space.low, space.high)
    )
    return ActionSpace(agent, Shape("box", len(low)), low, high, tuple(space.shape))


def _width(space: Any) -> int:
    return simple.count(space) if isinstance(space, spaces.Box) else sum(simple.sizes(space))


def _numbers(agent: str, space: Any, value: Any) -> Tensor:
    flat = torch.as_tensor(simple.flatten(agent, space, value))
    if isinstance(space, spaces.Box):
        return flat.float()
    start = torch.as_tensor(getattr(space, "start", np.zeros(space.shape))).reshape(-1)
    chosen = (flat.long() - start.long()).tolist()
    parts = [one_hot(torch.tensor(k), n) for k, n in zip(chosen, simple.sizes(space), strict=True)]
    return torch.cat(parts).float()
