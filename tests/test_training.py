"""What all methods of learning share: options, plays, memories, networks."""

from __future__ import annotations

import dataclasses
import math

import pyro.distributions as dist
import pytest
import torch

import vsg_ppl as vsg
from tests.test_mai import Meeting, Pair
from vsg_ppl.arena import Arena
from vsg_ppl.ddpg import iddpg, maddpg
from vsg_ppl.guides.actions import Shape
from vsg_ppl.guides.networks import Perceptrons
from vsg_ppl.learner_networks import Networks
from vsg_ppl.mai import mai
from vsg_ppl.masql import masql
from vsg_ppl.models import BeachBar, Chicken, Differential, Routing, StagHunt, Thermostat
from vsg_ppl.sac import sac
from vsg_ppl.settings import Options, Settings, schedule
from vsg_ppl.team import Team
from vsg_ppl.training import train

METHODS = {"mai": mai, "masql": masql, "maddpg": maddpg, "iddpg": iddpg, "sac": sac}
methods = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)


class Recorder:
    """Does what its number says, and keeps what it is told."""

    def __init__(self, team, settings):
        self.team, self.settings, self.started, self.episodes = team, settings, None, []

    def start(self, mean, scale):
        self.started = mean, scale

    def act(self, seen):
        number = torch.arange(self.team.groups)[:, None, None]
        return number.expand(-1, seen.shape[1], self.team.own.width) / 128

    def explore(self, seen, episode):
        return self.act(seen)

    def learn(self, memory, episode):
        self.memory = memory
        self.episodes.append(episode)


def recorded(game, **options):
    made = []

    def make(team, settings):
        made.append(Recorder(team, settings))
        return made[-1]

    return train(game, "record", make, options), made


def test_options_are_said_in_two_places_alike():
    settings = [field.name for field in dataclasses.fields(Settings)]
    assert list(Options.__annotations__) == settings


def test_who_remembers_what():
    """Learner g is that of agent g // K in play g % K; the others are in order."""
    one = Shape("box", 1)
    found, (pair, alone) = recorded(Meeting(), episodes=2, steps=3, plays=4, start="networks")
    assert pair.team.agents == ["ann", "bob"] and alone.team.agents == ["cy"]
    assert (pair.team.groups, pair.team.own) == (8, one)
    assert pair.team.others == (one, Shape("box", 2))
    assert (alone.team.groups, alone.team.own.width, alone.team.others) == (4, 2, (one, one))
    k = torch.arange(4) / 128
    ann, bob, cy = k, k + 4 / 128, k
    memory = pair.memory.last("other", 1)[:, 0]
    assert torch.equal(memory[:4], torch.stack([bob, cy, cy], -1))
    assert torch.equal(memory[4:], torch.stack([ann, cy, cy], -1))
    assert torch.equal(alone.memory.last("other", 1)[:, 0], torch.stack([ann, bob], -1))
    assert torch.equal(pair.memory.last("own", 1)[:, 0, 0], torch.cat([ann, bob]))
    paid = -((ann - 0.4) ** 2 + (bob - ann) ** 2 + 2 * (cy - 0.4) ** 2)
    assert torch.allclose(pair.memory.last("reward", 1)[:, 0, 0], paid.repeat(2))
    assert torch.allclose(found.rewards, paid[None, :, None].expand(2, 4, 3))
    assert torch.equal(found.policies["bob"](torch.zeros(4, 1))[:, 0], bob)
    assert pair.episodes == [0, 0, 0, 1, 1, 1]
    assert pair.memory.capacity == 6  # no more than there are steps


def test_starts():
    _, (near,) = recorded(Pair(), episodes=1, start=0.3)
    assert near.started == (0.3, 0.2)
    _, (even,) = recorded(Pair(), episodes=11, start="uniform")
    assert even.started is None
    own = even.memory.last("own", 110)[0, :, 0]
    assert len(set(own[:100].tolist())) == 100 and own[:100].abs().max() > 0.9
    assert set(own[100:].tolist()) == {0.0}


