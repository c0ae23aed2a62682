# %% [markdown]
# # 2. Your first game
#
# Two hunters, a stag and the weather. In this tutorial you write a game, check it, solve it, read
# the certificate, choose among its equilibria, look at play, keep the result, and use it in Pyro
# models of your own. At the end the hunters learn the game by themselves.
#
# The story is an old one (Skyrms, 2004, "The Stag Hunt and the Evolution of Social Structure"). A
# stag takes two hunters, a hare takes one. Who hunts stag alone goes home hungry. We add weather:
# a storm halves what a stag is worth.

# %%
import os
import tempfile
from dataclasses import dataclass
from enum import IntEnum
from math import log
from pathlib import Path
from typing import ClassVar

import matplotlib.pyplot as plt
import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.infer import Predictive

import vsg_ppl as vsg

STEPS = int(os.environ.get("TUTORIAL_STEPS", 1000))  # how long to sample and to learn
pyro.set_rng_seed(0)

# %% [markdown]
# ## Write it
#
# A game is an object with the names of its agents, a `discount` (or a `horizon`), and two Pyro
# programs. `initial` draws the first state. `step` takes a state, lets the agents act, pays them,
# and returns the next state. There is no base class.


# %%
class Hunt(IntEnum):
    STAG = 0
    HARE = 1


FAIR, STORM = 0, 1
EITHER = torch.ones(2)
PAYOFF = torch.tensor([[[4.0, 0.0], [3.0, 2.0]], [[2.0, 0.0], [3.0, 2.0]]])  # [weather, own, other]
SEASON = torch.tensor([[0.8, 0.2], [0.4, 0.6]])  # SEASON[weather today] is the law of tomorrow's


@dataclass(frozen=True)
class StagHunt:
    agents: ClassVar = ("row", "col")
    discount: float = 0.9

    def initial(self):
        return pyro.sample("weather", dist.Categorical(torch.tensor([0.5, 0.5])))

    def step(self, weather):
        row = vsg.act("row", dist.Categorical(EITHER), labels=Hunt)
        col = vsg.act("col", dist.Categorical(EITHER), labels=Hunt)
        vsg.optimality("row", PAYOFF[weather, row, col])
        vsg.optimality("col", PAYOFF[weather, col, row])
        return pyro.sample("weather", dist.Categorical(SEASON[weather]))


game = StagHunt()

# %% [markdown]
# Three things are worth a second look.
#
# * Both agents act before anyone is paid, and neither reads the other's action: they move *at
#   once*. What an agent may see is the state.
# * `PAYOFF[weather, row, col]` indexes a tensor by values that are sampled. That is how a program
#   branches without `if`; the library can then run it for all states and actions at the same time.
# * The dataclass field `discount` is a parameter: `StagHunt(discount=0.5)` is another game.
#
# ## Check it
#
# A game program is an ordinary program, so run it. `agent_model` unrolls it in time, from one
# agent's point of view. With a discount each step but the first is preceded by `alive_t`: with
# probability 1 − γ play ends.

# %%
trace = poutine.trace(vsg.agent_model(game, "row", horizon=3)).get_trace()
print([name for name, site in trace.nodes.items() if site["type"] == "sample"])

# %% [markdown]
# `tabulate` is the stricter check. It runs the step once over all states and all outcomes, and
# finds the state space by exploring from `initial`.

# %%
table = vsg.tabulate(game)
for key, value in table.summary().items():
    print(f"{key:15} {value}")
print("row's reward by weather, own action, other's action:", table.rewards[0][0, 0].tolist())

# %% [markdown]
# A mistake gives one sentence that says where it is and what to try. Here the second hunter peeks
# at what the first one does.


# %%
class Peeking(StagHunt):
    def step(self, weather):
        row = vsg.act("row", dist.Categorical(EITHER), labels=Hunt)
        col = vsg.act("col", dist.Categorical(torch.eye(2)[row]), labels=Hunt)
        vsg.optimality("row", PAYOFF[weather, row, col])
        vsg.optimality("col", PAYOFF[weather, col, row])
        return weather


try:
    vsg.tabulate(Peeking())
except vsg.GameError as error:
    print(error)
else:
    raise AssertionError("this game should be refused")

# %% [markdown]
# What reads what can also be drawn. This is the whole program; `dependency_graph(game, "row")` is
# row's own model, and `figure1(game, "row")` merges it into the variables of the paper's Fig. 1.

# %%
figure, axes = plt.subplots(figsize=(9, 3.6))
vsg.draw_graph(vsg.dependency_graph(game, steps=2), ax=axes)
plt.show()

