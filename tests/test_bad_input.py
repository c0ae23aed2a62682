"""Bad input gets one clear error: the site, what was expected, what was found, what to try (§8)."""

import sys

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

import vsg_ppl as vsg
from vsg_ppl import models
from vsg_ppl.errors import GameError
from vsg_ppl.guides import ConditionalPolicy, FixedPolicy, TabularPolicy

UNIFORM = dist.Categorical(torch.ones(2))
NAN, INF = float("nan"), float("inf")


class Tag:
    """A good game, in parts that a test can break."""

    agents = ("row", "col")
    horizon = 2

    def initial(self):
        return torch.tensor(0)

    def step(self, state):
        row = self.row(state)
        col = self.col(state, row)
        self.pay(state, row, col)
        return self.following(state, row, col)

    def row(self, state):
        return vsg.act("row", UNIFORM)

    def col(self, state, row):
        return vsg.act("col", UNIFORM)

    def pay(self, state, row, col):
        vsg.optimality("row", self.reward(state, row, col))
        vsg.optimality("col", 0.0)

    def reward(self, state, row, col):
        return (row == col).double()

    def following(self, state, row, col):
        return (state + row).clamp(max=2)


def tag(**parts):
    """The game with some parts replaced."""
    return type("Tag", (Tag,), parts)()


def test_the_game_itself_is_good():
    table = vsg.tabulate(tag())
    assert table.agents == ("row", "col") and len(table.states) == 2


def says(error, *words):
    """Whether the one line of an error has these words, in order."""
    text, place = str(error.value), -1
    assert "\n" not in text
    for word in words:
        assert word in text[place + 1 :], f"{word!r} is not in {text!r}, or too early"
        place = text.index(word, place + 1)


