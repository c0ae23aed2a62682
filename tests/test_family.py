"""Tables of games with unknowns: from the tape, from the program, and from `given`, all alike."""

from __future__ import annotations

from dataclasses import fields

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine

import vsg_ppl as vsg
from tests.unknown_programs import (
    ESCAPES,
    PROGRAMS,
    Branch,
    Everywhere,
    HiddenBranch,
    Item,
    Numpy,
    SampledDiscount,
    Scalar,
    Signals,
    Timed,
    Vector,
    real,
    values_of,
)
from vsg_ppl.errors import GameError
from vsg_ppl.family import TableFamily
from vsg_ppl.models import StagHunt
from vsg_ppl.unknowns import draw_unknowns


def family_of(program, taped):
    family = TableFamily(program())
    if not taped:
        family._tape = None
    return family


def tensors_of(table):
    discount = torch.as_tensor(table.discount, dtype=torch.float64)
    parts = [*table.log_priors, *table.rewards, table.probabilities, table.initial, discount]
    return parts


def assert_same(found, expected):
    seen = expected.reachable  # where a state cannot occur, rows hold anything
    assert (seen is None) == (found.reachable is None)
    parts = [
        (t.successors[None] if t.successors is not None else t.initial) for t in (found, expected)
    ]
    parts = [*zip(tensors_of(found), tensors_of(expected), strict=True), parts]
    for one, two in parts:
        assert one.shape == two.shape
        if seen is not None and one.ndim > 2:
            at = seen if one.shape[1] > 1 else seen.any(0)[None]
            one, two = one[0][at], two[0][at]
        torch.testing.assert_close(one.detach(), two.detach(), rtol=1e-12, atol=1e-12)
    for name in ("reachable", "acting"):
        one, two = getattr(found, name), getattr(expected, name)
        assert (one is None) == (two is None)
        assert one is None or bool((one == two).all())
    assert (found.successors is None) == (expected.successors is None)
    for name in {field.name for field in fields(found)} & {"agents", "actions", "horizon", "name"}:
        assert getattr(found, name) == getattr(expected, name)
    assert bool((found.states.values == expected.states.values).all())


def weighed(table, seed=0):
    """One number that every finite entry moves."""
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros((), dtype=torch.float64)
    for part in tensors_of(table):
        weight = torch.rand(part.shape, dtype=torch.float64, generator=generator)
        kept = part > -torch.inf
        if table.reachable is not None and part.shape[1:2] == table.reachable.shape[:1]:
            kept = kept & table.reachable.reshape(1, *table.reachable.shape, *[1] * (part.ndim - 3))
        total = total + (weight * part.where(kept, 0.0)).sum()
    return total


@pytest.mark.parametrize("taped", [True, False])
@pytest.mark.parametrize("program", PROGRAMS)
def test_equals_the_table_of_the_game_given_the_values(program, taped):
    family = family_of(program, taped)
    for seed in range(4):
        values = values_of(program, seed)
        assert_same(family(values), vsg.tabulate(vsg.given(program(), values)))


@pytest.mark.parametrize("taped", [True, False])
@pytest.mark.parametrize("program", PROGRAMS)
def test_gradients_are_differences_of_the_game_given_the_values(program, taped):
    family, values = family_of(program, taped), values_of(program, 5)
    free = {name: value.clone().requires_grad_() for name, value in values.items()}
    weighed(family(free)).backward()
    step = 1e-5
    for name, value in values.items():
        for k in range(value.numel()):
            rise = 0.0
            for sign in (1, -1):
                moved = value.clone()
                moved.view(-1)[k] += sign * step
                # a law is normalised by `dist`, so off the simplex is no harm
                table = vsg.tabulate(vsg.given(program(), {**values, name: moved}))
                rise += sign * float(weighed(table)) / (2 * step)
            assert float(free[name].grad.reshape(-1)[k]) == pytest.approx(rise, abs=1e-6)


@pytest.mark.parametrize("program", ESCAPES)
def test_what_a_tape_cannot_follow_is_run_itself(program):
    family = TableFamily(program())
    for taste in (-1.3, 0.0, 0.4, 2.0):
        values = {"taste": real(taste)}
        assert_same(family(values), vsg.tabulate(vsg.given(program(), values)))


def test_what_a_tape_cannot_follow_has_the_gradient_of_its_branch():
    for program in (Branch, HiddenBranch):
        family = TableFamily(program())
        for taste, slope in ((0.5, 3.0), (-0.5, 9.0)):  # three states
            free = real(taste).requires_grad_()
            family({"taste": free}).rewards[0].sum().backward()
            assert float(free.grad) == pytest.approx(slope)


