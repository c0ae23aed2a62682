"""The handlers: time, focus, play, enumerate; and the programs made of them."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import Predictive, Trace_ELBO
from pyro.util import check_model_guide_match

import vsg_ppl as vsg
from tests.bundled import instances
from vsg_ppl import models
from vsg_ppl.errors import GameError
from vsg_ppl.game import Act, Limited, role
from vsg_ppl.guides import ConditionalPolicy, NeuralPolicy, TabularPolicy
from vsg_ppl.handlers import at_time, enumerate_sites, focus, play
from vsg_ppl.unroll import unroll

EITHER = dist.Categorical(torch.ones(2, dtype=torch.float64))
SMALL = {
    "congestion": models.Congestion(n_agents=3, facilities=2),
    "soccer": models.Soccer(rows=2, columns=2),
}
GAMES = instances(SMALL)


def step():
    a = vsg.act("a", EITHER)
    b = vsg.act("b", EITHER)
    vsg.optimality("a", a + b)
    vsg.optimality("a", 1.0)
    vsg.optimality("b", 2.0 * b)
    return pyro.sample("next", EITHER)


def trace_of(program, seed=0):
    pyro.set_rng_seed(seed)
    trace = poutine.trace(program).get_trace()
    trace.compute_log_prob()
    return trace


def contents(trace):
    """Sites of a trace with their values and log probabilities."""
    return {
        name: (site["value"].tolist(), float(site["log_prob_sum"]))
        for name, site in trace.nodes.items()
        if site["type"] == "sample"
    }


def names(program):
    trace = poutine.trace(program).get_trace()
    return [name for name, site in trace.nodes.items() if site["type"] == "sample"]


def policy(site, *law):
    """A policy program that plays one site by a fixed law."""

    def program(state):
        pyro.sample(site, dist.Categorical(torch.tensor(law)))

    return program


# --- at_time -------------------------------------------------------------------------------------


def test_sites_carry_their_time():
    """Actions and rewards are of now, chance makes the next state (Fig. 1)."""
    assert names(at_time(2)(step)) == ["a_2", "b_2", "O_a_2", "O_a.1_2", "O_b_2", "next_3"]


def test_a_time_can_be_entered_again():
    handler = at_time(0)
    for _ in range(2):
        with handler:
            assert names(step)[3] == "O_a.1_0"


# --- focus ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_focus_keeps_one_agents_rewards(temperature):
    """Three programs, the same choices: what is paid differs."""
    plain = poutine.trace(at_time(0)(step)).get_trace()
    same = poutine.replay(at_time(0)(step), trace=plain)
    one = contents(trace_of(focus("a", temperature)(same)))
    none = contents(trace_of(focus(None)(same)))
    a, b = (int(plain.nodes[site]["value"]) for site in ("a_0", "b_0"))
    assert set(one) - set(none) == {"O_a_0", "O_a.1_0"}
    assert one["O_a_0"][1] == pytest.approx((a + b) / temperature)
    assert one["O_a.1_0"][1] == pytest.approx(1 / temperature)
    assert {name: one[name] for name in none} == none


def test_focus_is_idempotent_at_temperature_one():
    twice = trace_of(focus("a")(focus("a")(at_time(0)(step))))
    assert contents(twice) == contents(trace_of(focus("a")(at_time(0)(step))))


def test_focus_on_two_agents_is_focus_on_none():
    both = trace_of(focus("a")(focus("b")(at_time(0)(step))))
    assert contents(both) == contents(trace_of(focus(None)(at_time(0)(step))))


# --- play ----------------------------------------------------------------------------------------

ALWAYS = {"a": policy("a", 0.0, 1.0), "b": policy("b", 0.25, 0.75)}


class Once:
    agents = ("a", "b")
    horizon = 1

    def initial(self):
        return torch.tensor(0)

    def step(self, state):
        return step()


def test_a_policy_takes_the_place_of_the_prior():
    trace = trace_of(play({"a": ALWAYS["a"]})(unroll(Once())))
    assert trace.nodes["a_0"]["value"] == 1
    assert trace.nodes["a_0"]["fn"].probs.tolist() == [0.0, 1.0]
    assert trace.nodes["b_0"]["fn"] is EITHER
    assert role(trace.nodes["a_0"]) == Act("a", "a")  # one site each, marked as the agent's
    assert names(play(ALWAYS)(unroll(Once()))).count("a_0") == 1


def test_play_commutes_with_focus():
    program = unroll(Once())
    one = trace_of(focus("a", 2.0)(play(ALWAYS)(program)))
    other = trace_of(play(ALWAYS)(focus("a", 2.0)(program)))
    assert contents(one) == contents(other)


def test_agents_can_be_played_one_by_one():
    program = unroll(Once())
    both = trace_of(play(ALWAYS)(program))
    for order in (("a", "b"), ("b", "a")):
        one_by_one = program
        for agent in order:
            one_by_one = play({agent: ALWAYS[agent]})(one_by_one)
        assert contents(trace_of(poutine.replay(one_by_one, trace=both))) == contents(both)


def test_play_is_idempotent_and_the_outermost_policy_wins():
    program = unroll(Once())
    assert contents(trace_of(play(ALWAYS)(play(ALWAYS)(program)))) == contents(
        trace_of(play(ALWAYS)(program))
    )
    never = {"a": policy("a", 1.0, 0.0)}
    for _ in range(5):
        assert (
            poutine.trace(play(never)(play(ALWAYS)(program))).get_trace().nodes["a_0"]["value"] == 0
        )


def test_play_works_as_function_decorator_and_context():
    @play({"a": ALWAYS["a"]})
    def decorated():
        return unroll(Once())()

    def inside():
        with play({"a": ALWAYS["a"]}):
            return unroll(Once())()

    assert contents(trace_of(decorated)) == contents(trace_of(inside))


def test_a_policy_sees_state_time_and_others():
    told = []

    def look(state, t, seen):
        told.append((int(state), t, {site: int(value) for site, value in seen.items()}))
        pyro.sample("a", EITHER)

    class Twice(Once):
        horizon = 2

    trace = poutine.trace(play({"a": look, "b": ALWAYS["b"]})(unroll(Twice()))).get_trace()
    value = {name: int(site["value"]) for name, site in trace.nodes.items() if "_" in name[1:]
             and site["type"] == "sample" and not name.startswith("O")}  # fmt: skip
    assert told == [(0, 0, {"b": value["b_0"]}), (value["next_1"], 1, {"b": value["b_1"]})]


def test_a_policy_may_look_at_one_action_of_many():
    """Looking at b's action chooses it; c, which acts later, is left alone until it acts."""
    order = []

    class Three(Once):
        agents = ("a", "b", "c")

        def step(self, state):
            for agent in self.agents:
                vsg.optimality(agent, vsg.act(agent, EITHER))
            return state

    def look(state, seen):
        pyro.sample("a", dist.Categorical(torch.eye(2)[seen["b"]]))
        order.append("a")

    def other(agent):
        def choose(state):
            order.append(agent)
            pyro.sample(agent, EITHER)

        return choose

    program = play({"a": look, "c": other("c"), "b": other("b")})(unroll(Three()))
    trace = poutine.trace(program).get_trace()
    assert order == ["b", "a", "c"]
    assert trace.nodes["a_0"]["value"] == trace.nodes["b_0"]["value"]