# %% [markdown]
# ## Solve it
#
# `nash` runs the paper's Algorithm 1 on the table: all agents take natural-gradient steps on their
# own objective at once, and the temperature falls until the Nash gap is at most 0.001.

# %%
solution = vsg.nash(game)
print(solution.status, "-", solution.message)
for weather, name in [(FAIR, "fair"), (STORM, "storm")]:
    chances = {agent: solution.policy(agent, weather) for agent in game.agents}
    print(f"{name:6}", {agent: f"STAG {row['STAG']:.4f}" for agent, row in chances.items()})
assert solution.solved

# %% [markdown]
# They hunt hare, always. That is an equilibrium: against a hare hunter, a stag hunter starves. The
# solver lowered the temperature from high to low, and at a high temperature both play nearly at
# random. Against a random partner hare pays 2.5 and stag 2, so that is where the path leads.
#
# ## Read the certificate
#
# You need not believe the solver. The certificate is computed from the game and the policies
# alone: for every agent, the best deviation by exact dynamic programming.

# %%
certificate = solution.certificate
print(f"{certificate.nash_gap:.2e}  the most that anyone gains by deviating, from the first day")
print(f"{certificate.nash_gap_worst_state:.2e}  the same from the worst state")
print(f"{certificate.bound:.2e}  what Theorem 4.2 promises at this temperature")
print(f"each agent's expected return: {certificate.values}")
assert certificate.nash_gap <= 1e-3

# %% [markdown]
# `nash_gap` is in units of reward, summed over the whole play with the discount: here it stands
# beside returns of about 20. A gap of 0 is a Nash equilibrium. `bound` is what theory promises for
# this temperature, τ log 2 / (1 − γ); the truth is often far better.
#
# A certificate works for any policies, whoever made them. So we can ask: what if both hunt stag in
# fair weather? And what if only one of them does?

# %%
trusting = torch.tensor([[1.0, 0.0], [0.0, 1.0]])  # [weather, action]: STAG when fair, else HARE
wary = torch.tensor([[0.0, 1.0], [0.0, 1.0]])
together = vsg.certify(game, {"row": trusting, "col": trusting})
alone = vsg.certify(game, {"row": trusting, "col": wary})
print(f"both trust: gap {together.nash_gap:.4f}, values {together.values}")
print(f"only row:   gap {alone.nash_gap:.4f}, gains by deviating {alone.per_agent}")
assert together.nash_gap < 1e-9 < alone.nash_gap

# %% [markdown]
# Trust is an equilibrium too, and pays far more. Only one of the two cannot have it alone.
#
# ## Choose an equilibrium
#
# A game may have many equilibria, and where a solver ends depends on where it starts. `initial`
# says where. To stay near the start, start cold: at a high temperature everything melts into the
# same mixture, and the start is forgotten.

# %%
start = {"row": torch.full((2, 2), 0.5), "col": torch.full((2, 2), 0.5)}
for policy in start.values():
    policy[FAIR] = torch.tensor([0.8, 0.2])
trust = vsg.nash(game, initial=start, temperature=0.1)
print(trust.message)
print("STAG when fair:", trust.policy("row", FAIR)["STAG"])
print("values:", trust.certificate.values)
assert trust.solved
assert trust.certificate.values["row"] > solution.certificate.values["row"]

# %% [markdown]
# The paper's fixed point at temperature τ is a *logit equilibrium*: everyone plays the softmax of
# its own Q / τ. Let us follow both equilibria over the temperature, and look at how often they
# hunt stag when it is fair, and at the gap beside its bound. Each run starts where the last one
# ended; the trusting branch is followed upwards, for as long as it exists; where it ends, the run
# falls to the only equilibrium left.

# %%
temperatures = torch.logspace(-1.5, 0.5, 25).tolist()
branches = {"hare": [], "trust": []}
for branch, order in [("hare", temperatures[::-1]), ("trust", temperatures)]:
    policies = None if branch == "hare" else trust.policies
    for temperature in order:
        found = vsg.nash(table, temperature=temperature, initial=policies)
        assert found.solved and found.certificate.within_bound()
        policies = found.policies
        stag = float(policies["row"][FAIR, Hunt.STAG])
        branches[branch].append((temperature, stag, found.certificate.nash_gap))

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
for style, (branch, points) in zip(["C0o-", "C1.-"], branches.items(), strict=True):
    x, stags, gaps = zip(*sorted(points), strict=True)
    left.semilogx(x, stags, style, label=branch, markersize=4)
    right.loglog(x, gaps, style, label=branch, markersize=4)
bounds = [temperature * log(2) / (1 - game.discount) for temperature in temperatures]
right.loglog(temperatures, bounds, "k--", label="bound")
left.set(xlabel="temperature τ", ylabel="π(STAG | fair)", title="two branches, one when warm")
right.set(xlabel="temperature τ", ylabel="Nash gap", title="the gap obeys its bound")
right.set_ylim(1e-6, 100)
for axes in (left, right):
    axes.legend(fontsize=8)
