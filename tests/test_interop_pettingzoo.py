"""`to_pettingzoo` against PettingZoo's own tests and the tables; `from_pettingzoo` against both."""

import contextlib
import io
import pickle
import sys
import warnings
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, Predictive, Trace_ELBO
from pyro.optim import Adam

import vsg_ppl as vsg
from tests.bundled import faced
from tests.random_games import random_program
from vsg_ppl import models
from vsg_ppl.elbo import MarkovELBO
from vsg_ppl.errors import MissingExtra
from vsg_ppl.game import Limited, Optimality, role
from vsg_ppl.guides import FixedPolicy, TabularPolicy
from vsg_ppl.handlers import play
from vsg_ppl.interop_pettingzoo import from_pettingzoo, to_pettingzoo
from vsg_ppl.unroll import unroll

pytest.importorskip("pettingzoo")
from gymnasium import spaces  # noqa: E402
from pettingzoo import ParallelEnv  # noqa: E402
from pettingzoo.test import api_test, parallel_api_test, parallel_seed_test  # noqa: E402
from pettingzoo.utils import parallel_to_aec  # noqa: E402

HORIZONS = (1, 2, 3, None)


class Differential:
    """Two agents pick numbers in [-10, 10]; the higher hill is harder to find (max of two)."""

    agents, horizon = ("one", "two"), 25

    def initial(self):
        return torch.tensor(0)

    def step(self, state):
        prior = dist.Uniform(-10 * torch.ones(1), 10 * torch.ones(1)).to_event(1)
        x, y = (vsg.act(agent, prior)[..., 0] for agent in self.agents)
        low = -(((x + 5) / 3) ** 2) - ((y + 5) / 3) ** 2
        high = 10 - (x - 5) ** 2 - (y - 5) ** 2
        for agent in self.agents:
            vsg.optimality(agent, torch.maximum(0.8 * low, high))
        return state


class Drift:
    """A continuous state in which one pushes by an amount and says a word, and one mixes paths."""

    agents, horizon = ("push", "mix"), 8

    def initial(self):
        return {"x": pyro.sample("x", dist.Normal(0.0, 1.0)), "k": torch.tensor(3)}

    def step(self, state):
        level = vsg.signal("level", dist.Uniform(0.0, 1.0))
        force = vsg.act("push", dist.Normal(0.0, 1.0), name="force")
        loud = torch.stack([torch.tensor(1.0), (state["x"] > 0).float()])
        word = vsg.act("push", dist.Categorical(loud), name="word", labels=("hush", "shout"))
        shares = vsg.act("mix", dist.Dirichlet(torch.ones(3)))
        vsg.optimality("push", force * level + word)
        vsg.optimality("mix", shares[0] - state["x"] ** 2)
        return {"x": state["x"] + force + pyro.sample("shock", dist.Normal(0.0, 0.1)), "k": 3}


class Echo:
    """Who repeats the public signal is paid; the second optimality is worth a quarter of it."""

    agents, horizon = ("a", "b"), 6

    def initial(self):
        return torch.tensor(-2)

    def step(self, state):
        omen = vsg.signal("omen", dist.Categorical(torch.ones(5)))
        luck = pyro.sample("luck", dist.Bernoulli(0.5)).long()
        for agent in self.agents:
            said = vsg.act(agent, dist.Categorical(torch.ones(5)))
            vsg.optimality(agent, (said == omen).double())
            vsg.optimality(agent, 0.25 * (said == omen).double())
        return -2 + luck


BUNDLED = {
    "stag_hunt": (models.StagHunt(), 50),
    "soccer": (models.Soccer(rows=2, columns=3), 50),
    "congestion": (models.Congestion(), 30),
    "chicken": (models.Chicken(), None),
    "thermostat": (models.Thermostat(), None),
    "rock_paper_scissors": (models.RockPaperScissors(), None),
    "torus_crowd": (faced("torus_crowd"), None),
    "differential": (Differential(), None),
    "drift": (Drift(), None),
    "echo": (Echo(), None),
}

# What PettingZoo advises against is in the nature of some games: finite states, of one number only;
# no bounds; actions of two kinds; names that say who it is.
ADVICE = (
    "(Observation|Action) space for each agent probably should be gymnasium.spaces.box or",
    "We recommend agents to be named in the format",
    "Observation is a single number",
    "Observation numpy array is all zeros",
    "Agent's (minimum|maximum) observation space value is -?infinity",
)


def passes_everything(make):
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        for text in ADVICE:
            warnings.filterwarnings("ignore", text, UserWarning)
        parallel_api_test(make(), num_cycles=200)
        parallel_seed_test(make, num_cycles=100)
        api_test(parallel_to_aec(make()), num_cycles=200)


def random_game(seed, horizons=HORIZONS):
    return random_program(seed, 24, horizons, 4)


def some_actions(env, infos):
    return {
        agent: env.action_space(agent).sample(infos[agent].get("action_mask"))
        for agent in env.agents
    }


def whole_play(env, seed):
    """All that is seen, paid and said in one play of available actions."""
    for k, agent in enumerate(env.possible_agents):
        env.action_space(agent).seed(k)
    seen, infos = env.reset(seed=seed)
    record = [(seen, infos)]
    while env.agents:
        record.append(env.step(some_actions(env, infos)))
        infos = record[-1][-1]
        record.append(env.render())
    return record


