import sys
from dataclasses import replace
from typing import NamedTuple

import pyro
import pyro.distributions as dist
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from pyro import poutine

import vsg_ppl as vsg
from tests.brute_force import BruteForce, freeze
from tests.random_games import games
from vsg_ppl import models

TABULATE = sys.modules["vsg_ppl.tabulate"]  # the package's attribute is the function
UNIFORM = dist.Categorical(torch.ones(2, dtype=torch.float64))


class Solo:
    """One agent with two actions that pays for the second; tests override what they look at."""

    agents: tuple[str, ...] = ("a",)
    discount = 0.9
    start = 0

    def initial(self):
        return torch.tensor(self.start)

    def step(self, state):
        action = vsg.act("a", UNIFORM)
        vsg.optimality("a", action)
        return self.following(state, action)

    def following(self, state, action):
        return state


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(game=games())
def test_table_says_what_random_programs_do(game):
    """States, initial law, priors, rewards, next states and what is reachable, entry by entry."""
    table, brute = vsg.tabulate(game), BruteForce(game)
    rows = {freeze(label): k for k, label in enumerate(table.states)}
    assert table.horizon == game.spec.horizon
    assert table.discount == (1.0 if game.spec.discount is None else game.spec.discount)

    layers = [brute.states()] if table.horizon is None else brute.layers(table.horizon)
    places = [
        {o.place: state for state in layer for o in brute.outcomes(state, t)}
        for t, layer in enumerate(layers)
    ]
    found = {place for layer in places for place in layer}
    if "omen" in game.spec.variables:  # all signals are listed, possible or not
        assert found <= set(rows)
    else:
        assert found == set(rows)
    for t, layer in enumerate(places):
        reachable = rows if table.reachable is None else table.reachable[t].nonzero()[:, 0].tolist()
        assert len(reachable) == len(layer)
        for place, state in layer.items():
            assert table.reachable is None or rows[place] in reachable
            check_row(game, table, brute, rows, place, state, t)
    law = {
        place: p * signal_law(brute, state, 0)[place]
        for state, p in brute.initial().items()
        for place in signal_law(brute, state, 0)
    }
    found = {
        freeze(label): float(p) for label, p in zip(table.states, table.initial[0], strict=True)
    }
    assert {place: p for place, p in found.items() if p > 0} == pytest.approx(law, abs=1e-14)


def check_row(game, table, brute, rows, place, state, t):
    now = t if table.times > 1 else 0
    outcomes = [o for o in brute.outcomes(state, t) if o.place == place]
    for agent, actions, log_prior in zip(
        table.agents, table.actions, table.log_priors, strict=True
    ):
        law = brute.prior(agent, place, t)
        row = log_prior[0, now if log_prior.shape[1] > 1 else 0, rows[place]].exp()
        wanted = torch.zeros(actions.size, dtype=torch.float64)
        for action, p in law.items():
            wanted[number(actions, action)] = p
        torch.testing.assert_close(row, wanted, rtol=0, atol=1e-14)
    mass = signal_law(brute, state, t)[place]
    for joint in {tuple(o.actions[agent] for agent in table.agents) for o in outcomes}:
        law, rewards = {}, dict.fromkeys(table.agents, 0.0)
        for outcome in outcomes:
            if tuple(outcome.actions[agent] for agent in table.agents) != joint:
                continue
            p = outcome.probability / mass
            for agent in table.agents:
                rewards[agent] += p * outcome.rewards[agent]
            if t + 1 != table.horizon:  # what the last step returns is not used
                for following, sigma in signal_law(brute, outcome.following, t + 1).items():
                    law[following] = law.get(following, 0.0) + p * sigma
        numbers = tuple(map(number, table.actions, joint))
        entry = (now, rows[place], *numbers)
        assert [float(at(r[0], entry)) for r in table.rewards] == pytest.approx(
            list(rewards.values()), abs=1e-12
        )
        if t + 1 != table.horizon:
            found = at(dense(table), entry)
            assert {k: float(found[k]) for k in found.nonzero()[:, 0].tolist()} == pytest.approx(
                {rows[following]: p for following, p in law.items()}, abs=1e-12
            )


def at(tensor, entry):
    """An entry, where a dimension of size 1 means: the same for all."""
    return tensor[tuple(min(k, n - 1) for k, n in zip(entry, tensor.shape, strict=False))]


def number(actions, action):
    k = 0
    for value, size in zip(action, actions.sizes, strict=False):  # nothing for an idle agent
        k = k * size + value
    return k