plt.show()

# %% [markdown]
# ## Look at it
#
# `plot` draws the policies and how they were found. `simulate` plays. Returns of many plays
# average to the value in the certificate.

# %%
picture = trust.plot()
picture

# %%
plays = trust.simulate(2 * STEPS, seed=1)
for moment in plays.trajectory(0)[:4]:
    print(moment)
returns = plays.returns()["row"]
error = float(returns.std()) / len(plays) ** 0.5
value = trust.certificate.values["row"]
print(f"mean return {float(returns.mean()):.2f} ± {error:.2f}, value {value:.2f}")
assert abs(float(returns.mean()) - value) < 5 * error + 0.05  # play stops when γ^t < 0.001

# %% [markdown]
# ## Keep it
#
# One safetensors file holds policies, values, certificate and history. Reading it runs no code.

# %%
with tempfile.TemporaryDirectory() as folder:
    path = trust.save(Path(folder) / "trust.safetensors")
    again = vsg.Solution.load(path, game)
assert torch.equal(again.policies["row"], trust.policies["row"])
print(again.message)

# %% [markdown]
# ## Use it in Pyro
#
# `solution.guide(agent)` is the policy as a Pyro program. Put it into a model: here the model of
# row, whose partner is a hunter of the trusting equilibrium. `Predictive` samples days of it.

# %%
partner = trust.guide("col")
model = vsg.agent_model(game, "row", {"col": partner}, temperature=0.5, horizon=1)
days = Predictive(model, num_samples=STEPS)()
fair = days["weather_0"] == FAIR
stags = (days["col_0"][fair] == Hunt.STAG).float()
print(f"the partner hunts stag on {float(stags.mean()):.0%} of {len(stags)} fair days")

# %% [markdown]
# What should row do against this partner? That is inference in the model (tutorial 1): SVI on
# `agent_model` and `agent_guide`. `best_response` sets it up; the closed form says the same.

# %%
exact = vsg.best_response(game, "row", {"col": partner}, temperature=0.5)
climbed = vsg.best_response(
    game, "row", {"col": partner}, temperature=0.5, method="svi", steps=STEPS
)
print("by SVI:     STAG when fair", float(climbed.policy[FAIR, Hunt.STAG]))
print("in closed form:           ", float(exact.policy[FAIR, Hunt.STAG]))
if STEPS >= 1000:
    assert torch.allclose(climbed.policy, exact.policy, atol=1e-3)

# %% [markdown]
# ## Let them learn it
#
# `nash` sees the whole game. In the paper's Algorithm 1 the agents are alone: each knows its own
# reward and how the world moves, plays, watches what the others do, fits its model ρ of them to
# what it saw, and takes a natural-gradient step. Nobody sees another's reward or policy.

# %%
learnt = vsg.nash_decentralised(game, temperature=0.3, iterations=max(50, STEPS // 10), plays=64)
print(learnt.status, "-", learnt.message)
print("STAG when fair:", {a: round(learnt.policy(a, FAIR)["STAG"], 4) for a in game.agents})
central = vsg.nash(game, temperature=0.3)
print("the central solver:", {a: round(central.policy(a, FAIR)["STAG"], 4) for a in game.agents})
assert learnt.certificate.within_bound()

errors = [(entry["iteration"], entry["opponent_error"]) for entry in learnt.history]
gaps = [(entry["iteration"], entry["nash_gap"]) for entry in learnt.history if "nash_gap" in entry]
figure, axes = plt.subplots(figsize=(6, 3.2), layout="constrained")
axes.semilogy(*zip(*gaps, strict=True), "C1o-", markersize=4, label="Nash gap")
axes.semilogy(*zip(*errors, strict=True), "C0", label="KL(π ‖ ρ): how wrong ρ is")
gap = central.certificate.nash_gap
axes.axhline(gap, color="grey", linestyle="--", label="gap of the exact equilibrium")
axes.set(xlabel="iteration")
axes.legend(fontsize=8)
plt.show()

# %% [markdown]
# ## What to remember
#
# * A game is two Pyro programs. `tabulate` checks it; errors say where and what to try.
# * `nash` returns policies with a certificate; `certify` checks anybody's policies.
# * Games have several equilibria. `initial` and the temperature choose.
# * A solution's policies are Pyro programs again.
#
# Your own game goes into a file of its own; `vsg solve FILE.py` solves it from the shell. Next:
# [two factorisations](03_conditional_and_marginal.py), and where the paper's theorem fails.