def rows(table):
    """Numbers of the table's states by their integers, signals included."""
    return {tuple(row): k for k, row in enumerate(table.states.values.tolist())}


def place(env, table, observation):
    """The state's number, and the time, of an observation."""
    numbers = (np.asarray(observation) + env.low).tolist()
    t = numbers.pop() if (table.horizon or 1) > 1 else 0
    width = table.states.values.shape[1]
    return rows(table)[tuple(int(x) for x in numbers[:width])], int(t)


def now(tensor, t):
    return tensor[t if len(tensor) > 1 else 0]


# --- a game as an environment --------------------------------------------------------------------


@pytest.mark.parametrize("name", BUNDLED)
def test_pettingzoos_own_tests(name):
    game, steps = BUNDLED[name]
    # the parallel tests know no masks
    illegal = "prior" if name == "drift" else "raise"
    passes_everything(lambda: to_pettingzoo(game, max_steps=steps, illegal=illegal))


@pytest.mark.parametrize("seed", range(40))
def test_pettingzoos_own_tests_on_random_programs(seed):
    """PettingZoo's parallel tests know no masks: the prior steps in."""
    passes_everything(lambda: to_pettingzoo(random_game(seed), max_steps=20, illegal="prior"))


@pytest.mark.parametrize("name", BUNDLED)
def test_the_same_seed_is_the_same_play(name):
    """PettingZoo's own test of seeds stops after one step."""
    game, steps = BUNDLED[name]
    env = to_pettingzoo(game, max_steps=steps)
    one = whole_play(env, 3)
    torch.manual_seed(99)
    two = whole_play(to_pettingzoo(game, max_steps=steps), 3)
    assert len(one) > 2 and repr(one) == repr(two)
    others = {repr(whole_play(env, seed)) for seed in range(4, 9)}
    little_chance = ("chicken", "congestion", "differential", "rock_paper_scissors")
    assert name in little_chance or repr(one) not in others


def test_chance_is_private():
    env = to_pettingzoo(models.Thermostat())
    env.reset(seed=0)
    before = torch.get_rng_state()
    with poutine.trace() as trace:
        for _ in range(10):
            env.step({"heater": 0})
    assert torch.equal(before, torch.get_rng_state())
    assert not trace.trace.stochastic_nodes  # whoever runs it in a program sees no sites


def test_without_a_seed_the_stream_goes_on():
    pyro.set_rng_seed(5)
    env = to_pettingzoo(models.Soccer(), max_steps=3)
    first = [env.reset()[0]["a"].tolist() for _ in range(20)]
    pyro.set_rng_seed(5)
    again = to_pettingzoo(models.Soccer(), max_steps=3)
    assert first == [again.reset()[0]["a"].tolist() for _ in range(20)]
    assert len({tuple(seen) for seen in first}) == 2


@pytest.mark.parametrize("seed", range(30))
def test_masks_and_ranges_are_the_tables(seed):
    game = random_game(seed)
    table, env = vsg.tabulate(game), to_pettingzoo(game, max_steps=6)
    for agent, actions in zip(table.agents, table.actions, strict=True):
        assert env.action_space(agent) == spaces.Discrete(actions.size)
    for k in range(4):
        seen, infos = env.reset(seed=k)
        while env.agents:
            for i, agent in enumerate(table.agents):
                assert env.observation_space(agent).contains(seen[agent])
                assert infos[agent]["discount"] == table.discount == env.discount
                s, t = place(env, table, seen[agent])
                wanted = now(table.log_priors[i][0], t)[s] > -torch.inf
                assert infos[agent]["action_mask"].tolist() == wanted.long().tolist()
            seen, _, _, _, infos = env.step(some_actions(env, infos))


@pytest.mark.parametrize("seed", range(12))
def test_rewards_and_moves_follow_the_table(seed):
    """In each step: next states have positive probability, and mean rewards come out right."""
    game = random_game(seed, (2, None))
    table, env = vsg.tabulate(game), to_pettingzoo(game, max_steps=4)
    gaps = {agent: [] for agent in table.agents}
    for k in range(60):
        seen, infos = env.reset(seed=k)
        while env.agents:
            s, t = place(env, table, seen[table.agents[0]])
            chosen = some_actions(env, infos)
            joint = [torch.tensor([chosen[agent]]) for agent in table.agents]
            seen, rewards, _, cut, infos = env.step(chosen)
            for i, agent in enumerate(table.agents):
                reward = now(table.rewards[i][0], t)[s]
                index = [int(a) if n > 1 else 0 for a, n in zip(joint, reward.shape, strict=True)]
                gaps[agent].append(rewards[agent] - float(reward[tuple(index)]))
            if t + 1 == table.horizon:
                continue  # what the last step returns is not used
            after, _ = place(env, table, seen[table.agents[0]])
            law = now(table.probabilities[0], t)[s]
            index = [int(a) if n > 1 else 0 for a, n in zip(joint, law.shape[:-1], strict=True)]
            law = law[tuple(index)]
            where = torch.arange(len(law))
            if table.successors is not None:
                following = now(table.successors, t)[s]
                index = [
                    int(a) if n > 1 else 0 for a, n in zip(joint, following.shape[:-1], strict=True)
                ]
                where = following[tuple(index)]
            assert float(law[where == after].sum()) > 0
    for found in gaps.values():
        error = np.std(found) / np.sqrt(len(found))
        assert abs(np.mean(found)) <= 4 * error + 1e-9