def test_a_policy_that_leaves_its_site_out():
    with pytest.raises(GameError, match=r"site 'a': the policy of 'a' does not sample this action"):
        play({"a": policy("other", 0.5, 0.5)})(unroll(Once()))()


def test_two_policies_cannot_see_each_other():
    def look(state, seen):
        pyro.sample("a", EITHER)

    with pytest.raises(GameError, match="two policies want to see"):
        play({"a": look, "b": look})


# --- enumerate -----------------------------------------------------------------------------------


def test_values_span_the_sites_they_depend_on():
    with enumerate_sites(2) as tables:
        x = pyro.sample("x", dist.Categorical(torch.ones(2)))
        y = pyro.sample("y", dist.Categorical(torch.eye(2)[x]))
        z = pyro.sample("z", dist.Bernoulli(0.25))
    assert [tuple(v.shape) for v in (x, y, z, x + z)] == [
        (2, 1, 1),
        (2, 1, 1, 1),
        (2, 1, 1, 1, 1),
        (2, 1, 2, 1, 1),
    ]
    assert tables.dims == 5
    assert [site.size for site in tables.sites.values()] == [2, 2, 2]
    joint = tables.sites["x"].probabilities * tables.sites["y"].probabilities
    assert joint.squeeze().tolist() == [[0.5, 0.0], [0.0, 0.5]]
    assert tables.sites["z"].probabilities.squeeze().tolist() == [0.75, 0.25]