def signal_law(brute, state, t):
    """σ(ω|s) by place."""
    law = {}
    for outcome in brute.outcomes(state, t):
        p = outcome.probability
        for prior in outcome.priors.values():
            p *= prior
        law[outcome.place] = law.get(outcome.place, 0.0) + p
    return law


# --- what a table spans --------------------------------------------------------------------------


class Apart:
    """Three agents; a is paid for its own action, b for a's and c's, c for nothing they do."""

    agents = ("a", "b", "c")
    horizon = 2

    def initial(self):
        return torch.tensor(0)

    def step(self, state):
        a = vsg.act("a", dist.Categorical(torch.ones(2)))
        b = vsg.act("b", dist.Categorical(torch.ones(3)))
        c = vsg.act("c", dist.Categorical(torch.ones(4)))
        vsg.optimality("a", a)
        vsg.optimality("b", a * c)
        vsg.optimality("c", state)
        pyro.sample("unused", dist.Categorical(torch.ones(7)))
        return (b > 0).long()


def test_tables_span_only_what_they_depend_on():
    table = vsg.tabulate(Apart())
    assert [tuple(r.shape) for r in table.rewards] == [
        (1, 1, 2, 2, 1, 1),
        (1, 1, 2, 2, 1, 4),
        (1, 1, 2, 1, 1, 1),
    ]
    assert table.successors.shape == (1, 2, 1, 3, 1, 1)  # and no "unused" chance


@pytest.mark.parametrize("n", [5, 8])
def test_many_agents(n):
    """Everyone is paid for the number of agents who do the same."""

    class Crowd:
        agents = tuple(f"agent{k}" for k in range(n))
        horizon = 1

        def initial(self):
            return torch.tensor(0)

        def step(self, state):
            chosen = [vsg.act(agent, UNIFORM) for agent in self.agents]
            total = sum(chosen)
            for agent, own in zip(self.agents, chosen, strict=True):
                vsg.optimality(agent, torch.where(own == 1, total, n - total))
            return state

    table = vsg.tabulate(Crowd())
    assert table.sizes == (2,) * n
    joint = tuple(k % 2 for k in range(n))
    ones = sum(joint)
    for own, reward in zip(joint, table.rewards, strict=True):
        assert float(reward[(0, 0, 0, *joint)]) == (ones if own else n - ones)
    alike = torch.tensor([[1.0, 0.0]])
    assert vsg.certify(table, dict.fromkeys(Crowd.agents, alike)).nash_gap == 0
    mixed = {a: alike.flip(-1) if k == 0 else alike for k, a in enumerate(Crowd.agents)}
    assert vsg.certify(table, mixed).nash_gap == n - 1


# --- finding the states --------------------------------------------------------------------------


def test_deep_chain():
    class Chain(Solo):
        def following(self, state, action):
            return (state + action).clamp(max=400)

    assert list(vsg.tabulate(Chain()).states) == list(range(401))


def test_random_walk_that_spreads():
    """The range of each part grows in both directions, at two speeds, round after round."""

    class Walk(Solo):
        agents = ("a",)
        horizon = 12

        def initial(self):
            return torch.tensor(-3), torch.tensor(100)

        def following(self, state, action):
            coin = pyro.sample("coin", dist.Bernoulli(0.5)).long()
            return state[0] + 2 * action - 1, state[1] - 5 * coin

    table = vsg.tabulate(Walk())
    wanted = sorted(
        {
            (-3 + 2 * ups - t, 100 - 5 * falls)
            for t in range(12)
            for ups in range(t + 1)
            for falls in range(t + 1)
        }
    )
    assert list(table.states) == wanted
    assert (table.probabilities.sum(-1) <= 1 + 1e-12).all()
    brute = BruteForce(Walk())
    rows = {freeze(label): k for k, label in enumerate(table.states)}
    for t, layer in enumerate(brute.layers(12)):
        assert table.reachable[t].nonzero()[:, 0].tolist() == sorted(rows[s] for s in layer)


def test_states_of_two_scales():
    """Codes of one part, numbered anew as it widens, keep those of the other apart."""

    class Two(Solo):
        def initial(self):
            return {"far": torch.tensor(10**6), "near": torch.tensor(-1)}

        def following(self, state, action):
            far = torch.where(action == 1, -state["far"], state["far"])
            return {"far": far, "near": (state["near"] + action).clamp(max=2)}

    labels = list(vsg.tabulate(Two()).states)
    assert labels == sorted(labels, key=lambda s: tuple(s.values()))
    assert {freeze(label) for label in labels} == set(BruteForce(Two()).states())