def test_signals_are_seen_before_anyone_acts():
    env = to_pettingzoo(Echo())
    assert env.observation_space("a") == spaces.MultiDiscrete([2, 5, 7])  # state, omen, time
    seen, _ = env.reset(seed=0)
    omens = []
    while env.agents:
        omen = seen["a"][1]
        omens.append(int(omen))
        seen, rewards, *_ = env.step({"a": omen, "b": (omen + 1) % 5})
        assert rewards == {"a": 1.25, "b": 0.0}
    assert len(set(omens)) > 2 and env.low.tolist() == [-2, 0, 0]


def test_a_horizon_truncates_and_an_end_terminates():
    env = to_pettingzoo(models.Thermostat(horizon=3), max_steps=7)
    env.reset(seed=0)
    for t in range(3):
        _, _, ended, cut, _ = env.step({"heater": t})
        assert ended == {"heater": False} and cut == {"heater": t == 2}
    assert env.agents == [] and env.max_steps == 3
    with pytest.raises(vsg.GameError, match=r"no play is under way. Try: env.reset\(seed=0\)"):
        env.step({"heater": 0})

    env = to_pettingzoo(models.Soccer(rows=2, columns=3), max_steps=1000)
    for seed in range(20):
        _, infos = env.reset(seed=seed)
        for k, agent in enumerate(env.agents):
            env.action_space(agent).seed(100 * seed + k)
        while env.agents:
            seen, rewards, ended, cut, infos = env.step(some_actions(env, infos))
            goal = any(rewards.values())
            assert set(ended.values()) == {goal} and not any(cut.values())
        assert seen["a"].tolist() == [0, 0, models.soccer.Ball.OVER]


def test_plays_of_an_unbounded_game_are_bounded():
    """Only as much is explored as is played."""

    class Count:
        agents, discount = ("me",), 0.9

        def initial(self):
            return torch.tensor(0)

        def step(self, state):
            more = vsg.act("me", dist.Categorical(torch.ones(3)))
            vsg.optimality("me", more)
            return state + more

    env = to_pettingzoo(Count(), max_steps=10)
    assert env.observation_space("me") == spaces.MultiDiscrete([23])
    env.reset(seed=0)
    for _ in range(10):
        seen, _, ended, cut, _ = env.step({"me": 2})
    assert seen["me"].tolist() == [20] and cut["me"] and not ended["me"]


def test_max_steps_truncates():
    env = to_pettingzoo(models.StagHunt(), max_steps=2)
    env.reset(seed=0)
    assert env.step({"row": 0, "col": 0})[3] == {"row": False, "col": False}
    assert env.step({"row": 0, "col": 0})[3] == {"row": True, "col": True}


def test_a_step_that_pays_no_one_is_no_end():
    """Only where a state stays and never pays is play over: not in a game of many rounds."""
    env = to_pettingzoo(models.ThreeAgents(), max_steps=4)
    for seed in range(5):
        assert len(whole_play(env, seed)) == 1 + 2 * (env.horizon or 4)


def test_an_end_at_the_last_step_is_an_end():
    class Once:
        """The first step leads to the end, which pays nothing."""

        agents, discount = ("me",), 0.9

        def initial(self):
            return torch.tensor(0)

        def step(self, state):
            vsg.act("me", dist.Categorical(torch.ones(2)))
            vsg.optimality("me", (state == 0).double())
            return torch.ones_like(state)

    env = to_pettingzoo(Once(), max_steps=1)
    env.reset(seed=0)
    assert env.step({"me": 0})[1:4] == ({"me": 1.0}, {"me": True}, {"me": False})


class Choosy:
    """Two sites; the second's values depend on the first. The prior is far from even."""

    agents, horizon = ("me",), 4

    def initial(self):
        return torch.tensor(0)

    def step(self, state):
        first = vsg.act("me", dist.Categorical(torch.tensor([1.0, 0.0, 1.0])))
        law = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])[first]
        second = vsg.act("me", dist.Categorical(law), name="then")
        vsg.optimality("me", 10 * first + second)
        return state


def test_actions_that_are_not_available():
    env = to_pettingzoo(Choosy())
    _, infos = env.reset(seed=0)
    assert infos["me"]["action_mask"].tolist() == [1, 0, 0, 0, 0, 1]  # no product of two masks
    before = env.state()
    for action, site in ((1, "then"), (2, "me"), (4, "then")):
        with pytest.raises(vsg.GameError, match=f"site '{site}': 'me' chooses .* not available"):
            env.step({"me": action})
    assert env.state().tolist() == before.tolist()
    assert env.step({"me": 5})[1] == {"me": 21.0}

    lenient = to_pettingzoo(Choosy(), illegal="prior")
    lenient.reset(seed=0)
    assert lenient.step({"me": 1})[1] == {"me": 0.0}  # the second of the two is drawn anew
    assert lenient.step({"me": 2})[1]["me"] in (0.0, 21.0)
    assert lenient.step({"me": 5})[1] == {"me": 21.0}


