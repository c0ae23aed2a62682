"""An environment of PettingZoo's as a game program whose dynamics are one opaque sample site."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from gymnasium import spaces
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from vsg_ppl import simulator_spaces as simple
from vsg_ppl.errors import GameError, telling
from vsg_ppl.game import act, discount, optimality


class World(NamedTuple):
    """A state of a `SimulatorGame`.

    Attributes:
        ticket: number of the simulator's move that led here, a scalar integer.
        over: whether nobody plays any more, a scalar of 0 or 1.
        observed: each agent's observation: integer tensors for `Discrete` () and `MultiDiscrete`
            (n,), float64 for a `Box`, a dict or a tuple of these for `Dict` and `Tuple`. Who has
            left sees what it saw last.
        available: which values of each finite action are available, for each agent a tuple of
            vectors of 0 and 1 by its finite sites.
    """

    ticket: Tensor
    over: Tensor
    observed: dict[str, Any]
    available: dict[str, tuple[Tensor, ...]]


class SimulatorGame:
    """A simulator as a game; made by `from_pettingzoo`, which says what it promises.

    Attributes:
        env: the environment.
        agents: its possible agents, as texts.
        discount: γ.
        horizon: number of decisions.
        name: of the environment.
        site: name of the opaque sample site.
    """

    def __init__(self, env: Any, discount_: float, horizon: int | None) -> None:
        self.env, self.discount, self.horizon = env, discount_, horizon
        self.name = str(getattr(env, "metadata", {}).get("name", type(env).__name__))
        self._ids = {str(agent): agent for agent in env.possible_agents}
        self.agents = tuple(self._ids)
        discount(self)
        self.site = "world"
        while self.site in self.agents:
            self.site += "_"
        self._ticket = -1
        self._drawn: WeakValueDictionary[int, Tensor] = WeakValueDictionary()
        self._parts = {}
        self._seen = {}
        for agent, key in self._ids.items():
            self._parts[agent] = list(
                simple.parts(env.action_space(key), f"the actions of '{agent}'")
            )
            self._seen[agent] = list(
                simple.parts(env.observation_space(key), f"what '{agent}' sees")
            )
            for _, space in self._parts[agent]:
                simple.check_box(agent, space)
        self._counts = [simple.count(space) for parts in self._seen.values() for _, space in parts]
        self._masks = [
            n for parts in self._parts.values() for _, space in parts for n in simple.sizes(space)
        ]
        self._size = 2 + len(self.agents) + sum(self._counts) + sum(self._masks)

    def initial(self) -> World:
        """Reset the simulator, with a seed from torch's generator."""
        return self._read(pyro.sample(self.site, BlackBox(self, self._reset)))[0]

    def step(self, world: World) -> World:
        """Everybody acts, and the simulator makes a step."""
        actions = {agent: self._act(agent, world) for agent in self.agents}
        box = BlackBox(self, lambda: self._step(world, actions))
        following, rewards = self._read(pyro.sample(self.site, box))
        for agent, reward in zip(self.agents, rewards, strict=True):
            optimality(agent, reward)
        return following

    def to_action(self, agent: str, values: list[Tensor]) -> Any:
        """The environment's action from the values of the agent's sites, in order."""
        rest, leaves = iter(values), []
        for _, space in self._parts[agent]:
            if isinstance(space, spaces.Discrete):
                leaves.append(space.start + np.int64(next(rest).item()))
            elif isinstance(space, spaces.MultiDiscrete):
                own = [next(rest).item() for _ in space.nvec.reshape(-1)]
                leaves.append((space.start.reshape(-1) + own).astype(space.dtype))
            elif isinstance(space, spaces.MultiBinary):
                own = [next(rest).item() for _ in range(simple.count(space))]
                leaves.append(np.array(own, dtype=space.dtype).reshape(space.shape))
            else:
                given = next(rest).detach().cpu().numpy().astype(space.dtype)
                leaves.append(np.asarray(given.clip(space.low, space.high)))
        return simple.build(self.env.action_space(self._ids[agent]), iter(leaves))

    def _act(self, agent: str, world: World) -> list[Tensor]:
        """Sample the agent's sites by the priors."""
        values = []
        masks = iter(world.available[agent])
        several = sum(max(len(simple.sizes(space)), 1) for _, space in self._parts[agent]) > 1
        for path, space in self._parts[agent]:
            name = ".".join((agent, *map(str, path)))
            for k, _ in enumerate(simple.sizes(space)):
                more = several and not isinstance(space, spaces.Discrete)
                prior: Any = dist.Categorical(next(masks))
                values.append(act(agent, prior, name=f"{name}.{k}" if more else name))
            if isinstance(space, spaces.Box):
                low, high = (
                    torch.as_tensor(space.low).double(),
                    torch.as_tensor(space.high).double(),
                )
                bounded = bool(torch.isfinite(low).all())
                prior = dist.Uniform(low, high) if bounded else dist.Normal(0 * low.nan_to_num(), 1)
                values.append(act(agent, prior.to_event(low.ndim), name=name))
        return values

    # --- the simulator ---------------------------------------------------------------------------

    def _reset(self) -> Tensor:
        seed = int(torch.randint((1 << 31) - 1, ()))
        with telling(f"`reset` of {self.name}"):
            seen, infos = self.env.reset(seed=seed)
        self._ticket += 1
        self._last = {
            agent: [np.zeros(simple.count(space)) for _, space in self._seen[agent]]
            for agent in self.agents
        }
        return self._write(False, {}, seen, infos)

    def _step(self, world: World, actions: dict[str, list[Tensor]]) -> Tensor:
        if int(world.ticket) != self._ticket:
            raise GameError(
                f"{self.name} is asked to go on from a state it has left: a simulator is in one "
                "state at a time",
                site=self.site,
                hint="finish one play before the next begins, or an environment for each.",
            )
        for agent, values in actions.items():
            if any(value.requires_grad for value in values):
                raise GameError(
                    f"the action of '{agent}' carries a gradient, which a simulator would cut off",
                    site=self.site,
                    hint="a policy that samples `dist.Normal(...).has_rsample_(False)`: then the "
                    "gradient is that of the score function.",
                )
        if world.over:
            return self._write(True, {}, {}, {})
        live = [agent for agent, key in self._ids.items() if key in self.env.agents]
        given = {self._ids[agent]: self.to_action(agent, actions[agent]) for agent in live}
        with telling(f"`step` of {self.name}"):
            seen, rewards, terminations, truncations, infos = self.env.step(given)
        self._ticket += 1
        over = not self.env.agents or all(
            terminations.get(key, False) or truncations.get(key, False) for key in self.env.agents
        )
        return self._write(over, rewards, seen, infos)

    def _write(
        self, over: bool, rewards: dict[Any, Any], seen: dict[Any, Any], infos: dict[Any, Any]
    ) -> Tensor:
        """All that a move of the simulator's brings, as one vector."""
        numbers = [float(self._ticket), float(over)]
        for agent, key in self._ids.items():
            reward = float(rewards.get(key, 0.0))
            if not np.isfinite(reward):
                raise GameError(
                    f"{self.name} pays '{agent}' {reward}, not a finite number", site=self.site
                )
            numbers.append(reward)
        masks: list[Any] = []
        for agent, key in self._ids.items():
            if key in seen:
                self._last[agent] = [
                    simple.flatten(agent, space, simple.at(seen[key], path))
                    for path, space in self._seen[agent]
                ]
            for part in self._last[agent]:
                numbers += part.tolist()
            masks.append(self._available(agent, seen.get(key), infos.get(key, {})))
        return torch.tensor([*numbers, *np.concatenate(masks).tolist()], dtype=torch.float64)

    def _available(self, agent: str, seen: Any, info: Any) -> Any:
        """Ones and zeros for all values of the agent's finite sites, one after another."""
        given = info.get("action_mask")
        if given is None and isinstance(seen, dict):
            given = seen.get("action_mask")
        found = [np.empty(0)]
        for path, space in self._parts[agent]:
            sizes = simple.sizes(space)
            mask = [np.ones(size) for size in sizes]
            if given is not None and sizes and isinstance(space, simple.MASKED):
                own = simple.at(given, path)
                own = [own] if isinstance(space, spaces.Discrete) else own
                mask = [np.asarray(part, dtype=float) for part in own]
                if [len(part) for part in mask] != sizes:
                    raise GameError(
                        f"the action mask of '{agent}' is for {[len(part) for part in mask]} "
                        f"actions, and there are {sizes}"
                    )
                # who has left, or waits, has no action at all: then anything goes
                mask = [part if part.any() else np.ones_like(part) for part in mask]
            found += mask
        return np.concatenate(found)

    def _read(self, value: Tensor) -> tuple[World, Tensor]:
        """The state, and the rewards that led to it, of a move of the simulator's."""
        n = len(self.agents)
        ticket, over, rewards, rest = value.split([1, 1, n, self._size - 2 - n], -1)
        parts = iter(rest.split([*self._counts, *self._masks], -1))
        observed = {}
        for agent, key in self._ids.items():
            own = [simple.shaped(space, next(parts)) for _, space in self._seen[agent]]
            observed[agent] = simple.build(self.env.observation_space(key), iter(own))
        available = {
            agent: tuple(next(parts) for _, space in leaves for _ in simple.sizes(space))
            for agent, leaves in self._parts.items()
        }
        world = World(ticket[..., 0].long(), over[..., 0].long(), observed, available)
        return world, rewards.unbind(-1)


