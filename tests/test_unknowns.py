"""What counts as unknown in a game program, its priors, and a game with its unknowns fixed."""

from __future__ import annotations

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch.distributions import constraints

import vsg_ppl as vsg
from tests.brute_force import BruteForce
from tests.brute_response import BruteResponse, soft
from tests.random_policies import Policies
from tests.unknown_programs import (
    PROGRAMS,
    Everywhere,
    Hierarchy,
    Parameters,
    SampledDiscount,
    Scalar,
    Vector,
    real,
    values_of,
)
from vsg_ppl.errors import GameError
from vsg_ppl.handlers.given import GivenMessenger
from vsg_ppl.models import StagHunt
from vsg_ppl.soft_response import soft_response
from vsg_ppl.unknowns import draw_unknowns


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_unknowns_alone_are_sites(program):
    trace = poutine.trace(lambda: draw_unknowns(program())).get_trace()
    sites = [name for name, node in trace.nodes.items() if node["type"] == "sample"]
    assert sorted(sites) == sorted(values_of(program, 0))
    assert not any(node["type"] == "param" for node in trace.nodes.values())
    assert not list(pyro.get_param_store().keys())
    found = trace.nodes["_RETURN"]["value"]
    assert {name: value.shape for name, value in found.items()} == {
        name: value.shape for name, value in values_of(program, 0).items()
    }


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_game_given_its_unknowns_answers_as_its_program_does(program):
    """By the oracle, which runs the program outcome by outcome."""
    values = values_of(program, 2)
    game = vsg.given(program(), values)
    table, brute = vsg.tabulate(game), BruteForce(game)
    reader = Policies(table, brute, 0)
    policies = {agent: reader.marginal(agent) for agent in table.agents}
    laws = [policies[agent].log_table().detach().exp()[None] for agent in table.agents]
    functions = {agent: reader.read(policy) for agent, policy in policies.items()}
    checked = 0
    for number, agent in enumerate(table.agents):
        found = soft_response(table, laws, number, 0.6)[0].exp()
        oracle = BruteResponse(brute, agent, functions)
        for (place, t), (answers, _) in oracle.induct(soft(0.6), steps=60).items():
            for answer in answers.values():
                for action, p in answer.items():
                    row = found[t, reader.rows[place]]
                    assert float(row[reader.number(agent, action)]) == pytest.approx(p, abs=1e-5)
                    checked += 1
    assert checked >= 3


def test_the_density_of_a_hierarchy_is_its_priors():
    values = values_of(Hierarchy, 1)
    program = poutine.condition(lambda: draw_unknowns(Hierarchy()), data=values)
    found = poutine.trace(program).get_trace().log_prob_sum()
    scale, taste, share = values["scale"], values["taste"], values["share"]
    log_scale = -0.5 * (scale.log() / 0.5) ** 2 - math.log(0.5 * math.sqrt(2 * math.pi))
    log_taste = -0.5 * ((taste - 1) / scale) ** 2 - (scale * math.sqrt(2 * math.pi)).log()
    a, b = 1 + scale, 2.0
    log_share = (
        (a - 1) * share.log()
        + (b - 1) * (1 - share).log()
        + torch.lgamma(a + b)
        - torch.lgamma(a)
        - math.lgamma(b)
    )
    expected = log_scale - scale.log() + log_taste + log_share
    assert float(found) == pytest.approx(float(expected), abs=1e-10)


def test_draws_are_of_the_priors():
    pyro.set_rng_seed(0)
    draws = [draw_unknowns(Hierarchy()) for _ in range(400)]
    logs = torch.stack([draw["scale"] for draw in draws]).log()
    assert float(logs.mean()) == pytest.approx(0.0, abs=4 * 0.5 / 20)
    assert float(logs.std()) == pytest.approx(0.5, rel=0.15)
    unit = torch.stack([(draw["taste"] - 1) / draw["scale"] for draw in draws])
    assert float(unit.mean()) == pytest.approx(0.0, abs=4 / 20)
    assert float(unit.std()) == pytest.approx(1.0, rel=0.15)


def test_one_name_at_two_places_is_one_unknown():
    pyro.set_rng_seed(1)
    draw = draw_unknowns(SampledDiscount())
    table = vsg.tabulate(vsg.given(SampledDiscount(), draw))
    assert table.discount == pytest.approx(0.95 * float(draw["patience"]))
    assert float(table.rewards[0][0, 0, 0, 1]) == pytest.approx(float(draw["patience"]))


def test_given_is_a_game_as_any_other():
    game = vsg.given(SampledDiscount(), {"patience": 0.8, "taste": 2.0})
    assert game.agents == ("rat",)
    assert game.discount == pytest.approx(0.76)
    assert game.horizon is None
    assert vsg.nash(game).solved
    trace = poutine.trace(lambda: (game.initial(), game.step(torch.tensor(0)))).get_trace()
    sites = {name for name, node in trace.nodes.items() if node["type"] == "sample"}
    assert sites == {"rat", "O_rat"}