BAD_STEPS = {
    # rewards
    "nan reward": (
        {"reward": lambda g, s, row, col: torch.where(row == 1, NAN, 0.0)},
        ["at site 'O_row'", "reward of 'row' is nan", "in state 0", "row plays 1"],
    ),
    "infinite reward": (
        {"reward": lambda g, s, row, col: torch.tensor([[0.0, 1.0], [-INF, 2.0]])[row, col]},
        ["at site 'O_row'", "is -inf in state 0", "row plays 1 and col plays 0"],
    ),
    "reward of a state": (
        {"reward": lambda g, s, row, col: torch.tensor([0.0, INF])[s]},
        ["at site 'O_row'", "is inf in state 1"],
    ),
    "reward with an event dimension": (
        {"reward": lambda g, s, row, col: torch.eye(2)[row]},
        ["reward of 'row' at site 'O_row'", "shape (2, 1, 2)", "one number", "(2, 2, 1)", "Try"],
    ),
    "reward of another length": (
        {"reward": lambda g, s, row, col: torch.zeros(3)},
        ["reward of 'row' at site 'O_row'", "shape (3,)", "Try: drop event dimensions"],
    ),
    "reward that is text": (
        {"reward": lambda g, s, row, col: "much"},
        ["at site 'O_row'", "is 'much', not a number"],
    ),
    "reward that is nothing": (
        {"reward": lambda g, s, row, col: None},
        ["at site 'O_row'", "is None, not a number"],
    ),
    # who does what
    "agent without an action": (
        {"col": lambda g, s, row: torch.tensor(0)},
        ["agent 'col' of Tag never acts", 'Try: vsg.act("col"'],
    ),
    "agent without an optimality": (
        {"pay": lambda g, s, row, col: vsg.optimality("row", 0.0)},
        ["agent 'col' of Tag has no optimality", 'Try: vsg.optimality("col"'],
    ),
    "stranger who acts": (
        {"col": lambda g, s, row: vsg.act("umpire", UNIFORM)},
        ["at site 'umpire'", "'umpire' acts but is not among the agents row, col"],
    ),
    "stranger who is paid": (
        {"pay": lambda g, s, row, col: vsg.optimality("umpire", 0.0)},
        ["at site 'O_umpire'", "'umpire' is paid but is not among the agents row, col"],
    ),
    "prior that reads another's action": (
        {"col": lambda g, s, row: vsg.act("col", dist.Categorical(torch.eye(2)[row] + 0.1))},
        ["at site 'col'", "the prior of 'col' reads another's action, or chance", "Try", "state"],
    ),
    "labels that are not as many": (
        {"col": lambda g, s, row: vsg.act("col", UNIFORM, labels=["one", "two", "three"])},
        ["at site 'col'", "3 labels for 2 actions"],
    ),
    # sites
    "name used twice": (
        {"col": lambda g, s, row: vsg.act("col", UNIFORM, name="row")},
        ["at site 'row'", "used for two sites of one step", "Try: another name"],
    ),
    "chance named like an action": (
        {"following": lambda g, s, row, col: pyro.sample("col", UNIFORM)},
        ["at site 'col'", "used for two sites of one step"],
    ),
    "continuous action": (
        {"col": lambda g, s, row: vsg.act("col", dist.Normal(0.0, 1.0))},
        ["at site 'col'", "'col' has the prior Normal", "needs a Categorical", "Try", "Trace_ELBO"],
    ),
    "continuous chance": (
        {"following": lambda g, s, row, col: pyro.sample("wind", dist.Normal(0.0, 1.0)).long()},
        ["at site 'wind'", "a Normal cannot be enumerated", "finite sites", "Try", "grid"],
    ),
    "infinite support": (
        {"following": lambda g, s, row, col: pyro.sample("rain", dist.Poisson(1.0)).long()},
        ["at site 'rain'", "a Poisson cannot be enumerated", "Try"],
    ),
    "observed site": (
        {"following": lambda g, s, r, c: pyro.sample("seen", UNIFORM, obs=torch.tensor(1))},
        ["at site 'seen'", "a step observes data", "Try: vsg.optimality(agent, reward)"],
    ),
    "factor": (
        {"pay": lambda g, s, row, col: pyro.factor("bonus", torch.tensor(1.0))},
        ["at site 'bonus'", "a step observes data", "Try: vsg.optimality(agent, reward)"],
    ),
    "masked action": (
        {"col": lambda g, s, row: pyro.poutine.mask(vsg.act, mask=s == 0)("col", UNIFORM)},
        ["at site 'col'", "an action stands under `poutine.mask`", "Try: mask the reward"],
    ),
    "probabilities off the simplex": (
        {
            "following": lambda g, s, row, col: pyro.sample(
                "next", dist.Categorical(torch.tensor([1.5, -0.5]))
            )
        },
        ["`step` of Tag raises ValueError", "Simplex()", "invalid values: tensor([ 1.5000, -0.5"],
    ),
    "too many outcomes": (
        {"following": lambda g, s, row, col: sum(dice(name) for name in "abcdefgh")},
        ["at site 'g'", "40,000,000 joint outcomes", "2,560,000,000 bytes", "Try: fewer"],
    ),
    # states
    "next state of another structure": (
        {"following": lambda g, s, row, col: (s, {"x": s})},
        ["step of Tag returns (integer, {'x': integer})", "initial state is integer", "Try"],
    ),
    "no next state": (
        {"following": lambda g, s, row, col: None},
        ["step of Tag returns nothing", "the initial state is integer", "Try"],
    ),
    "next state with a fraction": (
        {"following": lambda g, s, row, col: s + 0.5},
        ["integer tensors", "torch.float32", "Try: return `.long()` of it"],
    ),
    "next state of a wrong shape": (
        {"following": lambda g, s, row, col: torch.tensor([0, 1, 2])},
        ["the next state has shape (3,)", "one number", "Try"],
    ),
    # Python on tensors
    "if on a tensor": (
        {"following": lambda g, s, row, col: s if row == 0 else s + 1},
        ["`step` of Tag raises RuntimeError", "ambiguous", "torch.where", "cannot branch (`if`)"],
    ),
    "number of a tensor": (
        {"following": lambda g, s, row, col: torch.tensor(int(row))},
        ["`step` of Tag raises ValueError", "Try: indexing a tensor", "Python number"],
    ),
    "index of a list": (
        {"following": lambda g, s, row, col: [s, s + 1][row]},
        ["`step` of Tag raises TypeError", "Try: indexing a tensor"],
    ),
    "index out of range": (
        {"following": lambda g, s, row, col: torch.tensor([0, 1])[row + col]},
        ["`step` of Tag raises IndexError", "out of bounds"],
    ),
}