def test_deterministic_sites_are_let_through():
    with enumerate_sites(0) as tables:
        x = pyro.sample("x", EITHER)
        pyro.deterministic("twice", 2 * x)
        pyro.sample("same", dist.Delta(x.double()))
    assert list(tables.sites) == ["x"]


def test_rewards_are_noted_by_agent():
    with enumerate_sites(0) as tables:
        step()
    assert {agent: [name for name, _ in said] for agent, said in tables.rewards.items()} == {
        "a": ["O_a", "O_a"],
        "b": ["O_b"],
    }
    assert tables.rewards["b"][0][1].flatten().tolist() == [0.0, 2.0]


def test_too_many_outcomes_are_refused_before_they_are_made():
    with pytest.raises(GameError, match="site 'c': with this site a step has 1,000 joint outcomes"):
        with enumerate_sites(1, limit=999):
            for name in "abc":
                pyro.sample(name, dist.Categorical(torch.ones(10)))


# --- unroll --------------------------------------------------------------------------------------


def test_a_play_has_every_step_once():
    class Weather(Once):
        horizon = 3

        def initial(self):
            return pyro.sample("next", EITHER)

    assert [name for name in names(unroll(Weather())) if not name.startswith("O")] == [
        "next_0",
        *("a_0", "b_0", "next_1"),
        *("a_1", "b_1", "next_2"),
        *("a_2", "b_2", "next_3"),
    ]
    assert "a_3" in names(unroll(Weather(), horizon=4))
    assert "a_1" not in names(unroll(Weather(), horizon=1))


def test_a_discount_is_the_chance_to_go_on():
    """The number of steps is geometric; what comes after the end has probability one."""
    game = models.StagHunt(discount=0.5)
    lengths = []
    for seed in range(400):
        trace = trace_of(unroll(game), seed)
        steps = sum(name.startswith("row_") for name in trace.nodes)
        assert trace.nodes.get(f"alive_{steps}", {"value": 0})["value"] == 0
        lengths.append(float(steps))
    mean = torch.tensor(lengths).mean()
    assert abs(mean - 2) < 5 * (2 / 400) ** 0.5  # variance (1 − γ)^-2 γ = 2


def test_sites_do_not_depend_on_when_a_play_ends():
    """With a horizon; Pyro's `Predictive` stacks the sites of several plays."""
    game = models.StagHunt(discount=0.5)
    plays = [set(names(unroll(game, horizon=3))) for _ in range(10)]
    assert all(play == plays[0] for play in plays) and "row_2" in plays[0]

    with pyro.plate("plays", 2):
        program = poutine.condition(
            unroll(game, horizon=3), {"alive_1": torch.tensor([0.0, 1.0]), "alive_2": torch.ones(2)}
        )
        trace = trace_of(program)
    assert trace.nodes["row_1"]["log_prob"].tolist()[0] == 0.0
    assert trace.nodes["O_row_2"]["log_prob"].tolist()[0] == 0.0
    assert trace.nodes["row_1"]["log_prob"].tolist()[1] == pytest.approx(-0.6931, abs=1e-4)