def test_networks():
    torch.manual_seed(0)
    nets = Networks(2, {"a": (1, 1), "critic": (3, 4, 1)}, {"target": "critic"}, learning_rate=0.1)
    seen, own, other, wanted = (torch.randn(2, 5, 1) for _ in range(4))
    assert torch.equal(nets.q(seen, own, other), nets.q(seen, own, other, target=True))
    loss = nets.critic_loss(seen, own, other, wanted=wanted[..., 0])
    off = nets.q(seen, own, other) - wanted[..., 0]
    expected = (0.5 * off**2 + 0.5 * math.log(2 * math.pi)).sum() / 5
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    old = [x.detach().clone() for x in nets.networks["target"].parameters()]
    first = [x.detach().clone() for x in nets.networks["a"].parameters()]
    nets.improve("critic", lambda: nets.critic_loss(seen, own, other, wanted=wanted[..., 0]))
    nets.follow(0.25)
    new = nets.networks["critic"].parameters()
    for x, y, z in zip(nets.networks["target"].parameters(), old, new, strict=True):
        assert torch.allclose(x, 0.75 * y + 0.25 * z)
    for x, y in zip(nets.networks["a"].parameters(), first, strict=True):
        assert torch.equal(x, y)
    nets.copy()
    assert torch.equal(nets.q(seen, own, other), nets.q(seen, own, other, target=True))


class Apart(Pair):
    """Nobody matters to the other."""

    def __init__(self, weight):
        self.weight = weight

    def step(self, state):
        ann = vsg.act("ann", dist.Uniform(-1.0, 1.0))
        bob = vsg.act("bob", dist.Uniform(-1.0, 1.0))
        vsg.optimality("ann", -self.weight * (ann - self.place) ** 2)
        vsg.optimality("bob", -((bob - self.place) ** 2))
        return state


@pytest.mark.parametrize("method", [iddpg, sac])
def test_what_one_is_paid_is_nothing_to_the_other(method):
    """Of methods that do not look at the others' actions."""
    options = {"episodes": 3, "steps": 10, "plays": 2, "start": "networks", "gamma": 0.9}
    one, two = (method(Apart(weight), **options) for weight in (1.0, -3.0))
    assert torch.equal(one.rewards[..., 1], two.rewards[..., 1])
    seen = torch.zeros(2, 1)
    torch.manual_seed(0)
    before = one.policies["ann"](seen)
    torch.manual_seed(0)
    assert not torch.allclose(before, two.policies["ann"](seen))


def test_a_schedule():
    assert schedule("noise", 0.0, zero=True)(3) == 0.0
    assert schedule("temperature", lambda k: k + 1.0)(3) == 4.0


@methods
@pytest.mark.parametrize("gamma", [0.0, 0.9])
def test_every_method_runs(method, gamma):
    """Three agents, one of them with two numbers."""
    found = method(Meeting(), episodes=3, steps=4, plays=2, start="networks", gamma=gamma)
    assert found.agents == ("ann", "bob", "cy") and found.method == method.__name__
    assert found.rewards.shape == (3, 2, 3) and torch.isfinite(found.rewards).all()
    assert found.policies["cy"](torch.zeros(2, 1)).shape == (2, 2)


@methods
def test_seeds(method):
    one, again, other = (
        method(Pair(), episodes=2, steps=4, plays=2, start="networks", seed=k).rewards
        for k in (1, 1, 2)
    )
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


@methods
def test_a_start_near_an_action(method):
    """The first actions are near it: f_1 is 0 at −5, half of −10."""
    found = method(Differential(), episodes=1, plays=20, start=-0.5, steps=1)
    assert found.rewards.mean() > -3.0
    found = method(Differential(), episodes=1, plays=20, start=0.0, steps=1)
    assert -6.0 < found.rewards.mean() < -3.0  # −4.4 in the middle


@methods
@pytest.mark.parametrize(
    ("game", "options", "words"),
    [
        (Thermostat(), {"steps": 3}, "Thermostat has one agent"),
        (Pair(), {"episodes": 0}, "episodes is 0"),
        (Pair(), {"memory": 0}, "memory is 0"),
        (Pair(), {"steps": 0}, "has 0 steps"),
        (Pair(), {"gamma": 1.0}, "gamma is 1.0"),
        (Pair(), {"start": "cold"}, "the start is 'cold'"),
        (Pair(), {"leak": -0.1}, "the leak is -0.1, not in"),
        (Pair(), {"follow": 3.0}, "follow is 3.0, not in"),
        (Pair(), {"hidden": 64}, "hidden is 64"),
        (Pair(), {"episodes": 1.5}, "episodes is 1.5; a whole number"),
        (BeachBar(), {}, "BeachBar is a mean-field game"),
    ],
)
def test_what_does_not_fit(method, game, options, words):
    with pytest.raises(vsg.GameError, match=words):
        method(game, **{"episodes": 1, **options})