def dice(name):
    return pyro.sample(name, dist.Categorical(torch.ones(10)))


@pytest.mark.parametrize("name", BAD_STEPS)
def test_steps(name):
    parts, words = BAD_STEPS[name]
    with pytest.raises(GameError) as error:
        vsg.tabulate(tag(**parts), max_bytes=10**9)
    says(error, *words)


def test_a_site_in_a_plate():
    def plated(game, state, row, col):
        with pyro.plate("coins", 3):
            return pyro.sample("coin", UNIFORM).sum()

    with pytest.raises(GameError) as error:
        vsg.tabulate(tag(following=plated))
    says(error, "at site 'coins'", "plate", "has no table", "Try: write one site for each")


def test_actions_that_change_with_time():
    class Growing(Tag):
        def step(self, state, t):
            vsg.act("row", dist.Categorical(torch.ones(2 + t)))
            vsg.act("col", UNIFORM)
            self.pay(state, state, state)
            return state

    with pytest.raises(GameError) as error:
        vsg.tabulate(Growing())
    says(error, "at site 'row'", "change with time, from (2,) to (3,)", "Try", "zero probability")


def test_a_signal_that_reads_an_action():
    class Late(Tag):
        def pay(self, state, row, col):
            vsg.signal("light", dist.Categorical(torch.eye(2)[row]))
            super().pay(state, row, col)

    with pytest.raises(GameError) as error:
        vsg.tabulate(Late())
    says(error, "at site 'light'", "signal's law reads an action or chance", "Try")


@pytest.mark.parametrize(
    ("initial", "words"),
    [
        (lambda g: torch.tensor(0.5), ["integer tensors", "torch.float32", "Try"]),
        (lambda g: 0.5, ["integer tensor", "not float"]),
        (lambda g: torch.tensor([0, 1]), ["`initial` of Tag", "shape (2,)", "Try: a tuple"]),
        (
            lambda g: (pyro.sample("x", UNIFORM), torch.tensor([0, 1, 2])),
            ["`initial` of Tag", "a part of shape (3,)", "Try: a tuple"],
        ),
        (lambda g: vsg.act("row", UNIFORM), ["at site 'row'", "drawn by chance alone"]),
        (
            lambda g: vsg.optimality("row", 1.0) or torch.tensor(0),
            ["at site 'O_row'", "nobody is paid before the first step"],
        ),
        (lambda g: undefined, ["`initial` of Tag raises NameError"]),  # noqa: F821
    ],
)
def test_first_states(initial, words):
    with pytest.raises(GameError) as error:
        vsg.tabulate(tag(initial=initial))
    says(error, *words)


def test_a_state_without_bounds_says_its_bytes():
    """Before it allocates: a few rounds tell what a state takes."""
    game = tag(horizon=None, discount=0.9, following=lambda g, s, row, col: s + row)
    with pytest.raises(GameError) as error:
        vsg.tabulate(game, max_bytes=10_000)
    says(error, "Tag has", "states or more", "would take", "bytes, and 10,000 are", "Try", "clamp")


def test_a_chain_without_end(monkeypatch):
    monkeypatch.setattr(sys.modules["vsg_ppl.tabulate"], "DEPTH", 50)
    game = tag(horizon=None, discount=0.9, following=lambda g, s, row, col: s + row)
    with pytest.raises(GameError) as error:
        vsg.tabulate(game)
    says(error, "Tag still has new states after 50 steps", "such as 51", "Try: bound the state")


def test_parts_too_wide():
    def far(game, state, row, col):
        return tuple(row * 2**40 for _ in range(3))

    zeros = tuple(torch.tensor(0) for _ in range(3))
    with pytest.raises(GameError, match="3 parts of the state span more than 2.62 comb.*Try"):
        vsg.tabulate(tag(initial=lambda g: zeros, following=far))