def test_given_draws_nothing_from_the_generators():
    before = torch.get_rng_state()
    vsg.given(Vector(), {"worth": torch.zeros(3)})
    assert bool((torch.get_rng_state() == before).all())


def test_given_takes_numbers_and_tensors():
    one = vsg.tabulate(vsg.given(Vector(), {"worth": [1.0, 2.0, 3.0]}))
    two = vsg.tabulate(vsg.given(Vector(), {"worth": torch.tensor([1.0, 2.0, 3.0])}))
    for a, b in zip(one.rewards, two.rewards, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize(
    ("game", "values", "match"),
    [
        (Scalar(), {}, "'taste' of Scalar is given no value"),
        (Scalar(), {"taste": 1.0, "smell": 2.0}, "no unknown 'smell'.*taste"),
        (StagHunt(), {"taste": 1.0}, "no unknown 'taste'.*it has no unknowns"),
        (Scalar(), {"taste": "sweet"}, "'sweet', not a number"),
        (Everywhere(), {"start": 0.5, "bias": 0.0}, "'law' of Everywhere is given no value"),
        (Parameters(), {"rate": 1.0}, "'worth' of Parameters is given no value"),
    ],
)
def test_errors_of_given(game, values, match):
    with pytest.raises(GameError, match=match):
        vsg.given(game, values)


def test_an_action_or_a_chance_site_is_no_unknown():
    with pytest.raises(GameError, match="no unknown 'rat'"):
        vsg.given(Scalar(), {"taste": 1.0, "rat": 0})
    with pytest.raises(GameError, match="no unknown 'slip'"):
        vsg.given(Hierarchy(), {**values_of(Hierarchy, 0), "slip": 0})


def test_a_game_with_unknowns_has_no_table():
    with pytest.raises(GameError, match="Normal cannot be enumerated"):
        vsg.tabulate(Scalar())


class NoStart(Scalar):
    def step(self, state):
        taste = pyro.param("taste")
        arm = vsg.act("rat", dist.Categorical(torch.ones(3)))
        vsg.optimality("rat", taste * arm)


def test_a_parameter_needs_a_start():
    with pytest.raises(GameError, match="no value to start from"):
        draw_unknowns(NoStart())


@pytest.mark.parametrize("patience", [1.2, -0.1, 1.0])
def test_a_discount_outside_its_range_is_told(patience):
    class Impatient(SampledDiscount):
        @property
        def discount(self):
            return pyro.sample("patience", dist.Beta(real(3.0), real(2.0)))

    with pytest.raises(GameError, match="discount"):
        vsg.tabulate(vsg.given(Impatient(), {"patience": patience, "taste": 0.0}))


def test_the_handler_fixes_sites_and_parameters_and_no_others():
    def program():
        one = pyro.sample("one", dist.Normal(0.0, 1.0))
        two = pyro.param("two", torch.tensor(5.0))
        three = pyro.sample("three", dist.Normal(torch.tensor(100.0), 1.0))
        return one, two, three

    fixed = GivenMessenger({"one": torch.tensor(1.0), "two": torch.tensor(2.0)})
    with poutine.trace() as tracer, fixed:
        one, two, three = program()
    assert (float(one), float(two)) == (1.0, 2.0)
    assert float(three) > 50
    assert {n for n in tracer.trace.nodes if not n.startswith("_")} == {"three"}
    assert not list(pyro.get_param_store().keys())


def test_the_handler_leaves_what_the_game_language_names():
    with GivenMessenger({"rat": torch.tensor(2), "O_rat": torch.tensor(1.0)}):
        trace = poutine.trace(lambda: Vector().step(torch.tensor(0))).get_trace()
    assert {"ann", "bob", "O_ann", "O_bob"} <= set(trace.nodes)


@pytest.mark.parametrize(
    ("start", "support"),
    [
        (0.7, constraints.real),
        (2.0, constraints.positive),
        (0.3, constraints.unit_interval),
        (torch.tensor([0.2, 0.5, 0.3]).double(), constraints.simplex),
        (torch.tensor([1.0, 2.0]).double(), constraints.positive),
        (4.5, constraints.interval(4.0, 5.0)),
    ],
)
def test_flat_is_constant_in_unconstrained_coordinates(start, support):
    law = vsg.Flat(start, support)
    transform = torch.distributions.biject_to(support)
    value = law.sample()
    torch.testing.assert_close(value, torch.as_tensor(start).double(), rtol=0, atol=1e-6)
    assert value.shape == law.batch_shape + law.event_shape
    free = transform.inv(value)
    totals = []
    for shift in (0.0, 0.4, -1.1):
        moved = transform(free + shift)
        change = transform.log_abs_det_jacobian(free + shift, moved)
        totals.append(float(law.log_prob(moved).sum() + change.sum()))
    assert totals == pytest.approx([0.0, 0.0, 0.0], abs=1e-9)