@pytest.mark.parametrize("action", [2, -1, 0.5, None, "0", [0, 1], np.nan])
def test_actions_outside_the_space(action):
    env = to_pettingzoo(models.Chicken())
    env.reset(seed=0)
    with pytest.raises(vsg.GameError, match=r"site 'row': the action .* is not in Discrete\(2\)"):
        env.step({"row": action, "col": 0})
    with pytest.raises(vsg.GameError, match="given for row, and row, col act"):
        env.step({"row": 0})
    for kind in (int, np.int32, np.int64, np.array, torch.tensor):
        env.reset(seed=0)
        assert env.step({"row": kind(1), "col": kind(0)})[1] == {"row": 7.0, "col": 2.0}


@pytest.mark.parametrize("action", [[11.0], [np.nan], [1.0, 2.0], "far", None])
def test_numbers_outside_the_box(action):
    env = to_pettingzoo(Differential())
    env.reset(seed=0)
    with pytest.raises(vsg.GameError, match="site 'one': the action .* is not in Box"):
        env.step({"one": action, "two": [0.0]})


class Laws:
    """One agent, one site by any prior; its reward is the action, or its first part."""

    agents, horizon = ("me",), 2

    def __init__(self, prior):
        self.prior = prior

    def initial(self):
        return torch.tensor(0)

    def step(self, state):
        action = vsg.act("me", self.prior)
        vsg.optimality("me", action.reshape(-1)[0].double())
        return state


@pytest.mark.parametrize(
    ("prior", "space", "action", "reward"),
    [
        (dist.Uniform(-1.0, 3.0), spaces.Box(-1, 3, (1,)), [2.5], 2.5),
        (dist.Uniform(0.1, 0.3), spaces.Box(0.1, 0.3, (1,)), np.float32([0.3]), 0.3),
        (dist.Beta(2.0, 2.0), spaces.Box(0, 1, (1,)), [0.25], 0.25),
        (dist.Normal(5.0, 1.0), spaces.Box(-np.inf, np.inf, (1,)), [1e6], 1e6),
        (
            dist.MultivariateNormal(torch.zeros(2), torch.eye(2)),
            spaces.Box(-np.inf, np.inf, (2,)),
            [4.0, 5.0],
            4.0,
        ),
        (
            dist.Uniform(torch.zeros(2, 2), torch.ones(2, 2)).to_event(2),
            spaces.Box(0, 1, (2, 2)),
            [[0.5, 0], [0, 0]],
            0.5,
        ),
        (dist.Dirichlet(torch.ones(4)), spaces.Box(0, 1, (4,)), [1, 1, 0, 0.5], 0.4),
        (dist.Dirichlet(torch.ones(4)), spaces.Box(0, 1, (4,)), [0, 0, 0, 0], 0.25),
        (dist.Exponential(1.0), spaces.Box(0, np.inf, (1,)), [3.0], 3.0),
        (
            dist.LogNormal(0.0, 1.0),
            spaces.Box(np.nextafter(np.float32(0), np.float32(1)), np.inf, (1,)),
            [3.0],
            3.0,
        ),
        (dist.Bernoulli(0.5), spaces.Discrete(2), 1, 1.0),
        (dist.Binomial(3, 0.5), spaces.Discrete(4), 3, 3.0),
    ],
)
def test_spaces_of_priors(prior, space, action, reward):
    env = to_pettingzoo(Laws(prior))
    assert env.action_space("me") == space
    env.reset(seed=0)
    assert env.step({"me": action})[1]["me"] == pytest.approx(reward, rel=1e-6)
    env.step({"me": env.action_space("me").sample()})


@pytest.mark.parametrize(
    ("prior", "words"),
    [
        (dist.Poisson(2.0), "a Poisson, not over a finite set of numbers"),
        (dist.Categorical(torch.ones(2, 3)).to_event(1), "not over a finite set of numbers"),
        (dist.Normal(torch.zeros(3), 1.0), r"batch shape \(3,\); one play is stepped. Try: `.to_"),
        (dist.LKJCholesky(3), "which no space of gymnasium's is"),
    ],
)
def test_priors_without_a_space(prior, words):
    with pytest.raises(vsg.GameError, match=f"site 'me': .*{words}"):
        to_pettingzoo(Laws(prior))


def test_several_sites_of_one_agent():
    env = to_pettingzoo(Drift())
    assert env.action_space("push") == spaces.Dict(
        {"force": spaces.Box(-np.inf, np.inf, (1,)), "word": spaces.Discrete(2)}
    )
    assert env.observation_space("mix") == spaces.Box(-np.inf, np.inf, (4,))  # x, k, level, t
    seen, infos = env.reset(seed=0)
    for t in range(8):
        x, k, level, time = seen["push"]
        assert (k, time) == (3, t) and 0 <= level <= 1
        assert infos["push"]["action_mask"]["word"].tolist() == [1, int(x > 0)]
        action = {"force": [-2.0], "word": 0}
        seen, rewards, *_, infos = env.step({"push": action, "mix": [1.0, 1.0, 0.0]})
        assert rewards["push"] == pytest.approx(-2 * level, rel=1e-5)
        assert rewards["mix"] == pytest.approx(0.5 - x**2, rel=1e-5)
    with pytest.raises(vsg.GameError, match="site 'push': the action .* is not in Dict"):
        env.reset()
        env.step({"push": {"force": [0.0]}, "mix": [1.0, 0, 0]})