BAD_GAMES = {
    "horizon zero": ({"horizon": 0}, ["horizon of Tag is 0", "counts decisions", "1 or a larger"]),
    "horizon half": ({"horizon": 2.5}, ["horizon of Tag is 2.5", "whole number"]),
    "horizon inf": ({"horizon": INF}, ["horizon of Tag is inf", "whole number"]),
    "horizon text": ({"horizon": "3"}, ["horizon of Tag is '3'"]),
    "horizon true": ({"horizon": True}, ["horizon of Tag is True"]),
    "no end": ({"horizon": None}, ["Tag never ends", "neither a discount", "nor a horizon", "Try"]),
    "discount one": ({"horizon": None, "discount": 1.0}, ["Tag never ends", "Try"]),
    "discount high": ({"discount": 1.5}, ["discount of Tag is 1.5", "[0, 1]"]),
    "discount nan": ({"discount": NAN}, ["discount of Tag is nan", "[0, 1]"]),
    "discount text": ({"discount": "x"}, ["discount of Tag is 'x'", "[0, 1]"]),
    "nobody": ({"agents": ()}, ["Tag has no agents", "Try"]),
    "agents text": ({"agents": "row"}, ["agents of Tag are 'row'", "not a tuple"]),
    "agents numbers": ({"agents": (1, 2)}, ["agents of Tag are (1, 2)", "not a tuple of names"]),
    "agents twice": ({"agents": ("row", "row")}, ["repeat a name: row, row"]),
}


@pytest.mark.parametrize("name", BAD_GAMES)
def test_games(name):
    parts, words = BAD_GAMES[name]
    with pytest.raises(GameError) as error:
        vsg.tabulate(tag(**parts))
    says(error, *words)
    with pytest.raises(GameError):
        vsg.agent_model(tag(**parts), "row")


def test_what_is_no_game():
    with pytest.raises(GameError) as error:
        vsg.tabulate(3)
    says(error, "int is not a game", "no agents, initial, step", "Try")
    with pytest.raises(GameError) as error:
        vsg.tabulate(Tag)
    says(error, "Tag is a class, not a game", "Try: Tag()")


def test_time_without_an_end():
    class Timed(Tag):
        horizon = None
        discount = 0.9

        def step(self, state, t):
            return super().step(state)

    with pytest.raises(GameError) as error:
        vsg.tabulate(Timed())
    says(error, "step of Timed takes the time", "no horizon", "Try: give it a horizon")


# --- policies ------------------------------------------------------------------------------------

GOOD = torch.full((2, 2), 0.5)


def draws(site, law):
    def program(state):
        pyro.sample(site, law)

    return program


def branching(state):
    if state == 0:
        pyro.sample("row", UNIFORM)


def two_sites(state):
    pyro.sample("row", UNIFORM)
    pyro.sample("mood", UNIFORM)


BAD_POLICIES = {
    "shape": (torch.full((2, 3), 1 / 3), ["'row' has shape (2, 3)", "(2, 2) or (2, 2, 2)"]),
    "one dimension": (torch.tensor([0.5, 0.5]), ["'row' has shape (2,)", "(2, 2)"]),
    "times": (torch.full((3, 2, 2), 0.5), ["'row' has shape (3, 2, 2)", "(2, 2) or (2, 2, 2)"]),
    "sum": (torch.full((2, 2), 0.6), ["'row' sum to 1.2, not 1, in state 0", "Try: divide"]),
    "sum later": (
        torch.tensor([[[0.5, 0.5], [0.5, 0.5]], [[0.5, 0.5], [0.5, 0.6]]]),
        ["'row' sum to 1.1, not 1, in state 1 at time 1"],
    ),
    "negative": (
        torch.tensor([[1.5, -0.5]] * 2),
        ["'row' have the negative entry -0.5 in state 0"],
    ),
    "nan": (torch.full((2, 2), NAN), ["'row' sum to nan, not 1, in state 0"]),
    "list": ([[0.5, 0.5]] * 2, ["the policy of 'row' is a list", "Try: a torch.tensor"]),
    "array": (np.full((2, 2), 0.5), ["the policy of 'row' is a ndarray", "Try: a torch.tensor"]),
    "nothing": (None, ["the policy of 'row' is a NoneType", "Try"]),
    "three actions": (
        draws("row", dist.Categorical(torch.ones(3))),
        ["at site 'row'", "policy of 'row' has 3 actions, the game 2"],
    ),
    "other site": (
        draws("mood", UNIFORM),
        ["at site 'row'", "does not sample this action", "Try: add pyro.sample('row', ...)"],
    ),
    "more sites": (two_sites, ["at site 'mood'", "more than its own actions", "Try"]),
    "continuous": (draws("row", dist.Normal(0.0, 1.0)), ["at site 'row'", "Normal", "Try"]),
    "if": (branching, ["policy of 'row' raises RuntimeError", "ambiguous", "Try", "branch (`if`)"]),
    "no argument": (lambda: None, ["policy of 'row' raises TypeError", "argument"]),
    "of another agent": (
        lambda table: TabularPolicy(table, "col"),
        ["policy given for 'row' is one of 'col'"],
    ),
    "of another game": (
        lambda table: TabularPolicy(vsg.tabulate(models.Hedge()), "row"),
        ["policy of 'row' does not fit Tag", "state 1 is not one of the 1 states"],
    ),
}


