"""Correlated equilibria by public signals, against equilibria that others list."""

import json
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import vsg_ppl as vsg
from tests.equilibria import (
    fairest_by_dual,
    fairest_in_hull,
    gambit_equilibria,
    most_in_hull,
    values_of,
)
from tests.random_games import games
from vsg_ppl import models
from vsg_ppl.correlated import correlated
from vsg_ppl.models import BattleOfTheSexes, Chicken, RandomGame, Shapley
from vsg_ppl.plot import plot_solution
from vsg_ppl.public_signal import PublicSignal
from vsg_ppl.signal_table import signal_size
from vsg_ppl.stage_equilibria import stage_equilibria
from vsg_ppl.stagewise import fits
from vsg_ppl.tabulate import tabulate


def one_shot(payoffs):
    return vsg.from_arrays(torch.from_numpy(payoffs[:, None]), horizon=1)


def check(solution, gap=1e-6):
    """Solved, by its own and by a Nash certificate, and what it says of itself is so."""
    assert solution.solved, solution.message
    certificate, table = solution.certificate, solution.table
    assert certificate.correlated_gap_worst_state <= gap
    assert vsg.certify(table, solution.policies).nash_gap_worst_state <= gap + 1e-12
    signal = solution.signal
    assert signal.shape[-2:] == (len(table.states) // signal_size(table), signal_size(table))
    assert (signal >= 0).all() and (signal.sum(-1) - 1).abs().max() < 1e-9
    joint = solution.joint
    assert (joint.flatten(signal.ndim - 1).sum(-1) - 1).abs().max() < 1e-9
    return list(certificate.values.values())


# --- One-shot games ------------------------------------------------------------------------------


def check_best(payoffs, points):
    """Welfare, fairness and one agent's value are the best of the hull of equilibria."""
    agents, game = len(payoffs), one_shot(payoffs)
    welfare = check(correlated(game, signals=2))
    assert sum(welfare) == pytest.approx(most_in_hull(points, np.ones(agents)), abs=1e-4)
    fair = check(correlated(game, signals=agents, objective="fairness"))
    assert min(fair) == pytest.approx(fairest_by_dual(points), abs=1e-4)
    if agents == 2:
        assert min(fair) == pytest.approx(fairest_in_hull(points), abs=1e-4)
    last = check(correlated(game, signals=2, objective=f"agent{agents}"))
    assert last[-1] == pytest.approx(points[:, -1].max(), abs=1e-4)


@pytest.mark.parametrize("seed", range(50))
def test_random_games_of_two_agents(seed):
    payoffs = np.random.default_rng(seed).random((2, 3, 3))
    check_best(payoffs, values_of(payoffs, gambit_equilibria(payoffs)))


@pytest.mark.parametrize("seed", range(50))
def test_random_games_of_three_agents(seed):
    """The hull of what Gambit finds and of what support enumeration finds."""
    payoffs = np.random.default_rng(seed).random((3, 2, 2, 2)).round(3)
    (ours,) = stage_equilibria(payoffs[:, None])
    every = np.concatenate([ours.policies, gambit_equilibria(payoffs)])
    check_best(payoffs, values_of(payoffs, every))


@pytest.mark.parametrize("objective", ["welfare", "fairness"])
def test_chicken(objective):
    solution = correlated(Chicken(), signals=2, objective=objective)
    assert sum(check(solution)) == pytest.approx(28 / 3)
    assert solution.certificate.best_welfare == pytest.approx(10.5)
    assert "with private signals at most 10.5" in solution.message
    assert solution.signal[0, 0].tolist() == [0.5, 0.5]  # it has nothing to say


def test_chicken_for_one_agent():
    assert check(correlated(Chicken(), signals=2, objective="col")) == pytest.approx([2, 7])


def test_battle_of_the_sexes():
    """Either the ballet or the fight, by a fair coin: 3/2 each."""
    solution = correlated(BattleOfTheSexes(), signals=2)
    assert check(solution) == pytest.approx([1.5, 1.5])
    assert solution.signal[0, 0].tolist() == pytest.approx([0.5, 0.5], abs=1e-7)
    expected = torch.eye(2, dtype=torch.float64) / 2
    torch.testing.assert_close(solution.joint[0, 0], expected, rtol=0, atol=1e-7)


def test_shapleys_game_has_one_equilibrium():
    solution = correlated(Shapley(), signals=3, objective="fairness")
    assert check(solution) == pytest.approx([1 / 3, 1 / 3])
    assert solution.certificate.best_welfare == pytest.approx(1.0)
    torch.testing.assert_close(solution.joint[0, 0], torch.full((3, 3), 1 / 9, dtype=torch.float64))


def test_three_agents_who_need_three_signals():
    """Each of three equilibria pays two agents; by lot all get two thirds."""
    payoffs = np.zeros((3, 3, 3, 3))
    for k in range(3):
        payoffs[:, k, k, k] = 1.0
        payoffs[k, k, k, k] = 0.01
    solution = correlated(one_shot(payoffs), signals=3, objective="fairness")
    assert check(solution) == pytest.approx([2.01 / 3] * 3, abs=1e-6)
    fewer = check(correlated(one_shot(payoffs), signals=2, objective="fairness"))
    assert min(fewer) < 0.6


# --- Laws that are given -------------------------------------------------------------------------


class Weather:
    """Two agents meet; the weather, which all see, pays."""

    agents, horizon = ("ann", "bob"), 1

    def __init__(self, law=(0.25, 0.75), reads=True):
        self.law, self.reads = torch.tensor(law).double(), reads

    def initial(self):
        return torch.tensor(0)

    def step(self, state):
        sun = vsg.signal("sun", dist.Categorical(self.law))
        ann, bob = (vsg.act(agent, dist.Categorical(torch.ones(2))) for agent in self.agents)
        bonus = torch.tensor([[0.0, 0.0], [0.0, 5.0], [0.0, 1.0]])[sun * self.reads, ann]
        vsg.optimality("ann", (ann == bob) * (2.0 - ann) + bonus)
        vsg.optimality("bob", (ann == bob) * (1.0 + ann))
        return state


def test_a_coin_that_is_given():
    """Battle of the sexes by a program: each value its own equilibrium, the law as it is."""
    even = correlated(Weather((0.5, 0.5), reads=False), objective="fairness")
    assert check(even) == pytest.approx([1.5, 1.5])
    biased = correlated(Weather((0.25, 0.75), reads=False), objective="fairness")
    assert biased.signal[0, 0].tolist() == pytest.approx([0.25, 0.75])
    # all four assignments: alike pays 1 to one, different ones 1.25 and 1.75
    assert min(check(biased)) == pytest.approx(1.25)
    three = correlated(Weather((0.2, 0.3, 0.5), reads=False), objective="fairness")
    assert check(three) == pytest.approx([1.5, 1.5])


def test_a_law_that_is_given_is_kept_and_one_that_is_learned_is_not():
    program = Weather((0.25, 0.75), reads=False)
    learned = correlated(program, signal="learned", objective="fairness")
    assert check(learned) == pytest.approx([1.5, 1.5])
    assert learned.signal[0, 0].tolist() == pytest.approx([0.5, 0.5], abs=1e-6)
    uniform = correlated(Chicken(), signals=3, signal="given", objective="row")
    assert uniform.signal[0, 0].tolist() == pytest.approx([1 / 3] * 3)


def test_a_signal_that_pays():
    """In the sun ann stays with her second action, whatever it takes."""
    solution = correlated(Weather())
    check(solution)
    assert solution.policy("ann", (0, {"sun": 1}))["1"] == 1.0
    assert solution.policy("bob", (0, {"sun": 1}))["1"] == 1.0
    assert solution.certificate.per_signal == {"sun=0": 0.0, "sun=1": 0.0}
    with pytest.raises(vsg.GameError, match='the rewards of a step read.*signal="given"'):
        correlated(Weather(), signal="learned")


# --- Games of more steps -------------------------------------------------------------------------


class Meetings:
    """Again and again either meets the other; who gave in last time is the state."""

    agents = ("ann", "bob")

    def __init__(self, signal=True, **attributes):
        self.signal = signal
        vars(self).update(attributes)

    def initial(self):
        return torch.tensor(0)

    def step(self, state):
        if self.signal:
            vsg.signal("coin", dist.Categorical(torch.tensor([[0.3, 0.7], [0.6, 0.4]])[state]))
        ann, bob = (vsg.act(agent, dist.Categorical(torch.ones(2))) for agent in self.agents)
        pays = torch.tensor([[3.0, 0.0], [0.0, 1.0]])[ann, bob]
        vsg.optimality("ann", pays + state)
        vsg.optimality("bob", torch.tensor([[1.0, 0.0], [0.0, 3.0]])[ann, bob])
        return ann * bob


LENGTHS = [{"discount": 0.8}, {"horizon": 1}, {"horizon": 3}, {"horizon": 4, "discount": 0.9}]


@pytest.mark.parametrize("objective", ["welfare", "fairness", "bob"])
@pytest.mark.parametrize("length", LENGTHS)
def test_stochastic_games(length, objective):
    given_law = correlated(Meetings(**length), objective=objective)
    learned = correlated(Meetings(**length), objective=objective, signal="learned")
    added = correlated(Meetings(signal=False, **length), objective=objective, signals=2)
    for solution in (given_law, learned, added):
        check(solution)
    torch.testing.assert_close(
        given_law.signal,
        given_law.table.signal_law.expand_as(given_law.signal[None])[0]
        if "horizon" not in length
        else given_law.table.signal_law.expand_as(given_law.signal),
    )
    assert learned.certificate.values == pytest.approx(added.certificate.values, abs=1e-6)


def test_fairness_for_ever():
    """What one is paid in a state is made up for there, not by all play from then on."""
    solution = correlated(Meetings(discount=0.8), signal="learned", objective="fairness")
    values = check(solution)
    assert "did not settle" not in solution.message
    # half of all lots, then a quarter, fall to ann, who is paid for being in state 1
    assert values == pytest.approx([11.25, 11.25], abs=1e-6)


def test_a_law_that_reads_the_state():
    """Who is ahead at the end, by a payment, gets the smaller share of the lottery."""
    solution = correlated(Meetings(horizon=2), signal="learned", objective="fairness")
    check(solution)
    assert solution.signal.shape == (2, 2, 2)
    # both meet where ann likes it with chance p: 3 p + (1 − p) + state = p + 3 (1 − p)
    for state, chance in enumerate((1 / 2, 1 / 4)):
        met = solution.joint[1, state]
        assert float(met[0, 0]) == pytest.approx(chance, abs=1e-6)
        assert float(met[1, 1]) == pytest.approx(1 - chance, abs=1e-6)
    assert (solution.signal[1, 0] - solution.signal[1, 1]).abs().max() > 0.2


@pytest.mark.parametrize("seed", range(3))
def test_random_stochastic_games(seed):
    game = RandomGame(6, 2, 2, seed=seed, discount=0.9)
    for objective in ("welfare", "fairness", "agent1"):
        check(correlated(game, signals=2, objective=objective))


@settings(max_examples=25)
@given(games(outcomes=16), st.sampled_from(["welfare", "fairness", "ann"]))
def test_random_programs(game, objective):
    table = tabulate(game)
    assume(fits(table) and 2 * len(table.states) < 40)
    solution = correlated(game, signals=None if table.signals else 2, objective=objective)
    if table.horizon is not None:
        check(solution)
    # nothing is claimed that the program's own table does not show
    again = tabulate(solution.game)
    certificate = vsg.correlated_certify(again, solution.policies)
    assert certificate.correlated_gap == pytest.approx(
        solution.certificate.correlated_gap, abs=1e-9
    )
    assert certificate.values == pytest.approx(solution.certificate.values, abs=1e-9)


# --- What one does with it -----------------------------------------------------------------------


@lru_cache
def solved(name):
    return {
        "coin": lambda: correlated(BattleOfTheSexes(), signals=2),
        "weather": lambda: correlated(Weather()),
        "endless": lambda: correlated(
            Meetings(discount=0.8), signal="learned", objective="fairness"
        ),
        "three": lambda: correlated(models.ThreeAgents(), signals=2),
        "timed": lambda: correlated(Meetings(False, horizon=3), signals=2, objective="fairness"),
    }[name]()


GAMES = {
    "coin": BattleOfTheSexes(),
    "weather": Weather(),
    "endless": Meetings(discount=0.8),
    "three": models.ThreeAgents(),
    "timed": Meetings(False, horizon=3),
}


@pytest.mark.parametrize("name", GAMES)
def test_its_program_has_the_same_certificate(name):
    solution = solved(name)
    found = vsg.correlated_certify(solution.game, solution.policies)
    assert found.correlated_gap <= 1e-6
    assert found.values == pytest.approx(solution.certificate.values, abs=1e-9)
    assert vsg.figure1(solution.game, solution.table.agents[0]).nodes


@pytest.mark.parametrize("name", GAMES)
def test_the_joint_law_is_the_average_over_the_signal(name):
    solution = solved(name)
    table, signal = solution.table, solution.signal
    n, omega = signal.shape[-2:]
    joint = solution.joint.reshape(-1, n, *table.sizes)
    for t, s in np.ndindex(*joint.shape[:2]):
        expected = 0.0
        for w in range(omega):
            rows = [
                p.reshape(-1, n * omega, p.shape[-1])[t, s * omega + w].numpy()
                for p in solution.policies.values()
            ]
            together = rows[0]
            for row in rows[1:]:
                together = np.multiply.outer(together, row)
            expected = expected + float(signal.reshape(-1, n, omega)[t, s, w]) * together
        np.testing.assert_allclose(joint[t, s].numpy(), expected, atol=1e-12)
    if name in ("coin", "three"):  # told its action only, nobody gains in the game without signal
        found = vsg.correlated_certify(GAMES[name], solution.joint)
        assert found.correlated_gap <= 1e-9


@pytest.mark.parametrize("name", GAMES)
@pytest.mark.parametrize("told", ["nothing", "game", "program", "table"])
def test_round_trip(tmp_path, name, told):
    """Without the game, and with it as it was given, as it came back, or as a table."""
    solution = solved(name)
    path = solution.save(tmp_path / "solution")
    game = {"nothing": None, "game": GAMES[name], "program": solution.game}.get(
        told, solution.table
    )
    loaded = vsg.Solution.load(path, game)
    assert loaded.certificate == solution.certificate
    assert torch.equal(loaded.signal, solution.signal)
    assert all(map(torch.equal, loaded.policies.values(), solution.policies.values()))
    assert torch.equal(loaded.joint, solution.joint)
    assert (loaded.game is None) == (told in ("nothing", "table"))
    again = vsg.correlated_certify(loaded.game or loaded.table, loaded.policies)
    assert again.values == pytest.approx(solution.certificate.values, abs=1e-9)


def replace_law(program):
    law = torch.tensor([[[0.1, 0.9]]], dtype=torch.float64)
    return PublicSignal(program.game, program.states, program.signals, law, added=program.added)


def test_a_file_is_of_its_game(tmp_path):
    path = solved("coin").save(tmp_path / "coin")
    with pytest.raises(vsg.GameError, match="differs from Chicken in its"):
        vsg.Solution.load(path, Chicken())
    with pytest.raises(vsg.GameError, match="differs from StagHunt"):
        vsg.Solution.load(path, models.StagHunt())
    other = replace_law(solved("coin").game)
    with pytest.raises(vsg.GameError, match="with another law of the signal.*without it"):
        vsg.Solution.load(path, other)
    with pytest.raises(vsg.GameError, match="differs from Weather"):
        vsg.Solution.load(path, Weather())


def test_a_file_must_fit_together(tmp_path):
    solution = solved("coin")
    signal = solution.signal
    for change, said in (
        ({"signal": signal.flip(-1) * 0.5 + 0.1}, "the law of the signal is not that of the game"),
        ({"signal": signal[0]}, "the signal has shape"),
        ({"signal": None}, "belongs to correlated equilibria"),
        ({"concept": "nash"}, "belongs to correlated equilibria"),
        ({"concept": "stackelberg"}, "the concept is 'stackelberg', not one of nash"),
        (
            {"table": replace(solution.table, signal_law=signal * 2)},
            "the probabilities of the signals sum to 2",
        ),
        (
            {"table": replace(solution.table, signals=(("signal", 5),))},
            "2 states are not those of some with 5 values",
        ),
        ({"table": replace(solution.table, signal_law=None)}, "signals without a law"),
    ):
        with pytest.raises(vsg.GameError, match=said):
            vsg.Solution.load(replace(solution, **change).save(tmp_path / "file"))


@pytest.mark.parametrize("name", GAMES)
def test_in_json(name):
    solution = solved(name)
    found = json.loads(json.dumps(solution.to_dict()))
    assert found["concept"] == "correlated"
    assert found["certificate"]["correlated_gap"] == solution.certificate.correlated_gap
    laws = torch.tensor([[*row["probabilities"].values()] for row in found["signal"]])
    known = solution.table.signal_law.flatten(0, 1)
    torch.testing.assert_close(laws.double(), known, rtol=0, atol=1e-6)
    assert all(("t" in row) == (len(solution.table.signal_law) > 1) for row in found["signal"])
    assert found["policies"].keys() == solution.policies.keys()


def test_it_says_what_it_is():
    said = repr(solved("coin"))
    assert said.startswith("Solution(BattleOfTheSexes: correlated, solved; correlated gap")
    assert "welfare 3 (with private signals at most 3)" in said


def test_plays_follow_the_joint_law():
    solution = solved("coin")
    plays = solution.simulate(4000)
    pairs = 2 * plays.actions["row"][:, 0] + plays.actions["col"][:, 0]
    shares = torch.bincount(pairs, minlength=4) / 4000
    torch.testing.assert_close(shares, torch.tensor([0.5, 0, 0, 0.5]), rtol=0, atol=0.03)
    returns = plays.returns()["row"].mean()
    assert float(returns) == pytest.approx(1.5, abs=0.05)
    longer = solved("endless").simulate(10)
    assert longer.trajectory(0)[0]["state"][1].keys() == {"coin"}


def test_guides_see_the_signal():
    solution = solved("coin")
    model = vsg.agent_model(solution.game, "row", {"col": solution.guide("col")})
    guide = vsg.agent_guide(
        solution.game, "row", solution.guide("row"), {"col": solution.guide("col")}
    )
    loss = vsg.MarkovELBO().loss(model, guide)
    # of play without chance in its actions: minus the return, and log 2 for the uniform prior
    assert float(loss) == pytest.approx(-1.5 + np.log(2), abs=1e-6)


@pytest.mark.parametrize("name", GAMES)
def test_pictures(name, tmp_path):
    solution = solved(name)
    figure = plot_solution(solution, tmp_path / "solution.png")
    titles = [axes.get_title() for axes in figure.axes]
    assert "correlated equilibrium, solved\ncorrelated gap" in figure.get_suptitle()
    both = {"law of the signal", "what is played"} <= set(titles)
    assert both == (name in ("coin", "weather"))
    assert (tmp_path / "solution.png").stat().st_size > 5000


def test_the_same_again():
    one, other = (correlated(Meetings(discount=0.8), objective="fairness") for _ in range(2))
    assert all(map(torch.equal, one.policies.values(), other.policies.values()))
    assert torch.equal(one.signal, other.signal)


# --- What is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("game", "options", "said"),
    [
        (Chicken(), {}, "Chicken has no public signal.*`signals=2` adds one"),
        (Chicken(), {"signals": 0}, "signals is 0; a signal has at least 1 value"),
        (Chicken(), {"signals": 2.5}, "signals is 2.5; it counts the values"),
        (Chicken(), {"signals": "2"}, "signals is '2'; it counts the values"),
        (Chicken(), {"signals": 2, "signal": "drawn"}, "signal is 'drawn'.*\"given\" or"),
        (Chicken(), {"signals": 2, "objective": "power"}, "the objective is 'power'"),
        (Chicken(), {"signals": 2, "target_gap": 0}, "target gap is 0 .*must be positive"),
        (Chicken(), {"signals": 2, "max_steps": 0}, "max_steps is 0; both must be positive"),
        (Weather(), {"signals": 2}, "Weather has a public signal already: sun"),
        (RandomGame(1, 2, 12), {"signals": 2}, "too many to list.*exact_nash"),
    ],
)
def test_what_is_refused(game, options, said):
    with pytest.raises(vsg.GameError, match=said):
        correlated(game, **options)


def test_a_batch_is_refused():
    batch = vsg.from_arrays(torch.rand(3, 2, 1, 2, 2), horizon=1, batched=True)
    with pytest.raises(vsg.GameError, match="of one game, and this table holds a batch"):
        correlated(batch, signals=2)


def test_too_few_rounds_are_said():
    solution = correlated(
        RandomGame(16, 2, 3, seed=1, discount=0.95), signals=2, max_steps=1, target_gap=1e-300
    )
    assert solution.status == "not converged" and "raise `max_steps`" in solution.message
    assert solution.certificate.correlated_gap_worst_state >= 0