def test_a_game_without_an_end_can_be_played_for_a_while():
    class Endless(Once):
        horizon = None

    assert "a_1" in names(unroll(Endless(), horizon=2))
    with pytest.raises(GameError, match="never ends"):
        unroll(Endless())
    with pytest.raises(GameError, match="the horizon of Endless is 0"):
        unroll(Endless(), horizon=0)


# --- model and guide -----------------------------------------------------------------------------


def programs(game, agent, conditional, horizon=2):
    """Model and guide with random tabular policies, cut to two decisions."""
    table = vsg.tabulate(Limited(game, horizon) if ends(game) else game)
    generator = torch.Generator().manual_seed(0)

    def noise(*shape):
        return torch.randn(shape, dtype=torch.float64, generator=generator)

    def tabular(name):
        size = table.sizes[table.number(name)]
        return TabularPolicy(table, name, noise(len(table.states), size))

    if conditional:
        shape = (table.horizon or 1, len(table.states), *table.sizes)
        mine = ConditionalPolicy(table, agent, noise(*shape))
    else:
        mine = tabular(agent)
    rest = [name for name in table.agents if name != agent]
    model = vsg.agent_model(game, agent, {j: tabular(j) for j in rest}, horizon=horizon)
    guide = vsg.agent_guide(game, agent, mine, {j: tabular(j) for j in rest}, horizon=horizon)
    return model, guide


def ends(game):
    return getattr(game, "horizon", None) is not None


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("name", GAMES)
def test_model_and_guide_have_the_same_sites(name, conditional):
    game = GAMES[name]
    for agent in game.agents[:2]:
        model, guide = programs(game, agent, conditional)
        guided = poutine.trace(guide).get_trace()
        modelled = poutine.trace(poutine.replay(model, trace=guided)).get_trace()
        check_model_guide_match(modelled, guided)  # warnings are errors
        paid = set(modelled.observation_nodes)
        assert set(modelled.stochastic_nodes) == set(guided.stochastic_nodes)
        assert not guided.observation_nodes
        assert paid and all(site.startswith(f"O_{agent}") for site in paid)
        for trace in (modelled, guided):
            trace.compute_log_prob()
            assert torch.isfinite(trace.log_prob_sum())


@pytest.mark.parametrize("name", GAMES)
def test_pyro_works_on_models_and_guides(name):
    game = GAMES[name]
    model, guide = programs(game, game.agents[0], conditional=False)
    loss = Trace_ELBO(num_particles=7, vectorize_particles=True, max_plate_nesting=0)
    assert torch.isfinite(torch.tensor(loss.loss(model, guide)))
    first = f"{vsg.tabulate(game).actions[0].sites[0]}_0"
    drawn = Predictive(model, guide=guide, num_samples=5)()
    assert drawn[first].shape == (5,)
    together = Predictive(model, num_samples=5, parallel=True)()
    assert together[first].shape == (5,)


class Turns:
    """a, then b, then a; c acts always, and is paid for what a and b do."""

    agents = ("a", "b", "c")
    horizon = 3

    def initial(self):
        return torch.tensor(0)

    def step(self, state, t):
        mover = "a" if t % 2 == 0 else "b"
        seen = vsg.act("c", EITHER)
        chosen = vsg.act(mover, EITHER)
        for agent in self.agents:
            vsg.optimality(agent, (chosen * seen + t).double())
        return state + chosen


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("agent", Turns.agents)
def test_who_sits_out_has_no_site(agent, conditional):
    model, guide = programs(Turns(), agent, conditional, horizon=3)
    actions = {"c_0", "a_0", "c_1", "b_1", "c_2", "a_2"}
    assert {name for name in names(guide) if name[0] in "abc"} == actions
    assert {name for name in names(model) if name[0] in "abc"} == actions