@pytest.mark.parametrize("name", BAD_POLICIES)
def test_policies(name):
    policy, words = BAD_POLICIES[name]
    game = tag()
    table = vsg.tabulate(game)
    if name.startswith("of another"):
        policy = policy(table)
    with pytest.raises(GameError) as error:
        vsg.certify(game, {"row": policy, "col": GOOD})
    says(error, *words)


@pytest.mark.parametrize("policy", [GOOD, draws("col", UNIFORM)], ids=["table", "program"])
def test_an_action_that_is_not_available(policy):
    only = dist.Categorical(torch.tensor([1.0, 0.0]))
    game = tag(col=lambda g, s, row: vsg.act("col", only, labels=["stay", "go"]))
    with pytest.raises(GameError) as error:
        vsg.certify(game, {"row": GOOD, "col": policy})
    says(error, "policy of 'col' plays go in state 0", "prior says it is not available")


def test_agents_that_are_missing_or_unknown():
    game = tag()
    with pytest.raises(GameError, match="no policy is given for 'col'"):
        vsg.certify(game, {"row": GOOD})
    with pytest.raises(GameError, match="Tag has no agent 'umpire'. Try: one of row, col"):
        vsg.certify(game, {"row": GOOD, "col": GOOD, "umpire": GOOD})
    with pytest.raises(GameError, match="Tag has no agent 'umpire'. Try: one of row, col"):
        vsg.agent_model(game, "umpire")
    with pytest.raises(GameError, match="Tag has no agent 'umpire'"):
        TabularPolicy(vsg.tabulate(game), "umpire")
    with pytest.raises(GameError, match="policy is given for 'row', but .* those of 'col'"):
        vsg.agent_model(game, "row", {"row": GOOD})
    with pytest.raises(GameError, match="policy is given for 'umpire', but .* those of 'col'"):
        vsg.agent_guide(game, "row", GOOD, {"umpire": GOOD})


@pytest.mark.parametrize("temperature", [0.0, -1.0, NAN])
def test_temperatures(temperature):
    with pytest.raises(GameError, match="the temperature is .*; it must be positive"):
        vsg.agent_model(tag(), "row", temperature=temperature)


@pytest.mark.parametrize("horizon", [0, -1, 1.5])
def test_horizons_of_a_model(horizon):
    with pytest.raises(GameError, match=f"the horizon of Tag is {horizon}"):
        vsg.agent_model(tag(), "row", horizon=horizon)


def test_tables_of_parameters():
    table = vsg.tabulate(tag())
    with pytest.raises(
        GameError, match=r"logits for 'row' .* \(3,\); expected \(2, 2\) or \(2, 2, 2\)"
    ):
        TabularPolicy(table, "row", torch.zeros(3))
    with pytest.raises(GameError, match=r"logits for 'row' .* \(2, 2\); expected \(2, 2, 2\) or"):
        ConditionalPolicy(table, "row", torch.zeros(2, 2))
    with pytest.raises(GameError, match=r"'row' has shape \(3, 2\); expected \(2, 2\)"):
        FixedPolicy(table, "row", torch.full((3, 2), 0.5))
    with pytest.raises(GameError, match="needs the time. Try: pass t="):
        TabularPolicy(table, "row")(torch.tensor(0))