class Turns:
    """A program that branches: they take turns, and the second may name a smaller number only."""

    agents, horizon = ("first", "second"), 5

    def initial(self):
        return torch.tensor(4)

    def step(self, state, t):
        who = self.agents[t % 2]
        if state > 0:
            less = (torch.arange(5) < state).float()
            state = vsg.act(who, dist.Categorical(less))
            vsg.optimality(who, state)
        return state


def test_a_program_that_branches():
    """No table, so the observations are a box, and the agents' sites are found by playing."""
    make = lambda: to_pettingzoo(Turns(), illegal="prior")  # noqa: E731
    passes_everything(make)
    env = to_pettingzoo(Turns())
    assert env.observation_space("first") == spaces.Box(-np.inf, np.inf, (2,))
    _, infos = env.reset(seed=0)
    masks = {agent: info["action_mask"].tolist() for agent, info in infos.items()}
    assert masks == {"first": [1, 1, 1, 1, 0], "second": [1, 0, 0, 0, 0]}
    seen, rewards, *_, infos = env.step({"first": 2, "second": 4})  # who waits may say anything
    assert rewards == {"first": 2.0, "second": 0.0} and seen["second"].tolist() == [2.0, 1.0]
    assert infos["second"]["action_mask"].tolist() == [1, 1, 0, 0, 0]