@pytest.mark.parametrize("program", [p for p in PROGRAMS if p is not Everywhere])
def test_operations_of_torch_alone_are_taped(program):
    """All but a first state of unknown law, which is put in place."""
    assert TableFamily(program())._tape is not None


@pytest.mark.parametrize("program", [Numpy, Item, Branch])
def test_numbers_taken_out_leave_no_tape(program):
    assert TableFamily(program())._tape is None


@pytest.mark.parametrize("taped", [True, False])
@pytest.mark.parametrize("program", PROGRAMS)
def test_inside_a_model_only_the_unknowns_are_seen(program, taped):
    family = family_of(program, taped)

    def model():
        return family(draw_unknowns(family.game))

    trace = poutine.trace(model).get_trace()
    sites = {name for name, node in trace.nodes.items() if node["type"] == "sample"}
    assert sites == set(values_of(program, 0)) == set(family.names)
    assert not [name for name, node in trace.nodes.items() if node["type"] == "param"]


@pytest.mark.parametrize("program", [*PROGRAMS, *ESCAPES])
def test_making_one_draws_nothing_from_the_generators(program):
    before = torch.get_rng_state()
    TableFamily(program())
    assert bool((torch.get_rng_state() == before).all())
    assert not list(pyro.get_param_store().keys())


def test_without_unknowns_it_is_the_games_table():
    family = TableFamily(StagHunt())
    assert family.names == ()
    assert_same(family({}), vsg.tabulate(StagHunt()))
    table = vsg.tabulate(StagHunt())
    assert TableFamily(table)({}) is table


def test_single_precision_values_are_read_as_double():
    for taped in (True, False):
        family = family_of(Vector, taped)
        table = family({"worth": torch.tensor([0.1, 0.2, 0.3])})
        assert {part.dtype for part in tensors_of(table)} == {torch.float64}


class Grows(Scalar):
    """How far one can go depends on an unknown."""

    agents, horizon, discount = ("rat",), None, 0.9

    def initial(self):
        return torch.tensor(0)

    def step(self, state):
        far = pyro.sample("far", dist.Uniform(real(2.0), real(9.0)))
        go = vsg.act("rat", dist.Categorical(torch.ones(2)))
        vsg.optimality("rat", far * go)
        return torch.minimum(state + go, far.long())


class Turns(Grows):
    """Where one goes depends on an unknown, among states that stay the same."""

    def step(self, state):
        far = pyro.sample("far", dist.Uniform(real(2.0), real(9.0)))
        go = vsg.act("rat", dist.Categorical(torch.ones(2)))
        vsg.optimality("rat", far * go)
        return torch.where(far > 5, state + go, state + 3 * go) % 8


class Starts(Grows):
    """Where one starts depends on an unknown."""

    def initial(self):
        far = pyro.sample("far", dist.Uniform(real(2.0), real(9.0)))
        return torch.where(far > 5, 0, 20)

    def step(self, state):
        go = vsg.act("rat", dist.Categorical(torch.ones(2)))
        vsg.optimality("rat", 1.0 * go)
        return state


@pytest.mark.parametrize("program", [Grows, Turns, Starts])
def test_states_that_change_with_unknowns_are_refused(program):
    """Right at values that lead where the first draw led, an error at all others."""
    right, refused = 0, 0
    try:
        family = TableFamily(program())
    except GameError as error:
        assert "change with its unknowns" in str(error)
        return
    for far in (2.5, 4.5, 5.5, 7.5, 8.5):
        values = {"far": real(far)}
        try:
            found = family(values)
        except GameError as error:
            assert "change with its unknowns" in str(error)
            refused += 1
        else:
            assert_same(found, vsg.tabulate(vsg.given(program(), values)))
            right += 1
    assert right >= 1 and refused >= 1


def test_signals_are_not_taken_for_states():
    family = TableFamily(Signals())
    assert len(family.table.states) == 4
    assert family.rows.tolist() == [[0], [1]]


def test_times_have_unknowns_of_their_own():
    family = TableFamily(Timed())
    assert sorted(family.names) == ["shock_0", "shock_1", "shock_2", "trend"]
    values = values_of(Timed, 0)
    one = family(values).rewards[0]
    two = family({**values, "shock_1": values["shock_1"] + 1}).rewards[0]
    moved = (one != two).flatten(2).any(-1)[0]
    assert moved.tolist() == [False, True, False]


def test_the_discount_keeps_its_graph():
    family = TableFamily(SampledDiscount())
    patience = real(0.5).requires_grad_()
    found = family({"patience": patience, "taste": real(0.0)}).discount
    assert float(found.detach()) == pytest.approx(0.475)
    (slope,) = torch.autograd.grad(found, patience)
    assert float(slope) == pytest.approx(0.95)
