"""Learners of agents whose actions are alike, side by side, and what they remember."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from vsg_ppl.arena import Stage
from vsg_ppl.errors import GameError
from vsg_ppl.guides.actions import Shape
from vsg_ppl.replay import Replay


class Learner(Protocol):
    """G agents that learn side by side, those of `Team.groups`.

    It may name in ``keeps`` what a step must be remembered with beside the usual: "episode", its
    number; "all_next", what every agent sees after it, in the order of everyone.
    """

    def start(self, mean: float, scale: float) -> None:
        """Let policies begin near one action, in (−1, 1), with this σ before the tanh."""

    def act(self, seen: Tensor) -> Tensor:
        """What the agents do, (G, B, width), where they see (G, B, parts)."""

    def explore(self, seen: Tensor, episode: int) -> Tensor:
        """What they do while they learn, (G, B, width)."""

    def learn(self, memory: Replay, episode: int) -> None:
        """One step of every network."""

    def state_dict(self) -> dict[str, Any]:
        """All that learning has changed, in tensors and plain values."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""


class Team:
    """Agents whose actions have one shape and who see alike. They share nothing but computation.

    Attributes:
        agents: names; learner g is that of agent g // K in play g % K.
        everyone: names of all agents of the game.
        plays: K.
        shapes: of actions, of everyone.
        seen: how many numbers they observe.
        sights: how many every agent of the game does.
        learner: made by ``make(team)``.
        memory: of each learner its own; made after it.
        device: of networks and memory.
    """

    def __init__(
        self,
        stage: Stage,
        agents: list[str],
        make: Callable[[Team], Learner],
        *,
        memory: int,
        device: str = "cpu",
    ) -> None:
        self.agents, self.everyone, self.plays = agents, stage.agents, stage.plays
        self.shapes = {agent: stage.spaces[agent].shape for agent in stage.agents}
        self.sights = {agent: stage.sees(agent).shape[1] for agent in stage.agents}
        self.seen, self.device = self.sights[agents[0]], device
        self.learner = make(self)
        widths = {
            "seen": self.seen,
            "own": self.own.width,
            "other": sum(shape.width for shape in self.others),
            "reward": 1,
            "theirs": len(self.others),
            "goes_on": 1,
            "next": self.seen,
        }
        more = {"episode": 1, "all_next": sum(self.sights.values())}
        self.keeps: tuple[str, ...] = getattr(self.learner, "keeps", ())
        widths.update({name: more[name] for name in self.keeps})
        self.memory = Replay(self.groups, memory, widths, device=device)

    @property
    def groups(self) -> int:
        """G, one learner for each agent and play."""
        return len(self.agents) * self.plays

    @property
    def own(self) -> Shape:
        """Of an agent's action."""
        return self.shapes[self.agents[0]]

    @property
    def others(self) -> tuple[Shape, ...]:
        """Of the others' actions, in the order of everyone.

        The same whoever of the team is left out: all of them have one shape. Where shapes of others
        stand in another order for another agent, `alike` has put it into another team.
        """
        return others(self.shapes, self.agents[0])

    def sees(self, stage: Stage) -> Tensor:
        """What the learners observe, (G, parts)."""
        return torch.cat([stage.sees(agent) for agent in self.agents]).to(self.device)

    def act(self, seen: Tensor, episode: int, *, random: bool) -> dict[str, Tensor]:
        """An action of each agent, (K, width), where the learners see (G, parts)."""
        if random:
            action = self.own.even(self.groups)
        else:
            action = self.learner.explore(seen[:, None], episode)[:, 0].cpu()
        return dict(zip(self.agents, action.split(self.plays), strict=True))

    def remember(
        self,
        seen: Tensor,
        actions: Mapping[str, Tensor],
        paid: Tensor,
        goes_on: Tensor,
        stage: Stage,
        episode: int,
    ) -> None:
        """What each agent saw, did, and was paid.

        Args:
            seen: by the learners, (G, parts).
            actions: of everyone, (K, width).
            paid: to everyone, (K, N).
            goes_on: 1 where it does, else 0, (K, N).
            stage: where agents see what comes after that.
            episode: its number.
        """
        mine = [self.everyone.index(agent) for agent in self.agents]
        rest = [[i for i in range(len(self.everyone)) if i != own] for own in mine]
        names = self.everyone
        step = {
            "seen": seen,
            "own": torch.cat([actions[agent] for agent in self.agents]),
            "other": torch.cat([torch.cat([actions[names[i]] for i in who], -1) for who in rest]),
            "reward": torch.cat([paid[:, [i]] for i in mine]),
            "theirs": torch.cat([paid[:, who] for who in rest]),
            "goes_on": torch.cat([goes_on[:, [i]] for i in mine]),
            "next": self.sees(stage),
        }
        if "episode" in self.keeps:
            step["episode"] = torch.full((self.groups, 1), float(episode))
        if "all_next" in self.keeps:
            seen_by_all = torch.cat([stage.sees(agent) for agent in names], -1)
            step["all_next"] = seen_by_all.repeat(len(self.agents), 1)
        self.memory.add(step)

    def policy(self, agent: str) -> Callable[[Tensor], Tensor]:
        """What the agent does, (K, width), where it sees (K, parts).

        With n K rows it does n actions in each play; row r is of play r % K. For any other number
        of rows there is a `GameError`.
        """
        first = self.agents.index(agent) * self.plays

        def play(seen: Tensor) -> Tensor:
            if seen.dim() != 2 or not len(seen) or len(seen) % self.plays:
                raise GameError(
                    f"a policy of {self.plays} plays is asked about {tuple(seen.shape)}",
                    hint=f"rows n × {self.plays}, n for each play; row r is of play r % "
                    f"{self.plays}.",
                )
            rows = seen.unflatten(0, (-1, self.plays)).transpose(0, 1)  # (K, n, parts)
            action = self.learner.act(rows.repeat(len(self.agents), 1, 1).to(self.device))
            return action[first : first + self.plays].transpose(0, 1).flatten(0, 1).cpu()

        return play

    def state_dict(self) -> dict[str, Any]:
        """What was learnt and is remembered."""
        return {"learner": self.learner.state_dict(), "memory": self.memory.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.learner.load_state_dict(state["learner"])
        self.memory.load_state_dict(state["memory"])


def others(shapes: Mapping[str, Shape], agent: str) -> tuple[Shape, ...]:
    """Shapes of what the others of an agent do, in order."""
    return tuple(shape for other, shape in shapes.items() if other != agent)


def alike(stage: Stage) -> list[list[str]]:
    """Agents by the shapes of their own and the others' actions, and by how much they see."""
    shapes = {agent: stage.spaces[agent].shape for agent in stage.agents}
    found: dict[Any, list[str]] = {}
    for agent in stage.agents:
        key = shapes[agent], others(shapes, agent), stage.sees(agent).shape[1]
        found.setdefault(key, []).append(agent)
    return list(found.values())
