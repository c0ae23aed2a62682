"""Programs whose public signal follows a law of one's own."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pyro import poutine

import vsg_ppl as vsg
from tests.random_games import games
from tests.test_signal_table import TwoLights, check_same, plain, some_law
from vsg_ppl import models
from vsg_ppl.handlers.signal_law import signal_law
from vsg_ppl.public_signal import PublicSignal
from vsg_ppl.signal_table import base_states, signal_size, with_law, with_signal
from vsg_ppl.tabulate import tabulate


def signalled(game, table, law):
    """The program, and the table that it should have."""
    if table.signals:
        program = PublicSignal(game, base_states(table), table.signals, law, added=False)
        return program, with_law(table, law)
    added = with_signal(table, law.shape[-1], "light")
    program = PublicSignal(game, table.states, added.signals, law, added=True)
    return program, with_law(added, law)


# --- The handler ---------------------------------------------------------------------------------


def drawn(law, n=20_000):
    """How often each pair of two signals is drawn."""
    counts = torch.zeros(2, 3)
    with pyro.plate("plays", n), signal_law((2, 3), law):
        one = vsg.signal("one", dist.Categorical(torch.ones(2)))
        two = vsg.signal("two", dist.Categorical(torch.ones(3)))
    for a, b in zip(one.tolist(), two.tolist(), strict=True):
        counts[a, b] += 1
    return counts / n


def test_two_signals_are_drawn_jointly():
    """One that cannot occur together with another never does."""
    law = torch.tensor([0.1, 0.2, 0.0, 0.0, 0.3, 0.4])
    counts = drawn(law.expand(20_000, 6))
    torch.testing.assert_close(counts.reshape(-1), law, rtol=0, atol=0.02)
    assert counts[0, 2] == counts[1, 0] == 0


def test_a_signal_keeps_its_kind():
    """A program that draws zeros and ones as floats gets floats."""
    with signal_law((2,), torch.tensor([0.0, 1.0])):
        light = vsg.signal("light", dist.Bernoulli(torch.tensor(0.5)))
    assert light.dtype == torch.float32 and light == 1.0


def test_the_handler_can_be_used_again():
    handler = signal_law((2,), torch.tensor([0.0, 1.0]))
    program = handler(lambda: vsg.signal("light", dist.Categorical(torch.ones(2))))
    assert [int(program()) for _ in range(3)] == [1, 1, 1]


def test_only_signals_are_touched():
    with signal_law((2,), torch.tensor([0.0, 1.0])):
        trace = poutine.trace(models.Chicken().step).get_trace(torch.tensor(0))
    torch.testing.assert_close(trace.nodes["row"]["fn"].probs, torch.full((2,), 0.5).double())


# --- Tables --------------------------------------------------------------------------------------


@settings(max_examples=50)
@given(games(outcomes=12), st.integers(2, 3), st.integers(0, 2**32), st.booleans(), st.booleans())
def test_its_table_is_with_law(game, size, seed, timed, constant):
    """Signals added and of the program, laws that read state and time, and that do not."""
    table = tabulate(game)
    times = table.horizon if timed and table.horizon else 1
    omega = signal_size(table) if table.signals else size
    states = len(base_states(table))
    law = some_law(states, times, omega, seed, zeros=plain(game) and table.horizon is not None)
    if constant:
        law = law[:, :1].expand(-1, states, -1)
    program, known = signalled(game, table, law)
    check_same(tabulate(program), known)


def test_two_signals_of_different_kinds():
    table = tabulate(TwoLights())
    for seed in range(5):
        law = some_law(2, 2, 6, seed, zeros=True)
        program, known = signalled(TwoLights(), table, law)
        check_same(tabulate(program), known)


def test_a_state_that_the_law_does_not_know():
    program, table = repeated()
    with pytest.raises(ValueError, match="nan"):
        program.step(torch.tensor(len(table.states)))


# --- Programs ------------------------------------------------------------------------------------


def repeated():
    """A stochastic game whose added signal's law reads the state."""
    game = models.StagHunt()
    table = tabulate(game)
    return signalled(game, table, some_law(len(table.states), 1, 2, 3, zeros=False))


def test_agent_model_and_guide_run():
    program, table = repeated()
    policies = {
        agent: torch.full((len(table.states), size), 1 / size, dtype=torch.float64)
        for agent, size in zip(table.agents, table.sizes, strict=True)
    }
    loss = vsg.MarkovELBO().loss(
        vsg.agent_model(program, "row", {"col": policies["col"]}),
        vsg.agent_guide(program, "row", policies["row"], {"col": policies["col"]}),
    )
    assert torch.isfinite(torch.as_tensor(loss))


def test_solvers_take_it():
    program, table = repeated()
    solution = vsg.exact_nash(program)
    assert solution.solved
    assert solution.table.agents == table.agents
    plays = solution.simulate(2000, steps=3)
    state = plays.states[:, 0]
    torch.testing.assert_close(
        torch.bincount(state, minlength=len(table.states)) / 2000,
        table.initial[0].float(),
        rtol=0,
        atol=0.05,
    )


# --- Figures -------------------------------------------------------------------------------------


def edges(program, conditional=True):
    return set(vsg.figure1(program, program.agents[0], conditional=conditional).edges)


@pytest.mark.parametrize("conditional", [True, False])
def test_figure_3(conditional):
    """A law that does not read the state has no edge from it; the signal is seen by all."""
    game = models.StagHunt()
    table = tabulate(game)
    even = torch.full((1, len(table.states), 2), 0.5, dtype=torch.float64)
    found = edges(signalled(game, table, even)[0], conditional)
    assert ("s_0", "ω_0") not in found and ("ω_0", "a^-i_0") in found
    assert (("ω_0", "a^i_0") in found) == conditional
    assert not {("ω_0", "O^i_0"), ("ω_0", "s_1")} & found
    reads = edges(repeated()[0], conditional)
    assert reads - found == {(f"s_{t}", f"ω_{t}") for t in range(20)} & reads
    assert ("s_0", "ω_0") in reads and found <= reads


@settings(max_examples=15)
@given(games(horizons=(2, 3)))
def test_any_solution_has_a_figure(game):
    table = tabulate(game)
    assume(len(table.agents) > 1)
    omega = signal_size(table) if table.signals else 2
    law = some_law(len(base_states(table)), 1, omega, 0, zeros=False)
    vsg.figure1(signalled(game, table, law)[0], game.agents[0])
