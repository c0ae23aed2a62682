"""`from_openspiel` against OpenSpiel's algorithms, and plain recursions over its trees."""

import re
import sys
from functools import cache
from itertools import product

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

import vsg_ppl as vsg
from vsg_ppl.errors import MissingExtra
from vsg_ppl.interop_openspiel import from_openspiel
from vsg_ppl.storage_checks import check_table

pyspiel = pytest.importorskip("pyspiel")

GOOFSPIEL = "goofspiel(num_cards=3,points_order=descending,imp_info=False)"
DRAWN = "goofspiel(num_cards=3)"
OSHI = "oshi_zumo(coins=3,size=1,horizon=4)"
SOCCER = "markov_soccer(horizon=2)"
PIG = "pig(players=2,winscore=3,diceoutcomes=2,horizon=6)"
NIM = "nim(pile_sizes=2;3)"
MNK = "mnk(m=3,n=2,k=2)"
SMALL = [
    "matrix_pd",
    "matrix_brps",
    "matching_pennies_3p",
    "blotto(coins=4,fields=2)",
    "repeated_game(stage_game=matrix_pd(),num_repetitions=3)",
    "coop_box_pushing(fully_observable=True,horizon=1)",
    "catch(rows=4,columns=3)",
    GOOFSPIEL,
    DRAWN,
    OSHI,
    SOCCER,
    PIG,
    NIM,
]


# --- plain recursions, without merging, over OpenSpiel's states ----------------------------------


def branches(state):
    """Joint actions at a node of players, with the states after them."""
    if not state.is_simultaneous_node():
        return [(a, state.child(a)) for a in state.legal_actions()]
    found = []
    for joint in product(*(state.legal_actions(i) for i in range(state.num_players()))):
        child = state.clone()
        child.apply_actions(list(joint))
        found.append((joint, child))
    return found


def uniform_values(state):
    """Expected returns when everybody acts uniformly."""
    if state.is_terminal():
        return np.array(state.returns())
    if state.is_chance_node():
        return sum(p * uniform_values(state.child(a)) for a, p in state.chance_outcomes())
    return np.mean([uniform_values(child) for _, child in branches(state)], axis=0)


def zero_sum_value(state):
    """The first player's value of a game of two, by a linear program at every node."""
    if state.is_terminal():
        return state.returns()[0]
    if state.is_chance_node():
        return sum(p * zero_sum_value(state.child(a)) for a, p in state.chance_outcomes())
    if not state.is_simultaneous_node():
        best = max if state.current_player() == 0 else min
        return best(zero_sum_value(child) for _, child in branches(state))
    sizes = [len(state.legal_actions(i)) for i in range(2)]
    payoffs = np.array([zero_sum_value(child) for _, child in branches(state)]).reshape(sizes)
    rows, cols = sizes
    # maximise v with v <= x' payoffs, x a law
    found = linprog(
        [0.0] * rows + [-1.0],
        A_ub=np.hstack([-payoffs.T, np.ones((cols, 1))]),
        b_ub=np.zeros(cols),
        A_eq=[[1.0] * rows + [0.0]],
        b_eq=[1.0],
        bounds=[(0, None)] * rows + [(None, None)],
    )
    return -found.fun


def uniform(table):
    return {
        agent: prior[0].exp().expand(table.horizon, -1, -1)
        for agent, prior in zip(table.agents, table.log_priors, strict=True)
    }


@cache
def explored(name):
    return from_openspiel(name)


# --- values --------------------------------------------------------------------------------------


@pytest.mark.parametrize("merge", [True, False])
@pytest.mark.parametrize("name", SMALL)
def test_uniform_play_is_worth_the_same(name, merge):
    table = from_openspiel(name, merge=merge)
    values = list(vsg.certify(table, uniform(table)).values.values())
    root = pyspiel.load_game(name).new_initial_state()
    assert values == pytest.approx(uniform_values(root).tolist(), abs=1e-10)
    check_table(table)


@pytest.mark.parametrize("name", [GOOFSPIEL, DRAWN, OSHI, SOCCER, PIG, NIM, MNK])
def test_values_of_zero_sum_games(name):
    solution = vsg.zero_sum(explored(name))
    value = zero_sum_value(pyspiel.load_game(name).new_initial_state())
    assert solution.solved
    assert solution.certificate.values["player0"] == pytest.approx(value, abs=1e-5)