def test_large_rounds_are_run_in_pieces(monkeypatch):
    game = models.GridGame(crash=0.2)
    whole = vsg.tabulate(game)
    monkeypatch.setattr(TABULATE, "CHUNK", 100)
    pieces = vsg.tabulate(game)
    assert list(pieces.states) == list(whole.states)
    for one, other in zip(whole.rewards, pieces.rewards, strict=True):
        assert torch.equal(one, other)
    assert torch.equal(dense(whole), dense(pieces))


def test_impossible_events_lead_nowhere():
    """A law in float32 must not leak: torch keeps its log probabilities away from −∞."""

    class Sure(Solo):
        def following(self, state, action):
            luck = pyro.sample("luck", dist.Bernoulli(torch.tensor(0.0)))
            count = pyro.sample("count", dist.Binomial(2, torch.tensor(1.0)))
            kind = pyro.sample("kind", dist.Categorical(torch.tensor([1.0, 0.0])))
            hot = pyro.sample("hot", dist.OneHotCategorical(torch.tensor([0.0, 1.0])))
            return (10 * luck + count + 20 * kind + 40 * hot[..., 0]).long()

    assert list(vsg.tabulate(Sure()).states) == [0, 2]


def test_actions_that_are_not_available_lead_nowhere():
    class Barred(Solo):
        def step(self, state):
            action = vsg.act("a", dist.Categorical(torch.tensor([0.5, 0.5, 0.0])))
            vsg.optimality("a", action)
            return action

    table = vsg.tabulate(Barred())
    assert list(table.states) == [0, 1]
    assert table.log_priors[0][..., 2].eq(-torch.inf).all()


def test_no_state_at_all():
    class Stateless(Solo):
        def initial(self):
            return None

        def following(self, state, action):
            return None

    table = vsg.tabulate(Stateless())
    assert list(table.states) == [None]
    certificate = vsg.certify(table, {"a": torch.tensor([[0.25, 0.75]])})
    assert certificate.values["a"] == pytest.approx(0.75 / (1 - 0.9))


def test_first_states_that_coincide_add_up():
    class Sum(Solo):
        def initial(self):
            one, two = pyro.sample("one", UNIFORM), pyro.sample("two", UNIFORM)
            return one + two

    table = vsg.tabulate(Sum())
    assert list(table.states) == [0, 1, 2]
    assert table.initial[0].tolist() == pytest.approx([0.25, 0.5, 0.25])


# --- numbers -------------------------------------------------------------------------------------


def test_laws_in_single_precision_are_normalised():
    class Thirds(Solo):
        def following(self, state, action):
            law = torch.tensor([0.1, 0.2, 0.7])  # float32: the sum is off by 1e-8
            return pyro.sample("next", dist.Categorical(probs=law))

    table = vsg.tabulate(Thirds())
    assert table.probabilities.dtype == torch.float64
    total = table.probabilities.sum(-1)
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-15)


def test_rewards_given_as_numbers_are_exact():
    class Tenth(Solo):
        def step(self, state):
            vsg.act("a", UNIFORM)
            vsg.optimality("a", 0.1)
            vsg.optimality("a", -0.3, name="cost")
            return state

    assert (vsg.tabulate(Tenth()).rewards[0] == 0.1 - 0.3).all()


def test_masked_and_scaled_rewards_count_as_in_a_trace():
    class Masked(Solo):
        horizon = 1

        def step(self, state):
            action = vsg.act("a", UNIFORM)
            with poutine.mask(mask=action == 1):
                vsg.optimality("a", 2.0 + state)
            with poutine.scale(scale=3.0):
                vsg.optimality("a", 0.5, name="more")
            return state

    reward = vsg.tabulate(Masked()).rewards[0]
    for action in (0, 1):
        program = poutine.condition(
            lambda: Masked().step(torch.tensor(0)), {"a": torch.tensor(action)}
        )
        trace = poutine.trace(program).get_trace()
        trace.compute_log_prob()
        paid = sum(float(trace.nodes[site]["log_prob_sum"]) for site in ("O_a", "O_a.more"))
        assert float(reward[0, 0, 0, action]) == pytest.approx(paid)