@pytest.mark.parametrize("copy", [deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
def test_a_copy_goes_on_alike(copy):
    """Learners copy environments, and send them to other processes."""
    env = to_pettingzoo(models.Thermostat())
    env.reset(seed=0)
    env.step({"heater": 1})
    other = copy(env)
    while env.agents:
        one, two = env.step({"heater": 1}), other.step({"heater": 1})
        assert repr(one) == repr(two)


def test_render_is_a_line_of_text():
    env = to_pettingzoo(models.StagHunt(), max_steps=9)
    assert env.metadata["name"] == "stag_hunt_v0" == str(env) and env.render_mode == "ansi"
    env.reset(seed=0)
    assert env.render() in ("t=0 state=0", "t=0 state=1")
    paid = env.step({"row": 0, "col": 1})[1]
    assert env.render()[:11] == "t=1 state=" + str(env.state()[0])
    assert env.render()[11:] == f"; last row=STAG ({paid['row']:g}) col=HARE ({paid['col']:g})"
    env = to_pettingzoo(Drift())
    env.reset(seed=0)
    env.step({"push": {"force": [0.5], "word": 0}, "mix": [0.5, 0.5, 1]})
    assert "; last push=0.5,hush (" in env.render() and "mix=[0.25, 0.25, 0.5] (" in env.render()
    assert " level=0." in env.render()


@pytest.mark.parametrize(
    ("game", "options", "words"),
    [
        (models.StagHunt(), {}, "a play of StagHunt has no end.*Try: max_steps=100"),
        (models.StagHunt(), {"max_steps": 0}, "max_steps is 0; a play has 1 decision"),
        (models.StagHunt(), {"max_steps": 1.5}, "max_steps is 1.5; it counts decisions"),
        (models.Chicken(), {"illegal": "skip"}, "illegal is 'skip'. Try: one of 'raise', 'prior'"),
        (models.BeachBar(), {}, r"mean-field game.*Try: vsg.facing\(game, crowd\)"),
        (models.Chicken, {}, r"Chicken is a class, not a game. Try: Chicken\(\)"),
    ],
)
def test_games_that_are_no_environments(game, options, words):
    with pytest.raises(vsg.GameError, match=words):
        to_pettingzoo(game, **options)


def test_bad_programs():
    class Bad(Laws):
        def step(self, state):
            vsg.act("me", dist.Normal(0.0, 1.0))
            vsg.optimality("me", self.prior)
            return state

    for reward, words in (
        (float("nan"), "the reward of 'me' is nan, not a finite number"),
        (torch.ones(9), r"the reward of 'me' is of shape \(9,\), not a finite number"),
    ):
        with pytest.raises(vsg.GameError, match=f"site 'O_me': {words}"):
            to_pettingzoo(Bad(reward))

    class Silent(Laws):
        def step(self, state):
            return state + 0.5

    with pytest.raises(vsg.GameError, match="agent 'me' of Silent did not act in 2 steps"):
        to_pettingzoo(Silent(None))


# --- an environment as a game --------------------------------------------------------------------


def returns(game, policies, n, gamma=1.0):
    """Σ_t γ^t r_t of each agent in n plays, (n, agents); the game's own discount must be 1."""
    found = []
    for _ in range(n):
        total = dict.fromkeys(game.agents, 0.0)
        for name, site in poutine.trace(play(policies)(unroll(game))).get_trace().nodes.items():
            part = role(site) if site["type"] == "sample" else None
            if isinstance(part, Optimality):
                weight = gamma ** int(name.rsplit("_", 1)[1])
                total[part.agent] += weight * float(site["fn"].log_factor)
        found.append(list(total.values()))
    return np.array(found)


class Follow:
    """A policy of a round trip: the rows of a table, found by the observation."""

    def __init__(self, env, table, agent, logits):
        self.env, self.table, self.agent, self.logits = env, table, agent, logits
        self.prior = table.log_priors[table.number(agent)][0]

    def rows(self):
        return (self.prior + self.logits).log_softmax(-1)

    def __call__(self, world):
        s, t = place(self.env, self.table, world.observed[self.agent])
        pyro.sample(self.agent, dist.Categorical(logits=now(self.rows(), t)[s]))


def round_trip(game, seed):
    """A finite game, its environment as a game, and a random policy of each agent."""
    table, env = vsg.tabulate(game), to_pettingzoo(game)
    back = from_pettingzoo(env, horizon=table.horizon)
    generator = torch.Generator().manual_seed(seed)
    policies = {}
    for agent, actions in zip(table.agents, table.actions, strict=True):
        shape = (table.horizon, len(table.states), actions.size)
        logits = torch.randn(shape, generator=generator, dtype=torch.float64)
        policies[agent] = Follow(env, table, agent, logits)
    return table, back, policies


@pytest.mark.parametrize("seed", range(10))
def test_round_trip_keeps_the_values(seed):
    table, back, policies = round_trip(random_game(seed, (1, 2, 3)), seed)
    rows = {agent: policy.rows().exp() for agent, policy in policies.items()}
    values = np.array(list(vsg.certify(table, rows).values.values()))
    found = returns(back, policies, 200, table.discount)
    error = found.std(0) / np.sqrt(len(found))
    assert (abs(found.mean(0) - values) <= 4 * error + 1e-9).all()


@pytest.mark.parametrize(
    "game", [Limited(models.StagHunt(), 3), Limited(models.Soccer(rows=2, columns=3), 6)]
)
def test_round_trip_of_bundled_games(game):
    """Soccer can end early: then the environment is not asked any more."""
    table, back, policies = round_trip(game, 1)
    rows = {agent: policy.rows().exp() for agent, policy in policies.items()}
    values = np.array(list(vsg.certify(table, rows).values.values()))
    found = returns(back, policies, 300, table.discount)
    error = found.std(0) / np.sqrt(len(found))
    assert (abs(found.mean(0) - values) <= 4 * error).all() and error.max() < 0.3


def test_a_seed_repeats_a_play():
    _, back, policies = round_trip(random_game(3, (3,)), 0)
    runs = []
    for seed in (1, 1, 2):
        pyro.set_rng_seed(seed)
        runs.append(returns(back, policies, 10).tolist())
    assert runs[0] == runs[1] != runs[2]


@pytest.mark.parametrize("seed", [0, 1])
def test_the_elbo_and_its_gradient_are_right(seed):
    """Sampled through the simulator, against the exact ELBO of the program."""
    game = random_game(seed, (2,))
    table, back, policies = round_trip(game, seed)
    agent = table.agents[0]
    rest = {name: policy for name, policy in policies.items() if name != agent}
    logits = policies[agent].logits.clone().requires_grad_()
    mine = Follow(back.env, table, agent, logits)
    model = vsg.agent_model(back, agent, rest, temperature=2.0, horizon=2)
    guide = vsg.agent_guide(back, agent, mine, rest, horizon=2)

    # as an environment the game has neither a discount nor priors, but uniform ones
    even = [(prior > -torch.inf).double() for prior in table.log_priors]
    plain = tuple((prior / prior.sum(-1, keepdim=True)).log() for prior in even)
    table = replace(table, discount=1.0, log_priors=plain)
    exact = TabularPolicy(table, agent, (logits + mine.prior - plain[0][0]).detach().nan_to_num())
    others = {name: FixedPolicy(table, name, policy.rows().exp()) for name, policy in rest.items()}
    wanted = MarkovELBO(table).elbo(
        vsg.agent_model(game, agent, others, temperature=2.0),
        vsg.agent_guide(game, agent, exact, others),
    )
    (gradient,) = torch.autograd.grad(wanted, exact.logits)

    values = -np.array([Trace_ELBO().loss(model, guide) for _ in range(100)])
    assert abs(values.mean() - wanted.item()) <= 4 * values.std() / 10 + 1e-9
    gradients = []
    for _ in range(400):
        loss = Trace_ELBO().differentiable_loss(model, guide)
        gradients += torch.autograd.grad(-loss, logits)
    slopes = torch.stack(gradients)
    error = slopes.std(0) / 20
    often = (slopes != 0).any(-1).sum(0) >= 40  # of a rare state the error is not known
    close = (slopes.mean(0) - gradient).abs() <= 4 * error + 1e-9
    assert bool(close[often].all()) and int(often.sum()) >= 3
    assert bool((gradient.abs() > 4 * error).any())


def test_svi_learns_through_a_simulator():
    """The soft best response to a uniform opponent, which is known in closed form."""
    game = from_pettingzoo(to_pettingzoo(models.PrisonersDilemma()), horizon=1)
    logits = torch.zeros(2, dtype=torch.float64)

    def policy(world):
        pyro.sample("row", dist.Categorical(logits=pyro.param("logits", logits)))

    model = vsg.agent_model(game, "row", temperature=2.0)
    loss = Trace_ELBO(num_particles=10)
    svi = SVI(model, vsg.agent_guide(game, "row", policy), Adam({"lr": 0.05}), loss)
    for _ in range(150):
        svi.step()
    table = vsg.tabulate(models.PrisonersDilemma())
    wanted = (table.rewards[0][0, 0, 0].mean(-1) / 2.0).softmax(-1)
    assert pyro.param("logits").softmax(-1).tolist() == pytest.approx(wanted.tolist(), abs=0.05)


def test_discounted_games_and_predictive():
    env = to_pettingzoo(models.StagHunt(), max_steps=100)
    game = from_pettingzoo(env, discount=0.9)
    pyro.set_rng_seed(0)
    lengths = []
    for _ in range(50):
        trace = poutine.trace(unroll(game)).get_trace()
        lengths.append(sum(name.startswith("row_") for name in trace.nodes))
    assert 5 < np.mean(lengths) < 18
    model = vsg.agent_model(from_pettingzoo(env, discount=0.9, horizon=3), "row")
    samples = Predictive(model, num_samples=7, parallel=False)()
    assert samples["world_1"].shape[:1] == samples["row_0"].shape[:1] == (7,)
    loss = Trace_ELBO(num_particles=3).loss(model, vsg.agent_guide(model.game, "row", even))
    assert np.isfinite(loss)
    with pytest.raises(vsg.GameError, match="one play at a time.*vectorize_particles=False"):
        guide = vsg.agent_guide(model.game, "row", even)
        Trace_ELBO(num_particles=3, vectorize_particles=True).loss(model, guide)


def even(world):
    pyro.sample("row", dist.Categorical(torch.ones(2)))


def test_a_simulator_has_one_state_at_a_time():
    game = from_pettingzoo(to_pettingzoo(models.StagHunt(), max_steps=9), horizon=2)
    step = played(game)
    one = game.initial()
    other = game.initial()
    with pytest.raises(vsg.GameError, match="site 'world': .* asked to go on from a state it has"):
        step(one)
    following = step(other)
    with pytest.raises(vsg.GameError, match="finish one play before the next begins"):
        step(other)
    step(following)


def played(game):
    """The step alone; Pyro wants to have it traced, since it has factors."""
    return poutine.block(game.step)


def test_a_simulator_has_no_density_and_no_table():
    game = from_pettingzoo(to_pettingzoo(models.StagHunt(), max_steps=9), horizon=2)
    with pytest.raises(vsg.GameError, match="site 'world': a BlackBox cannot be enumerated"):
        vsg.tabulate(game)
    trace = poutine.trace(unroll(game)).get_trace()
    trace.compute_log_prob()
    assert float(trace.nodes["world_1"]["log_prob"]) == 0.0
    fixed = poutine.condition(unroll(game), {"world_2": trace.nodes["world_2"]["value"] + 0.0})
    with pytest.raises(ValueError, match="have no density, and this value is not one of them"):
        poutine.trace(fixed).get_trace().compute_log_prob()
    with pytest.raises(vsg.GameError, match="comes from an environment. Try: its `env`"):
        to_pettingzoo(game)


def test_a_gradient_through_a_simulator_is_refused():
    game = from_pettingzoo(to_pettingzoo(Differential()), horizon=2)
    mean = torch.zeros(1, requires_grad=True)

    def smooth(world):
        pyro.sample("one", dist.Normal(mean, 0.5).to_event(1))

    def scored(world):
        pyro.sample("one", dist.Normal(mean, 0.5).has_rsample_(False).to_event(1))

    model = vsg.agent_model(game, "one", temperature=100.0)
    with pytest.raises(vsg.GameError, match=r"carries a gradient.*has_rsample_\(False\)"):
        Trace_ELBO().differentiable_loss(model, vsg.agent_guide(game, "one", smooth))
    guide = vsg.agent_guide(game, "one", scored)
    slopes = []
    for _ in range(300):
        loss = Trace_ELBO().differentiable_loss(model, guide)
        slopes.append(float(torch.autograd.grad(loss, mean)[0]))
    assert len(set(slopes)) > 200  # it learns something of each play


class Toy(ParallelEnv):
    """Two agents with all kinds of spaces; 'early' leaves after one step, 'late' after two."""

    metadata = {"name": "toy_v0"}

    def __init__(self):
        self.possible_agents = ["early", 7]
        self.agents = []
        self.calls = []

    def observation_space(self, agent):
        if agent == "early":
            return spaces.Dict({"observation": spaces.Discrete(9, start=4), "action_mask": MASK})
        return spaces.Tuple((spaces.Box(-1, 1, (2, 2)), spaces.MultiDiscrete([3, 4])))

    def action_space(self, agent):
        if agent == "early":
            return spaces.Discrete(3, start=2)
        return spaces.Dict(
            {
                "go": spaces.Box(np.array([0, 5]), np.array([1, 6]), dtype=np.float32),
                "say": spaces.MultiDiscrete([2, 3]),
                "bits": spaces.MultiBinary(2),
                "free": spaces.Box(-np.inf, np.inf, ()),
            }
        )

    def _seen(self):
        every = {
            "early": {"observation": 4 + self.t, "action_mask": np.array([0, 1, 0], np.int8)},
            7: (np.full((2, 2), self.t / 2, np.float32), np.array([self.t, 3])),
        }
        return {agent: every[agent] for agent in self.agents}

    def reset(self, seed=None, options=None):
        self.t, self.seed, self.agents = 0, seed, list(self.possible_agents)
        return self._seen(), {agent: {} for agent in self.agents}

    def step(self, actions):
        assert list(actions) == self.agents
        for agent, action in actions.items():
            assert self.action_space(agent).contains(action), action
        self.calls.append(actions)
        self.t += 1
        seen, here = self._seen(), list(self.agents)
        ended = {"early": True, 7: self.t == 2}
        self.agents = [agent for agent in here if not ended[agent]]
        return (
            seen,
            {agent: float(10 * self.t) for agent in here},
            {agent: ended[agent] for agent in here},
            dict.fromkeys(here, False),
            {agent: {} for agent in here},
        )


MASK = spaces.MultiBinary(3)


def test_all_kinds_of_spaces_and_agents_that_leave():
    env = Toy()
    game = from_pettingzoo(env, horizon=4)
    assert game.agents == ("early", "7") and game.name == "toy_v0"
    trace = poutine.trace(unroll(game)).get_trace()
    paid = {
        name: float(site["fn"].log_factor)
        for name, site in trace.nodes.items()
        if name.startswith("O_")
    }
    assert paid == {
        **{"O_early_0": 10.0, "O_early_1": 0.0, "O_early_2": 0.0, "O_early_3": 0.0},
        **{"O_7_0": 10.0, "O_7_1": 20.0, "O_7_2": 0.0, "O_7_3": 0.0},
    }
    assert [list(actions) for actions in env.calls] == [["early", 7], [7]]
    assert env.calls[0]["early"] == 3  # the only one that its mask allows
    sites = [name for name in trace.stochastic_nodes if name.endswith("_0")]
    assert sites == [  # gymnasium sorts the keys of a Dict
        "world_0", "early_0", "7.bits.0_0", "7.bits.1_0", "7.free_0", "7.go_0", "7.say.0_0",
        "7.say.1_0",
    ]  # fmt: skip
    assert 5 <= float(trace.nodes["7.go_0"]["value"][1]) <= 6

    world = game.initial()
    assert int(world.observed["early"]["observation"]) == 4 and not world.over
    step = played(game)
    following = step(step(world))
    assert bool(following.over) and int(following.observed["early"]["observation"]) == 5
    box, pair = following.observed["7"]
    assert box.tolist() == [[1.0, 1.0], [1.0, 1.0]] and pair.tolist() == [2, 3]
    again = step(following)
    assert again.observed["7"][1].tolist() == [2, 3] and len(env.calls) == 4
    pyro.set_rng_seed(1)
    game.initial()
    seed = env.seed
    pyro.set_rng_seed(1)
    game.initial()
    assert env.seed == seed


class Odd(Toy):
    """A toy with one thing that is not as it should be."""

    def __init__(self, actions=None, seen=None, **wrong):
        super().__init__()
        self.actions, self.shown, self.wrong = actions, seen, wrong

    def action_space(self, agent):
        return self.actions or super().action_space(agent)

    def observation_space(self, agent):
        return self.shown or super().observation_space(agent)

    def step(self, actions):
        if "raises" in self.wrong:
            raise KeyError("door")
        seen, rewards, *rest = super().step(actions)
        return seen, {**rewards, **self.wrong.get("pays", {})}, *rest


def mixed():
    return spaces.Box(np.array([0, -np.inf]), np.array([1, np.inf]), dtype=np.float64)


@pytest.mark.parametrize(
    ("make", "options", "words"),
    [
        (lambda: Toy(), {}, "toy_v0 never ends.*horizon = 10"),
        (lambda: Toy(), {"discount": 2.0}, r"discount of toy_v0 is 2.0, not a number in \[0, 1\]"),
        (lambda: models.Chicken(), {"horizon": 1}, "a pettingzoo.ParallelEnv, not a Chicken"),
        (lambda: parallel_to_aec(Toy()), {"horizon": 1}, "act in turns. Try: .*aec_to_parallel"),
        (lambda: Odd(spaces.Text(3)), {"horizon": 1}, "the actions of 'early' are a space that"),
        (lambda: Odd(None, spaces.Text(3)), {"horizon": 1}, "what 'early' sees are a space that"),
        (lambda: Odd(mixed()), {"horizon": 1}, "the actions of 'early' are Box.* no plain prior"),
        (
            lambda: Odd(spaces.Box(0, 5, (2,), np.int64)),
            {"horizon": 1},
            "no plain prior. Try: a Box of real numbers",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:The base environment `toy_v0` does not have a `render_mode`")
def test_environments_that_are_no_games(make, options, words):
    with pytest.raises(vsg.GameError, match=words):
        from_pettingzoo(make(), **options)


@pytest.mark.parametrize(
    ("env", "words"),
    [
        (Odd(raises=True), "`step` of toy_v0 raises KeyError: 'door'"),
        (Odd(pays={7: np.inf}), "site 'world': toy_v0 pays '7' inf, not a finite number"),
        (Odd(None, spaces.Box(0, 1, (3,))), "'early' sees {.*}, which is not in Box"),
    ],
)
def test_simulators_that_go_wrong(env, words):
    with pytest.raises(vsg.GameError, match=words):
        unroll(from_pettingzoo(env, horizon=2))()


def test_without_pettingzoo(monkeypatch):
    monkeypatch.setitem(sys.modules, "pettingzoo", None)
    words = r"needs pettingzoo, .*: pip install 'vsg_ppl\[rl\]'"
    with pytest.raises(MissingExtra, match=words):
        to_pettingzoo(models.Chicken())
    with pytest.raises(MissingExtra, match=words):
        from_pettingzoo(None)