@pytest.mark.parametrize("name", [GOOFSPIEL, NIM, "matrix_pd", OSHI])
def test_gains_by_deviating_are_openspiels(name):
    """Of uniform play; OpenSpiel's best responses need turns, with hidden moves."""
    from open_spiel.python import policy
    from open_spiel.python.algorithms import exploitability

    game = pyspiel.load_game(name)
    turns = pyspiel.convert_to_turn_based(game) if name != NIM else game
    theirs = exploitability.nash_conv(turns, policy.UniformRandomPolicy(turns))
    table = explored(name)
    gains = vsg.certify(table, uniform(table)).per_agent
    assert sum(gains.values()) == pytest.approx(theirs, abs=1e-9)


def test_tic_tac_toe_is_a_draw():
    table = explored("tic_tac_toe")
    boards = set()
    waiting = [pyspiel.load_game("tic_tac_toe").new_initial_state()]
    while waiting:
        state = waiting.pop()
        if not state.is_terminal() and str(state) not in boards:
            boards.add(str(state))
            waiting += [child for _, child in branches(state)]
    assert set(table.texts) == boards | {"the end"} and len(table.texts) == len(boards) + 1
    assert table.actions[0].names()[:2] == ["-", "x(0,0)"]
    solution = vsg.zero_sum(table)
    assert solution.certificate.values["player0"] == pytest.approx(0.0, abs=1e-6)


def test_equilibria_of_a_matrix_game():
    solution = vsg.exact_nash(from_openspiel("matrix_pd"))
    assert solution.policy("player0", (0, 0), 0) == pytest.approx({"Cooperate": 0.0, "Defect": 1.0})
    assert solution.certificate.values == pytest.approx({"player0": 1.0, "player1": 1.0})


def test_strategic_form_of_a_game_of_imperfect_information():
    """What the message on imperfect information says; Kuhn poker is worth -1/18."""
    table = from_openspiel("normal_form_extensive_game(game=kuhn_poker())")
    value = vsg.zero_sum(table).certificate.values["player0"]
    assert value == pytest.approx(-1 / 18, abs=1e-6)


# --- states and actions --------------------------------------------------------------------------


def test_states_go_by_time_and_number():
    table = explored(OSHI)
    assert table.states[0] == (0, 0) and table.states[len(table.states) - 1] == (4, 0)
    assert table.texts[0] == "Coins: 3 3, Field: #.W.#\n" and table.texts[-1] == "the end"
    for k in (1, 5, len(table.states) - 1):
        assert int(table.states.index(table.states[k])) == k
    times = torch.tensor([t for t, _ in table.states])
    for t in range(4):  # each state at its time, and the end from when play can end
        assert set(times[table.reachable[t]].tolist()) <= {t, 4}


def test_who_has_no_choice_has_one_action():
    table = explored(NIM)
    assert [actions.names()[0] for actions in table.actions] == ["-", "-"]
    for k, (t, _) in enumerate(table.states):
        mover, other = (table.log_priors[i][0, 0, k].exp().tolist() for i in (t % 2, 1 - t % 2))
        assert other[0] == 1.0
        assert (mover[0] == 0.0) != (t == table.horizon)
        assert sum(mover) == pytest.approx(1.0)
    assert "-" not in explored(GOOFSPIEL).actions[0].names()


def test_plays_sum_to_the_returns():
    """Rewards are paid as OpenSpiel pays them: here in every round."""
    table = from_openspiel("repeated_game(stage_game=matrix_pd(),num_repetitions=3)")
    assert table.rewards[0][0, 0, 0].tolist() == [[5.0, 0.0], [10.0, 1.0]]
    always = {  # one cooperates, the other defects
        agent: torch.eye(2)[k].expand(table.horizon, len(table.states), 2)
        for k, agent in enumerate(table.agents)
    }
    assert vsg.certify(table, always).values == pytest.approx({"player0": 0.0, "player1": 30.0})


