"""Environments side by side, and learners on them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip("pettingzoo")

from gymnasium import spaces
from pettingzoo import ParallelEnv

import vsg_ppl as vsg
from vsg_ppl.ddpg import iddpg
from vsg_ppl.interop_pettingzoo import from_pettingzoo, to_pettingzoo
from vsg_ppl.mai import Cooling, mai
from vsg_ppl.models import Differential
from vsg_ppl.simulators import Simulators
from vsg_ppl.training import make_stage


class Walk(ParallelEnv):
    """Ann adds to a number, Bob multiplies it; Bob leaves when it passes 2, and all when 4."""

    metadata = {"name": "walk_v0"}

    def __init__(self, cut=None):
        self.possible_agents = ["ann", "bob"]
        self.agents = []
        self.cut = cut
        self.seeds = []

    def observation_space(self, agent):
        if agent == "ann":
            return spaces.Box(-10.0, 10.0, (2,), np.float32)
        seen = {
            "place": spaces.Box(-10.0, 10.0, (), np.float64),
            "day": spaces.Discrete(3, start=1),
        }
        return spaces.Dict({**seen, "action_mask": spaces.MultiBinary(3)})

    def action_space(self, agent):
        if agent == "ann":
            return spaces.Box(np.zeros((2, 1)), np.array([[1.0], [3.0]]), dtype=np.float64)
        return spaces.Discrete(3, start=5)

    def reset(self, seed=None, options=None):
        self.seeds.append(seed)
        self.agents, self.x, self.t = list(self.possible_agents), 1.0, 0
        return self._seen(), {agent: {} for agent in self.agents}

    def step(self, actions):
        self.given = actions
        self.t += 1
        if "ann" in actions:
            self.x += float(actions["ann"].sum())
        live = list(self.agents)
        over = {"ann": self.x > 4, "bob": self.x > 2}
        cut = self.cut is not None and self.t >= self.cut
        seen = self._seen()
        rewards = {agent: self.x for agent in live}
        self.agents = [agent for agent in live if not over[agent] and not cut]
        return (
            {agent: seen[agent] for agent in live},
            rewards,
            {agent: over[agent] for agent in live},
            {agent: cut and not over[agent] for agent in live},
            {agent: {} for agent in live},
        )

    def _seen(self):
        mask = np.array([1, 0, 1], dtype=np.int8)
        return {
            "ann": np.array([self.x, self.t], dtype=np.float32),
            "bob": {"place": np.array(self.x), "day": min(1 + self.t, 3), "action_mask": mask},
        }


def seen(stage, agent):
    """What an agent observes, without the three numbers that say what Bob may do."""
    return stage.sees(agent)[:, :-3].tolist()


def actions(ann, bob, plays=1):
    return {"ann": torch.tensor([ann] * plays), "bob": torch.tensor([bob] * plays)}


def test_what_is_read_off_it():
    stage = Simulators(Walk, 2)
    assert stage.name == "walk_v0" and stage.agents == ("ann", "bob")
    assert stage.spaces["ann"].shape == ("box", 2) and stage.spaces["bob"].shape == ("finite", 3)
    stage.reset()
    assert stage.sees("ann").tolist() == [[1.0, 0.0, 1.0, 0.0, 1.0]] * 2  # and what Bob may do
    assert stage.sees("bob").tolist() == [[1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0]] * 2
    assert stage.available("bob").tolist() == [[1.0, 0.0, 1.0]] * 2


def test_a_play():
    """Who has left waits for the others. Parts of a dict are in the order of their names."""
    stage = Simulators(Walk, 1)
    stage.reset()
    env = stage.envs[0]
    paid = stage.step(actions([0.0, -1.0], [0.0, 0.1, 0.9]))
    assert env.given["ann"].tolist() == [[0.5], [0.0]] and env.given["bob"] == 7
    assert paid.tolist() == [[1.5, 1.5]] and stage.goes_on().tolist() == [[1.0, 1.0]]
    assert seen(stage, "bob") == [[0.0, 1.0, 0.0, 1.5]]
    paid = stage.step(actions([1.0, -1.0], [1.0, 0.0, 0.0]))
    assert paid.tolist() == [[2.5, 2.5]] and stage.goes_on().tolist() == [[1.0, 0.0]]
    stage.renew()  # Ann is there still
    paid = stage.step(actions([0.0, -1.0], [1.0, 0.0, 0.0]))
    assert set(env.given) == {"ann"}
    assert paid.tolist() == [[3.0, 0.0]] and stage.goes_on().tolist() == [[1.0, 0.0]]
    assert seen(stage, "bob") == [[0.0, 0.0, 1.0, 2.5]]  # what Bob saw last
    stage.step(actions([1.0, 1.0], [1.0, 0.0, 0.0]))
    assert stage.goes_on().tolist() == [[0.0, 0.0]]
    assert seen(stage, "ann") == [[7.0, 4.0]]  # the last of that play
    stage.renew()
    assert seen(stage, "ann") == [[1.0, 0.0]] and len(env.seeds) == 2


def test_a_play_that_is_cut_off_would_go_on():
    stage = Simulators(lambda: Walk(cut=1), 1)
    stage.reset()
    stage.step(actions([-1.0, -1.0], [1.0, 0.0, 0.0]))
    assert stage.goes_on().tolist() == [[1.0, 1.0]] and stage.envs[0].agents == []
    stage.renew()
    assert seen(stage, "ann") == [[1.0, 0.0]]


def test_seeds_come_from_torch():
    found = []
    for _ in range(2):
        torch.manual_seed(4)
        stage = Simulators(Walk, 3)
        stage.reset()
        found.append([env.seeds for env in stage.envs])
    assert found[0] == found[1] and len({seed for (seed,) in found[0]}) == 3


def test_what_may_be_given():
    env = to_pettingzoo(Differential())
    assert make_stage(env, 1).envs == [env]
    copies = make_stage(env, 3).envs
    assert len({id(copy) for copy in copies}) == 3
    made = make_stage(lambda: to_pettingzoo(Differential()), 2)
    assert made.plays == 2 and made.agents == ("first", "second")
    assert make_stage(from_pettingzoo(env, discount=0.9), 1).envs == [env]


@pytest.mark.parametrize("method", [mai, iddpg])
def test_a_program_and_its_environment_are_one_game(method):
    """Nothing is random in it but the learners: they learn the same."""
    options = {"episodes": 2, "steps": 4, "plays": 2, "start": "networks", "gamma": 0.0}
    program = method(Differential(), **options).rewards
    # resets draw seeds for the environments: the streams differ from there on
    torch.manual_seed(0)
    stage = make_stage(lambda: to_pettingzoo(Differential()), 2)
    stage.reset()
    arena = make_stage(Differential(), 2)
    arena.reset()
    given = {agent: torch.rand(2, 1) for agent in arena.agents}
    assert torch.allclose(stage.step(given), arena.step(given), atol=1e-4)
    learnt = method(lambda: to_pettingzoo(Differential()), **options).rewards
    assert learnt.shape == program.shape and torch.isfinite(learnt).all()


class Tie(ParallelEnv):
    """Two agents are paid for a common number, .4, and a play is one step long."""

    metadata = {"name": "tie_v0"}
    possible_agents = ["ann", "bob"]
    agents = []

    def observation_space(self, agent):
        return spaces.Box(0.0, 1.0, (1,), np.float32)

    def action_space(self, agent):
        return spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, seed=None, options=None):
        self.agents = list(self.possible_agents)
        return self._all(np.zeros(1, np.float32)), self._all({})

    def step(self, given):
        ann, bob = (float(given[agent][0]) for agent in self.agents)
        reward = -((ann - 0.4) ** 2) - 2 * (bob - ann) ** 2
        found = (
            self._all(np.zeros(1, np.float32)),
            self._all(reward),
            self._all(True),
            self._all(False),
            self._all({}),
        )
        self.agents = []
        return found

    def _all(self, value):
        return dict.fromkeys(self.possible_agents, value)


def test_mai_learns_on_an_environment():
    """Plays end at once and begin anew; what comes after is not counted."""
    cooling = Cooling(first=5.0, last=0.01, rate=0.2)
    found = mai(
        Tie,
        episodes=40,
        steps=10,
        plays=2,
        gamma=0.9,
        temperature=cooling,
        model_temperature=cooling,
    )
    assert found.rewards[0].mean() < -1.0 and found.final().min() > -0.4


@pytest.mark.parametrize("env", [Tie, from_pettingzoo(Tie(), discount=0.9)])
def test_nothing_certifies_what_was_learnt_on_an_environment(env):
    found = mai(env, episodes=1, steps=2, gamma=0.9)
    for certify in (type(found).certify, vsg.certify_by_search):
        with pytest.raises(vsg.GameError, match="mai learnt on a simulator, which cannot be cert"):
            certify(found)


class Turns:
    """An environment in which agents take turns has `agent_iter`."""

    possible_agents = ["ann"]

    def agent_iter(self):
        return iter(())


class Odd(Walk):
    def action_space(self, agent):
        return spaces.MultiDiscrete([2, 2])


class Wide(Walk):
    def action_space(self, agent):
        return spaces.Box(-np.inf, np.inf, (1,))


class Priceless(Walk):
    def step(self, given):
        seen, rewards, *rest = super().step(given)
        return seen, dict.fromkeys(rewards, float("nan")), *rest


@pytest.mark.parametrize(
    ("env", "words"),
    [
        (Turns, "Turns is not a parallel environment"),
        (Odd, "the actions of 'ann' are MultiDiscrete"),
        (Wide, "the actions of 'ann' are Box"),
    ],
)
def test_what_learners_cannot_play(env, words):
    with pytest.raises(vsg.GameError, match=words):
        Simulators(env, 1)


def test_a_reward_that_is_none():
    stage = Simulators(Priceless, 1)
    stage.reset()
    with pytest.raises(vsg.GameError, match="walk_v0 pays 'ann' nan"):
        stage.step(actions([0.0, 0.0], [1.0, 0.0, 0.0]))


@pytest.mark.parametrize(
    ("options", "words"),
    [({"gamma": 0.0}, "has no end"), ({"steps": 2}, "an environment says no discount")],
)
def test_what_an_environment_does_not_say(options, words):
    with pytest.raises(vsg.GameError, match=words):
        mai(Tie, episodes=1, **options)


def test_what_is_no_game():
    with pytest.raises(vsg.GameError, match="int is not a game"):
        mai(3, episodes=1)