# --- arrays --------------------------------------------------------------------------------------

PAY, MOVE = torch.zeros(2, 1, 2, 2), torch.ones(1, 2, 2, 1)

BAD_ARRAYS = {
    "dimensions": ((torch.zeros(2, 2, 2),), {}, ["have shape (2, 2, 2)", "(N, S, A_1, ..., A_N)"]),
    "nan": ((torch.where(torch.ones(2, 1, 2, 2).cumsum(-1) == 2, NAN, 0.0),), {}, ["(0, 0, 0, 1)"]),
    "moves": ((PAY, torch.ones(2, 2)), {"discount": 0.9}, ["shape (2, 2)", "(1, 2, 2, 1)"]),
    "sum": ((PAY, 0.5 * MOVE), {"discount": 0.9}, ["sum to 0.5, not 1, at index (0, 0, 0)", "Try"]),
    "negative": ((PAY, -MOVE), {"discount": 0.9}, ["negative entry -1 at index (0, 0, 0)"]),
    "no moves": ((torch.zeros(2, 3, 2, 2),), {}, ["3 states and no transitions", "Try"]),
    "no end": ((PAY, MOVE), {}, ["discount 1 and no horizon", "never ends", "Try: discount=0.9"]),
    "discount": ((PAY, MOVE), {"discount": 1.2, "horizon": 3}, ["discount is 1.2", "[0, 1]"]),
    "horizon": ((PAY, MOVE), {"horizon": 0}, ["horizon is 0", "counts decisions"]),
    "initial": ((PAY,), {"initial": torch.tensor([0.5])}, ["initial law sum to 0.5, not 1", "Try"]),
    "first": ((PAY,), {"initial": torch.tensor([0.5, 0.5])}, ["2 entries for 1 states"]),
    "names": ((PAY,), {"agents": ("a",)}, ["the names a are not 2 different ones"]),
    "twins": ((PAY,), {"agents": ("a", "a")}, ["the names a, a are not 2 different ones"]),
}


@pytest.mark.parametrize("name", BAD_ARRAYS)
def test_arrays(name):
    arrays, keywords, words = BAD_ARRAYS[name]
    with pytest.raises(GameError) as error:
        vsg.from_arrays(*arrays, **keywords)
    says(error, *words)


def test_a_batch_says_which_game():
    moves = torch.ones(3, 1, 2, 2, 1)
    moves[2, 0, 1, 0] = 0.5
    with pytest.raises(GameError, match=r"sum to 0.5, not 1, at index \(2, 0, 1, 0\)"):
        vsg.from_arrays(torch.zeros(3, 2, 1, 2, 2), moves, discount=0.9, batched=True)
    table = vsg.from_arrays(torch.zeros(3, 2, 1, 2, 2), batched=True)
    policy = torch.full((4, 1, 2), 0.5)
    with pytest.raises(GameError, match=r"shape \(4, 1, 2\); expected .*, or 3 of them"):
        vsg.certify(table, {"agent1": policy, "agent2": policy})


def test_a_choice_among_vectors_that_forgets_the_dimension_of_states():
    class Vectors:
        agents, horizon = ("a",), 2

        def initial(self):
            return pyro.sample("s", dist.Categorical(torch.ones(3)))

        def step(self, state):
            row = torch.where(state == 0, torch.ones(2), torch.zeros(2))
            a = vsg.act("a", dist.Categorical(torch.ones(2)))
            vsg.optimality("a", row[..., 0] * a)
            return state

    with pytest.raises(GameError) as error:
        vsg.tabulate(Vectors())
    says(error, "must match the size", "(state == 0)[..., None]")


def test_two_actions_of_one_label():
    class Twice:
        agents, horizon = ("a",), 1

        def initial(self):
            return torch.tensor(0)

        def step(self, state):
            vsg.act("a", dist.Categorical(torch.ones(2)), labels=["x", "x"])
            vsg.optimality("a", 1.0)
            return state

    with pytest.raises(GameError) as error:
        vsg.tabulate(Twice())
    says(error, "at site 'a'", "two actions of 'a' are named 'x'")
