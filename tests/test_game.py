from enum import IntEnum

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine

import vsg_ppl as vsg
from vsg_ppl import models
from vsg_ppl.errors import GameError, MissingExtra, telling
from vsg_ppl.game import (
    Act,
    Limited,
    Optimality,
    Signal,
    agents,
    call,
    discount,
    horizon,
    role,
    takes,
    title,
)

EITHER = dist.Categorical(torch.ones(2))


class Light(IntEnum):
    RED = 0
    GREEN = 1


class Ends:
    """A game that is asked for its numbers only."""

    agents = ("a", "b")

    def __init__(self, **given):
        for name, value in given.items():
            setattr(self, name, value)

    def initial(self):
        return torch.tensor(0)

    def step(self, state):
        return state


def sites(program):
    """The messages of a program's sites by name, as a trace keeps them."""
    return poutine.trace(program).get_trace().nodes


def test_what_a_program_says_is_marked():
    def step():
        vsg.signal("light", EITHER)
        vsg.act("a", EITHER, labels=Light)
        vsg.act("a", EITHER, name="second", labels=["up", "down"])
        vsg.optimality("a", 1.5)
        vsg.optimality("a", -1.0, name="cost")

    found = {name: role(msg) for name, msg in sites(step).items() if msg["type"] == "sample"}
    assert found == {
        "light": Signal("light"),
        "a": Act("a", "a", ("RED", "GREEN")),
        "second": Act("a", "second", ("up", "down")),
        "O_a": Optimality("a"),
        "O_a.cost": Optimality("a"),
    }


def test_a_move_of_chance_has_no_role():

    assert role(sites(lambda: pyro.sample("coin", EITHER))["coin"]) is None


@pytest.mark.parametrize(
    ("reward", "wanted"),
    [
        (2, 2.0),
        (0.1, 0.1),
        (True, 1.0),
        (torch.tensor(3), 3.0),
        (torch.tensor(True), 1.0),
        (torch.tensor(0.5, dtype=torch.float32), 0.5),
        (torch.tensor(0.1, dtype=torch.float64), 0.1),
    ],
    ids=repr,
)
def test_optimality_is_the_factor_exp_reward(reward, wanted):
    trace = poutine.trace(lambda: vsg.optimality("a", reward)).get_trace()
    assert float(trace.log_prob_sum()) == wanted


def test_optimality_over_a_batch_adds_up():
    trace = poutine.trace(lambda: vsg.optimality("a", torch.tensor([1.0, 2.0]))).get_trace()
    trace.compute_log_prob()
    assert trace.nodes["O_a"]["log_prob"].tolist() == [1.0, 2.0]


def test_act_returns_an_action_of_the_prior():
    never = dist.Categorical(torch.tensor([0.0, 1.0, 0.0]))
    assert int(vsg.act("a", never)) == 1


@pytest.mark.parametrize("name", models.GAMES)
def test_bundled_games_are_games(name):
    game = models.GAMES[name]()
    assert isinstance(game, vsg.Game)
    assert agents(game) == tuple(game.agents)
    assert horizon(game) is None or horizon(game) >= 1
    assert (horizon(game) is None) == (discount(game) < 1)


def test_an_object_without_a_step_is_no_game():
    class Half:
        agents = ("a",)

        def initial(self):
            return None

    assert not isinstance(Half(), vsg.Game)


def test_numbers_of_a_game():
    assert (discount(Ends(discount=0.9)), horizon(Ends(discount=0.9))) == (0.9, None)
    assert (discount(Ends(horizon=3)), horizon(Ends(horizon=3))) == (1.0, 3)
    assert discount(Ends(horizon=3, discount=None)) == 1.0
    assert horizon(Ends(horizon=None, discount=0)) is None


def test_the_same_game_with_another_horizon():
    game = models.StagHunt()
    limited = Limited(game, 3)
    assert isinstance(limited, vsg.Game)
    assert (horizon(limited), discount(limited)) == (3, game.discount)
    assert title(limited) == "StagHunt" and agents(limited) == agents(game)
    assert horizon(Limited(Ends(), 4)) == 4  # a game that names no end of its own


def test_title():
    assert title(Ends()) == "Ends"
    assert title(Ends(name="tag")) == "tag"
    assert title(Ends(name=3)) == "Ends"


def test_programs_get_what_they_name():
    def plain(state):
        return state

    def timed(state, t):
        return state, t

    class Module(torch.nn.Module):
        def forward(self, state, seen):
            return state, seen

    assert call(plain, 1, t=2, seen=3) == 1
    assert call(timed, 1, t=2, seen=3) == (1, 2)
    assert call(Module(), 1, t=2, seen=3) == (1, 3)
    assert takes(timed, "t") and not takes(plain, "t") and takes(Module(), "seen")
    assert takes(models.Thermostat().step, "t") and not takes(models.Hedge().step, "t")


def test_what_a_program_raises_is_told_in_one_line():
    with pytest.raises(
        GameError, match=r"^`step` of Tag raises ValueError: no such room$"
    ) as caught:
        with telling("`step` of Tag"):
            raise ValueError("no such room\nand much more")
    assert isinstance(caught.value.__cause__, ValueError)
    own = GameError("mine")
    with pytest.raises(GameError) as caught, telling("`step` of Tag"):
        raise own
    assert caught.value is own


def test_error_names_the_site_and_what_to_try():
    error = GameError("it is off.", site="x", hint="on.")
    assert str(error) == "at site 'x': it is off. Try: on."
    assert (error.site, error.hint) == ("x", "on.")
    assert str(GameError("it is off")) == "it is off"
    assert isinstance(error, ValueError)


def test_missing_extra_says_what_to_install():
    assert str(MissingExtra("ray", "cluster")) == (
        "this needs ray, which is not installed: pip install 'vsg_ppl[cluster]'"
    )