def test_a_policy_of_a_user_is_not_asked_when_its_agent_sits_out():
    """Neither by sampling nor in a table, where who sits out does nothing."""
    game = Turns()

    def of(agent):
        return policy(agent, 0.5, 0.5)

    model = vsg.agent_model(game, "a", {"b": policy("b", 0.1, 0.9), "c": of("c")})
    guide = vsg.agent_guide(game, "a", of("a"), {"b": of("b"), "c": of("c")})
    exact = -vsg.MarkovELBO().loss(model, guide)
    kl = 0.5 * (torch.tensor([0.5 / 0.1, 0.5 / 0.9]).log().sum())  # of b, once
    assert exact == pytest.approx(3 * 0.25 + (0 + 1 + 2) - float(kl), abs=1e-6)
    assert vsg.certify(game, {j: of(j) for j in game.agents}).values["a"] == pytest.approx(3.75)


class Lights(Once):
    """A signal that all see before they act."""

    def step(self, state):
        vsg.signal("light", EITHER)
        return step()


def test_policies_see_the_signal():
    def follow(state):
        place, lights = state
        pyro.sample("a", dist.Categorical(torch.eye(2)[lights["light"]]))

    assert names(unroll(Lights()))[0] == "light_0"
    for seed in range(5):
        trace = trace_of(play({"a": follow})(unroll(Lights())), seed)
        assert trace.nodes["a_0"]["value"] == trace.nodes["light_0"]["value"]
    law = vsg.certify(Lights(), {"a": follow, "b": policy("b", 1.0, 0.0)})
    assert law.values["a"] == pytest.approx(1.5)


def test_five_agents():
    class Five(Once):
        agents = tuple("abcde")

        def step(self, state):
            total = sum(vsg.act(agent, EITHER) for agent in self.agents)
            for agent in self.agents:
                vsg.optimality(agent, total)
            return state

    for conditional in (False, True):
        model, guide = programs(Five(), "c", conditional, horizon=1)
        guided = poutine.trace(guide).get_trace()
        modelled = poutine.trace(poutine.replay(model, trace=guided)).get_trace()
        assert set(guided.stochastic_nodes) == {f"{agent}_0" for agent in "abcde"}
        assert set(modelled.stochastic_nodes) == set(guided.stochastic_nodes)


def test_what_an_agent_does_not_know_it_models_by_the_prior():
    """Also where a conditional policy needs to see it (Fig. 1)."""
    game = models.Hedge()
    table = vsg.tabulate(game)
    answer = ConditionalPolicy(table, "row", torch.ones(1, 1, 3, 2).cumsum(-1).double())
    model, guide = vsg.agent_model(game, "row"), vsg.agent_guide(game, "row", answer)
    assert set(names(guide)) == {"col_0", "row_0"}
    given = vsg.agent_guide(game, "row", answer, {"col": torch.tensor([[0.5, 0.5]])})
    elbo = vsg.MarkovELBO(table)
    assert elbo.loss(model, guide) == pytest.approx(elbo.loss(model, given), abs=1e-14)


@pytest.mark.parametrize("neural", [False, True])
def test_whoever_climbs_moves_nobody_else(neural):
    """Not by the optimiser, and not by what is left in `.grad` for the other's own step."""
    game = vsg.models.PrisonersDilemma()
    pyro.clear_param_store()
    row, col = (
        NeuralPolicy(game, agent) if neural else TabularPolicy(vsg.tabulate(game), agent)
        for agent in game.agents
    )
    model = vsg.agent_model(game, "row", {"col": col})
    guide = vsg.agent_guide(game, "row", row, {"col": vsg.fixed(col)})
    before = [x.detach().clone() for x in col.parameters()]
    moved = [x.detach().clone() for x in row.parameters()]
    optim = pyro.optim.Adam({"lr": 0.1})
    loss = Trace_ELBO(num_particles=8)
    pyro.infer.SVI(model, guide, optim, loss).step()
    assert all(torch.equal(x, y) for x, y in zip(before, col.parameters(), strict=True))
    assert all(x.grad is None or not x.grad.any() for x in col.parameters())
    assert any(not torch.equal(x, y) for x, y in zip(moved, row.parameters(), strict=True))
    loose = vsg.agent_guide(game, "row", row, {"col": col})  # an opponent model is learnt
    pyro.infer.SVI(model, loose, optim, loss).step()
    assert any(not torch.equal(x, y) for x, y in zip(before, col.parameters(), strict=True))