def dense(table):
    """P(s'|s, a) as one array, (H|1, S, A..., S)."""
    if table.successors is None:
        return table.probabilities[0]
    probabilities = table.probabilities[0]
    shape = torch.broadcast_shapes(table.successors.shape, probabilities.shape)
    out = torch.zeros(*shape[:-1], len(table.states), dtype=torch.float64)
    for k in range(shape[-1]):
        to = table.successors.expand(shape)[..., k : k + 1]
        out.scatter_add_(-1, to, probabilities.expand(shape)[..., k : k + 1].contiguous())
    return out


@pytest.mark.parametrize(
    "game", [models.GridGame(crash=0.5), models.Soccer(rows=2, columns=3), models.Thermostat()]
)
def test_sparse_and_dense_next_states_are_worth_the_same(game):
    sparse = vsg.tabulate(game)
    assert sparse.successors is not None
    full = replace(sparse, successors=None, probabilities=dense(sparse)[None])
    generator = torch.Generator().manual_seed(3)
    policies = {}
    for agent, log_prior in zip(sparse.agents, sparse.log_priors, strict=True):
        noise = torch.randn(log_prior.shape[-2:], dtype=torch.float64, generator=generator)
        policies[agent] = (log_prior[0, 0] + noise).softmax(-1)
    one, other = vsg.certify(sparse, policies), vsg.certify(full, policies)
    assert one.values == pytest.approx(other.values, abs=1e-11)
    assert one.nash_gap == pytest.approx(other.nash_gap, abs=1e-11)
    assert one.nash_gap > 1e-3


# --- time and signals ----------------------------------------------------------------------------


class Turns:
    """a and b act in turns; the state counts how often the second action was taken."""

    agents = ("a", "b")
    horizon = 3

    def initial(self):
        return torch.tensor(0)

    def step(self, state, t):
        action = vsg.act("a" if t % 2 == 0 else "b", UNIFORM)
        vsg.optimality("a", action * (t + 1))
        vsg.optimality("b", -state)
        return state + action


def test_agents_in_turns():
    table = vsg.tabulate(Turns())
    assert table.acting.tolist() == [[True, False], [False, True], [True, False]]
    assert list(table.states) == [0, 1, 2]
    assert table.reachable.tolist() == [
        [True, False, False],
        [True, True, False],
        [True, True, True],
    ]
    assert float(table.rewards[0][0, 1, 0, 0, 1]) == 2.0  # at t = 1 b's action pays a
    uniform = torch.full((3, 2), 0.5)
    values = vsg.certify(table, {"a": uniform, "b": uniform}).values
    assert values["a"] == pytest.approx((1 + 2 + 3) / 2)
    assert values["b"] == pytest.approx(-(0.5 + 1.0))


class Named(NamedTuple):
    x: torch.Tensor
    y: torch.Tensor


def test_signals_become_part_of_the_state():
    class Lights(Solo):
        def initial(self):
            return Named(torch.tensor(0), torch.tensor(1))

        def step(self, state):
            light = vsg.signal("light", dist.Categorical(torch.tensor([0.25, 0.75]).double()))
            action = vsg.act("a", UNIFORM)
            vsg.optimality("a", action == light)
            return Named(state.x, state.y)

    table = vsg.tabulate(Lights())
    assert list(table.states) == [(Named(0, 1), {"light": 0}), (Named(0, 1), {"light": 1})]
    assert table.initial[0].tolist() == pytest.approx([0.25, 0.75])
    assert table.rewards[0][0, 0].tolist() == [[1.0, 0.0], [0.0, 1.0]]
    follow = torch.eye(2)
    assert vsg.certify(table, {"a": follow}).values["a"] == pytest.approx(10.0)


def test_a_signal_that_changes_with_time():
    class Seasons(Solo):
        horizon = 2

        def step(self, state, t):
            law = torch.tensor([[1.0, 0.0], [0.0, 1.0]])[t]
            season = vsg.signal("season", dist.Categorical(law))
            action = vsg.act("a", UNIFORM)
            vsg.optimality("a", (action == season) * (1.0 + t))
            return state

    table = vsg.tabulate(Seasons())
    assert table.reachable.tolist() == [[True, False], [False, True]]
    certificate = vsg.certify(table, {"a": torch.eye(2)})
    assert certificate.values["a"] == pytest.approx(1.0 + 0.9 * 2.0)
    assert certificate.nash_gap_worst_state == 0


def test_a_signal_with_one_value_is_still_seen():
    class Flag(Solo):
        def step(self, state):
            vsg.signal("flag", dist.Categorical(torch.ones(1)))
            vsg.optimality("a", vsg.act("a", UNIFORM))
            return state

    assert list(vsg.tabulate(Flag()).states) == [(0, {"flag": 0})]