@pytest.mark.parametrize("method", [masql, maddpg, iddpg, sac])
def test_finite_actions(method):
    with pytest.raises(vsg.GameError, match="'row' of Chicken has finite actions"):
        method(Chicken(), episodes=1)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (-1.0, "the noise is -1.0; it must not be negative"),
        ("much", "the noise is much; it must"),
        (math.inf, "the noise is inf; .* finite"),
        (lambda k: 0.1 - 0.1 * k, "the noise is -0.1 in episode 3"),
        (lambda k: None, "the noise is None in episode 1"),
    ],
)
def test_schedules_that_are_none(given, words):
    with pytest.raises(vsg.GameError, match=words):
        maddpg(Pair(), episodes=4, steps=1, noise=given)


def test_exploration_is_a_share():
    with pytest.raises(vsg.GameError, match="the exploration is 2.0; .* nor more than 1"):
        mai(StagHunt(), episodes=1, steps=1, exploration=2.0)


def test_rewards_that_are_no_numbers():
    with pytest.raises(vsg.GameError, match="'ann' is paid nan in episode 1 of Apart"):
        sac(Apart(math.nan), episodes=1, steps=1)


def test_an_episode_ends_at_the_horizon():
    with pytest.raises(vsg.GameError, match="26 steps are asked for; an episode of .* has 25"):
        sac(Differential(), episodes=1, steps=26)


def test_looks_that_changed(tmp_path):
    """Of a run that goes on."""
    options: Options = {"steps": 1, "watch_every": 1, "checkpoint": tmp_path / "run.pt"}

    def look(*names):
        return lambda policies: {name: torch.zeros(1) for name in names}

    class Enough(Exception):
        pass

    def stop(policies):
        if len(looks) == 1:
            raise Enough
        looks.append(1)
        return look("x")(policies)

    looks: list[int] = []
    with pytest.raises(Enough):
        sac(Pair(), episodes=3, watch=stop, every=0.0, **options)
    with pytest.raises(vsg.GameError, match="the looks before were at x, and this one is at x, y"):
        sac(Pair(), episodes=3, watch=look("x", "y"), **options)


def test_one_thread_is_enough(monkeypatch):
    seen = []
    torch.set_num_threads(2)
    try:
        sac(
            Pair(),
            episodes=1,
            steps=1,
            watch=lambda policies: seen.append(torch.get_num_threads()) or {},
        )
        assert seen == [1] and torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


def test_a_device_by_its_number(tmp_path):
    path = tmp_path / "run.pt"
    sac(Pair(), episodes=1, steps=1, device="cpu:0", checkpoint=path)
    assert path.exists()


@methods
def test_the_leak_is_that_of_all_networks(method, monkeypatch):
    """Target networks too."""
    made, begin = [], Perceptrons.__init__
    monkeypatch.setattr(
        Perceptrons, "__init__", lambda self, *a, **o: made.append(self) or begin(self, *a, **o)
    )
    method(Pair(), episodes=1, steps=2, leak=0.25)
    assert len(made) > 2 and {network.leak for network in made} == {0.25}


def test_an_unknown_option():
    with pytest.raises(vsg.GameError, match="`sac` has no option 'episode'.*temperature, episodes"):
        sac(Pair(), episode=1)


def test_a_team_is_made_without_a_memory():
    arena = Arena(Pair(), 2)
    arena.reset()
    team = Team(arena, ["ann", "bob"], lambda team: Recorder(team, None), memory=7)
    assert team.memory.capacity == 7 and team.seen == 1


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@methods
@pytest.mark.parametrize("gamma", [0.0, 0.9])
def test_on_a_gpu(method, gamma, tmp_path):
    """Networks and memories lie there, the game does not; what is kept goes on there."""
    options = {"steps": 4, "plays": 2, "start": "networks", "gamma": gamma, "device": "cuda"}
    path = tmp_path / "run.pt"
    found = method(Meeting(), episodes=3, checkpoint=path, every=0.0, **options)
    assert torch.isfinite(found.rewards).all() and found.rewards.device.type == "cpu"
    assert found.policies["cy"](torch.zeros(6, 1)).shape == (6, 2)
    again = method(Meeting(), episodes=3, checkpoint=path, **options)
    assert torch.equal(found.rewards, again.rewards)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("opponents", ["own", "known", "inferred", "observed", "none"])
def test_finite_and_shared_actions_on_a_gpu(opponents):
    for game in (Chicken(), Routing("pigou", n_agents=2)):
        found = mai(game, opponents=opponents, episodes=2, steps=3, plays=2, device="cuda")
        assert torch.isfinite(found.rewards).all()


def test_a_device_that_is_not_there():
    with pytest.raises(vsg.GameError, match="the device is 'tpu9'"):
        mai(Pair(), episodes=1, device="tpu9")