@pytest.mark.parametrize("name", [GOOFSPIEL, "matrix_pd"])
def test_a_game_is_as_good_as_its_name(name):
    one, other = from_openspiel(name), from_openspiel(pyspiel.load_game(name))
    assert one.texts == other.texts and torch.equal(one.probabilities, other.probabilities)
    assert type(one.to("cpu")) is type(one)


# --- what two histories have in common -----------------------------------------------------------


def forgetful(tells):
    """A game of OpenSpiel's: guess the same twice; its text may omit the first guess."""
    kind = pyspiel.GameType(
        short_name=f"python_forgetful_{tells}",
        long_name="Forgetful",
        dynamics=pyspiel.GameType.Dynamics.SEQUENTIAL,
        chance_mode=pyspiel.GameType.ChanceMode.DETERMINISTIC,
        information=pyspiel.GameType.Information.PERFECT_INFORMATION,
        utility=pyspiel.GameType.Utility.GENERAL_SUM,
        reward_model=pyspiel.GameType.RewardModel.TERMINAL,
        max_num_players=1,
        min_num_players=1,
        provides_information_state_string=False,
        provides_information_state_tensor=False,
        provides_observation_string=False,
        provides_observation_tensor=False,
        parameter_specification={},
    )
    info = pyspiel.GameInfo(
        num_distinct_actions=2,
        max_chance_outcomes=0,
        num_players=1,
        min_utility=0.0,
        max_utility=1.0,
        max_game_length=2,
    )

    class Game(pyspiel.Game):
        def __init__(self):
            super().__init__(kind, info, {})

        def new_initial_state(self):
            return State(self)

    class State(pyspiel.State):
        def __init__(self, game):
            super().__init__(game)
            self.guesses = []

        def current_player(self):
            return pyspiel.PlayerId.TERMINAL if self.is_terminal() else 0

        def _legal_actions(self, player):
            return [0, 1]

        def _apply_action(self, action):
            self.guesses.append(action)

        def _action_to_string(self, player, action):
            return f"guess {action}"

        def is_terminal(self):
            return len(self.guesses) == 2

        def returns(self):
            return [float(self.is_terminal() and self.guesses[0] == self.guesses[1])]

        def __str__(self):
            return f"after {self.guesses if tells else len(self.guesses)}"

    return Game()


def test_a_text_that_omits_what_matters_is_found_out():
    with pytest.raises(
        vsg.GameError, match="same text and go on differently: 'after 1'. Try: merge"
    ):
        from_openspiel(forgetful(False))
    for table in (from_openspiel(forgetful(False), merge=False), from_openspiel(forgetful(True))):
        assert len(table.states) == 4
        assert vsg.exact_nash(table).certificate.values["player0"] == pytest.approx(1.0)
        assert vsg.certify(table, uniform(table)).values["player0"] == pytest.approx(0.5)


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("kuhn_poker", ["imperfect information", "normal_form_extensive_game(game=kuhn_poker())"]),
        ("goofspiel(imp_info=True)", ["goofspiel(imp_info=True) has imperfect information"]),
        ("laser_tag(fully_obs=False)", ["imperfect information"]),
        ("mfg_crowd_modelling", ["mean-field game", "vsg.mean_field_nash"]),
        ("tictactoe", ["no game 'tictactoe'", "Try: tic_tac_toe"]),
        ("oshi_zumo(horizon=x)", ["does not make 'oshi_zumo(horizon=x)'", "kInt"]),
        (3, ["its name or a pyspiel.Game, not 3"]),
    ],
)
def test_what_has_no_table_is_said(name, words):
    with pytest.raises(vsg.GameError) as error:
        from_openspiel(name)
    for word in words:
        assert word in str(error.value)


def test_too_many_states_are_counted():
    words = "connect_four has more than 500 states: so many were found within 4 of at most 42"
    with pytest.raises(vsg.GameError, match=re.escape(words)):
        from_openspiel("connect_four", max_states=500)


def test_too_much_chance_is_refused():
    with pytest.raises(vsg.GameError, match="more than 2 outcomes between two decisions"):
        from_openspiel("catch(rows=4,columns=3)", max_states=2)


def test_without_openspiel(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyspiel", None)
    with pytest.raises(
        MissingExtra, match=r"needs open_spiel, .*: pip install 'vsg_ppl\[interop\]'"
    ):
        from_openspiel("matrix_pd")