class BlackBox(TorchDistribution):
    """What a simulator does next: it can be drawn from, and has no density.

    Its log-probability, with respect to its own law, is zero: model and guide of one play share the
    move, and it cancels. Any other value is refused, so that no method takes it for a density.
    """

    arg_constraints: Any = {}
    support = constraints.real_vector
    has_rsample = False

    def __init__(self, game: SimulatorGame, draw: Callable[[], Tensor]) -> None:
        self.game, self.draw = game, draw
        super().__init__(torch.Size(), torch.Size([game._size]), validate_args=False)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008
        """Move the simulator."""
        if sample_shape:
            raise _one_at_a_time(self.game)
        value = self.draw()
        self.game._drawn[id(value)] = value
        return value

    def log_prob(self, value: Tensor) -> Tensor:
        """Zero, for a value that the simulator drew."""
        if self.game._drawn.get(id(value)) is not value:
            raise GameError(
                f"the moves of {self.game.name} have no density, and this value is not one of them",
                site=self.game.site,
                hint="`Trace_ELBO` with `agent_guide`, whose plays the model shares.",
            )
        return torch.zeros((), dtype=torch.float64)

    def expand(self, batch_shape: Any, _instance: Any = None) -> BlackBox:
        """Itself; it cannot be drawn from many times at once."""
        if torch.Size(batch_shape):
            raise _one_at_a_time(self.game)
        return self


def _one_at_a_time(game: SimulatorGame) -> GameError:
    return GameError(
        f"{game.name} plays one play at a time, and many are asked for at once",
        site=game.site,
        hint="vectorize_particles=False for an ELBO, parallel=False for `Predictive`, no plates.",
    )
