# %% [markdown]
# # 6. Signals: what a light can do
#
# Two drivers come to a crossing. Whoever goes first wins a little, and if both go they crash. A
# traffic light forces nobody. Yet where it hangs people obey it, because the others do.
#
# Section 5.3 of the paper puts such a light into the game: a *public signal* ω, drawn by a law σ,
# seen by all. This tutorial
#
# 1. writes a light into a program, and looks at its graph (Fig. 3),
# 2. solves the game with the light in its state, and sees that a light may be ignored,
# 3. lets `vsg.correlated` choose what a light says, and how often,
# 4. reads the certificate: what is gained by disobeying,
# 5. draws what a public light can reach in chicken, and what a private mediator could,
# 6. hangs a light over a crossing that is used day after day, and watches people obey,
# 7. says in Pyro's terms why they do, and ends with two sentences of the paper that need a repair.

# %%
import os
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

import matplotlib.pyplot as plt
import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from scipy.spatial import ConvexHull

import vsg_ppl as vsg
from vsg_ppl.models import BattleOfTheSexes, Chicken, matrix_game

STEPS = int(os.environ.get("TUTORIAL_STEPS", 1000))  # of SVI
pyro.set_rng_seed(0)

# %% [markdown]
# ## A light, written out
#
# Chicken is the crossing at its barest. `PAYOFF[own, other]`: 6 each if both swerve, 7 for daring
# against 2 for swerving, and 0 each for a crash. The light is one line: `vsg.signal` draws a value
# that everybody sees before acting. No payoff reads it.


# %%
class Nerve(IntEnum):
    SWERVE = 0
    DARE = 1


EITHER = torch.ones(2).double()
PAYOFF = torch.tensor([[6, 2], [7, 0]]).double()


@dataclass(frozen=True)
class LitChicken:
    agents: ClassVar = ("row", "col")
    horizon: int = 1
    row_first: float = 0.5  # how often the light is green for row

    def initial(self):
        return torch.tensor(0)

    def step(self, state):
        vsg.signal("light", dist.Categorical(torch.tensor([self.row_first, 1 - self.row_first])))
        row = vsg.act("row", dist.Categorical(EITHER), labels=Nerve)
        col = vsg.act("col", dist.Categorical(EITHER), labels=Nerve)
        vsg.optimality("row", PAYOFF[row, col])
        vsg.optimality("col", PAYOFF[col, row])
        return state


game = LitChicken()

# %% [markdown]
# Its graph, for two rounds, is Fig. 3 of the paper. The signal ω points at both actions and at
# nothing else. (The arrow from a^{-i} to a^i is the paper's conditional policy. Tutorial 3 says why
# we do without it.)

# %%
graph = vsg.figure1(LitChicken(horizon=2), "row", conditional=True)
figure, axes = plt.subplots(figsize=(6, 3.4), layout="constrained")
vsg.draw_graph(graph, ax=axes)
plt.show()
print("ω_0 is read by:", *graph.successors("ω_0"))
assert set(graph.successors("ω_0")) == {"a^i_0", "a^-i_0"}

# %% [markdown]
# ## The augmented state
#
# What all see is a part of the state. So the table has a state for each value of the light, and a
# policy says what to do at each. It is an ordinary game now. Solve it.

# %%
table = vsg.tabulate(game)
print("states:", list(table.states))


def show(policies, name):
    for agent, policy in policies.items():
        dare = policy.reshape(-1, 2)[:, Nerve.DARE].tolist()
        print(f"{name:8} {agent}: P(DARE) {dare[0]:.3f} at light 0, {dare[1]:.3f} at light 1")


ignoring = vsg.nash(game)
show(ignoring.policies, "ignored")
print("values:", {agent: round(v, 3) for agent, v in ignoring.certificate.values.items()})
assert ignoring.solved

# %% [markdown]
# Nobody looks at the light, and rightly so: if you ignore it, I have no reason to look. Starting
# from even play, the solver has no reason to prefer one colour. But if you stop at red, I go at
# green. Start there.

# %%
start = {
    "row": torch.tensor([[0.1, 0.9], [0.9, 0.1]]),  # DARE at light 0
    "col": torch.tensor([[0.9, 0.1], [0.1, 0.9]]),  # DARE at light 1
}
obeying = vsg.nash(game, initial=start, temperature=0.1)
show(obeying.policies, "obeyed")
print("values:", {agent: round(v, 3) for agent, v in obeying.certificate.values.items()})
print(f"gap {obeying.certificate.nash_gap:.1e}")
assert obeying.solved and obeying.certificate.nash_gap < 1e-3
assert obeying.policies["row"][0, 0, Nerve.DARE] > 0.99 > 0.01 > obeying.policies["row"][0, 1, 1]

# %% [markdown]
# Both are Nash equilibria of the same augmented game. At each value of the light its players play
# *some* equilibrium of chicken; the light says which. That is all that a public signal does.
#
# ## Which equilibrium for which colour?
#
# `vsg.correlated` does not search by steps. It lists all equilibria of the game in each state, and
# gives each value of the signal the one that an objective likes best: `"welfare"`, the sum of the
# values; `"fairness"`, the least of them; or an agent's name, what that agent gets.
#
# In the battle of the sexes two people want to meet, row at the ballet and column at the fight. We
# hang up a sign, and ask for fairness. The law σ of the sign is *given* by the program.


# %%
@dataclass(frozen=True)
class SignedBattle(BattleOfTheSexes):
    first: float = 0.5  # how often the sign shows its first value

    def step(self, state):
        vsg.signal("sign", dist.Categorical(torch.tensor([self.first, 1 - self.first])))
        return super().step(state)


for first in (0.5, 0.8):
    given = vsg.correlated(SignedBattle(first=first), objective="fairness")
    values = sorted(round(value, 3) for value in given.certificate.values.values())
    print(f"σ = ({first}, {1 - first:.1f}): values {values}")
    assert given.solved
assert abs(values[0] - 1.2) < 1e-6

# %% [markdown]
# Each value of the sign stands for one of the two meetings. Half and half is fair. With four to one
# somebody has to be the one who mostly gives way, and gets 1.2.
#
# Leave the law open, and σ is *learned*: `signals=2` adds a signal to a game that has none, and
# chooses its law too. Three objectives, two games:

# %%
for plain in (BattleOfTheSexes(), Chicken()):
    print(type(plain).__name__)
    for objective in ("welfare", "fairness", "row"):
        learned = vsg.correlated(plain, signals=2, objective=objective)
        values = [round(value, 3) for value in learned.certificate.values.values()]
        law = [round(chance, 3) for chance in learned.joint.flatten().tolist()]
        print(f"   {objective:8} values {values}, played {law}")
        assert learned.solved

# %% [markdown]
# The joint law of what is played has the cells (0, 0), (0, 1), (1, 0), (1, 1). In the battle a fair
# coin over the two meetings has the largest sum and is fair too. If row decides, they always go to
# the ballet.
#
# In chicken something happens that one might not expect: for welfare and for fairness the light is
# *off*. At both values of the signal they play the mixed equilibrium, which pays 4.667 each; a
# light that is obeyed pays 2 and 7 in turn, 4.5 on average. Watching a light is no good in itself.
# It is good where the equilibrium without one is bad.
#
# A learned law need not be even. Let row be fonder of the ballet than column is of the fight.

# %%
fonder = matrix_game([[4, 0], [0, 1]], [[1, 0], [0, 2]], name="FonderOfBallet")
learned = vsg.correlated(fonder, signals=2, objective="fairness")
print("played:", [round(chance, 3) for chance in learned.joint.flatten().tolist()])
print("σ:", learned.signal.flatten().tolist(), "values:", learned.certificate.values)
assert abs(learned.joint[0, 0, 0, 0] - 0.25) < 1e-6

# %% [markdown]
# They go to the ballet one evening in four, and get 1.75 each.
#
# And if the law is given? Here is the least value by that law, in both games from above.

# %%
chances = torch.linspace(0, 1, 21).tolist()


def fairest(program):
    return min(vsg.correlated(program, objective="fairness").certificate.values.values())


figure, axes = plt.subplots(1, 2, figsize=(8.5, 3), layout="constrained")
battle = [fairest(SignedBattle(first=chance)) for chance in chances]
axes[0].plot(chances, battle, "C0.-", label="the best use of the sign")
axes[0].axhline(2 / 3, color="grey", linestyle=":", label="mixed equilibrium")
lit, obeyed = [], []
strict = {"row": torch.eye(2).flip(0), "col": torch.eye(2)}  # [light, action]
for chance in chances:
    program = LitChicken(row_first=chance)
    lit.append(fairest(program))
    obeyed.append(min(vsg.certify(program, strict).values.values()))
axes[1].plot(chances, lit, "C0.-", label="the best use of the light: none")
axes[1].plot(chances, obeyed, "C3.-", label="the light is obeyed")
for ax, title in zip(axes, ("battle of the sexes", "chicken"), strict=True):
    ax.set(title=title, xlabel="σ(first value)", ylabel="the least value")
    ax.legend(fontsize=8, loc="center" if title == "battle of the sexes" else "lower center")
plt.show()
print(f"the fairest sign: {max(battle):.3f}; obeyed light, best law: {max(obeyed):.3f}")
assert max(battle) == battle[10] and max(obeyed) < min(lit)

# %% [markdown]
# ## What a solution of this kind holds
#
# `signal` is σ by state. `policies` answer state and signal. `joint` is what an onlooker sees who
# knows nothing of the signal: Σ_ω σ(ω) Π_i π^i(· | ω). It is *not* the product of what each agent
# does by itself. That is the whole point of a signal, and the place where Table 1 of the paper goes
# wrong: it averages each agent's policy over ω, one by one.

# %%
coin = vsg.correlated(BattleOfTheSexes(), signals=2)
print("σ:", coin.signal[0, 0].tolist())
print("states:", list(coin.table.states))
for agent, policy in coin.policies.items():
    print(f"{agent}: π(ballet) {policy[0, :, 0].tolist()}")
print("joint:", coin.joint[0, 0].tolist())

apart = {agent: (coin.signal[0, 0] @ policy[0])[None] for agent, policy in coin.policies.items()}
print("each averaged for itself:", {agent: p[0].tolist() for agent, p in apart.items()})
product = vsg.certify(BattleOfTheSexes(), apart)
print(f"values {product.values}, gap {product.nash_gap}")
assert coin.certificate.correlated_gap < 1e-9 < 0.1 < product.nash_gap

# %% [markdown]
# Averaged one by one, both toss a coin of their own and meet half of the time. The value falls from
# 1.5 to 0.75 each, and everybody would rather go to the favourite place.
#
# ## The certificate, slowly
#
# `vsg.correlated_certify(game, law)` takes any joint law, whoever made it, and asks what an agent
# gains by disobeying. There are two ways to disobey.
#
# * By a *swap*: "when I am told to swerve, I dare." The agent hears what it is told, then decides.
#   If no swap gains, the law is a *correlated equilibrium*, and `correlated_gap` is 0.
# * By an *external* deviation: "I dare, whatever I am told." The agent decides before it hears. If
#   none gains, the law is a *coarse* correlated equilibrium. `coarse_gap` is never larger.
#
# Take a bad light for chicken: it tells both to swerve, or both to dare, with a half each.

# %%
swerve_or_crash = torch.tensor([[[0.5, 0.0], [0.0, 0.5]]])  # [state, row's action, column's]
bad = vsg.correlated_certify(Chicken(), swerve_or_crash)
print(f"values {bad.values}")
print(f"by swaps {bad.correlated_gap}, by external deviations {bad.coarse_gap}")
assert (bad.correlated_gap, bad.coarse_gap) == (1.5, 1.0)

# %% [markdown]
# Check it by hand. Told to swerve, the other swerves too: daring pays 7 for 6. Told to dare, the
# other dares: swerving pays 2 for 0. Half of the time each, swaps gain ½ · 1 + ½ · 2 = 1.5. Who has
# to decide beforehand does best to swerve always, and gains only the ½ · 2 = 1.
#
# With a signal in the program a law is one for each state *and* value of the light, and
# `per_signal` says where the trouble is. This light is good at value 0, and broken at 1, where it
# is green for both.

# %%
broken = torch.zeros(2, 2, 2)  # [light, row's action, column's]
broken[0, Nerve.DARE, Nerve.SWERVE] = 1
broken[1, Nerve.DARE, Nerve.DARE] = 1
certificate = vsg.correlated_certify(LitChicken(), broken)
print("by swaps, where the light is:", certificate.per_signal)
print(f"on average: {certificate.correlated_gap}")
assert certificate.per_signal == {"light=0": 0.0, "light=1": 2.0}

# %% [markdown]
# ## What can be reached?
#
# A public light mixes Nash equilibria. So the payoffs that it can reach are the *convex hull* of
# the Nash payoffs. Aumann (1974, 1987) had a better idea for chicken: a mediator draws one of the
# three cells without a crash, and tells each driver *its own* action only. Told to swerve, you do
# not know whether the other dares.

# %%
aumann = vsg.correlated_certify(Chicken(), torch.tensor([[[1 / 3, 1 / 3], [1 / 3, 0.0]]]))
best = vsg.mediated(Chicken())
public = vsg.correlated(Chicken(), signals=3)
print(f"by a public signal:   {public.certificate.welfare:.4f} together")
print(f"Aumann's mediator:    {aumann.welfare:.4f}, gap {aumann.correlated_gap:.0e}")
law = best.joint[0].round(decimals=4).tolist()
print(f"the best mediator:    {best.certificate.welfare:.4f}, by {law}")
assert aumann.correlated_gap < 1e-6 and abs(aumann.welfare - 10) < 1e-6
assert abs(best.certificate.welfare - 10.5) < 1e-6
assert abs(public.certificate.welfare - 28 / 3) < 1e-6

# %% [markdown]
# `vsg.mediated` solves a linear program: of all laws that no swap breaks, the one with the largest
# objective. To see *all* payoffs that a mediator can reach, we ask for the best in many directions.
# The objective may be an agent's value, so we add an agent who has nothing to choose, and pay it in
# the direction in which we look. The others do not notice.


# %%
def farthest(angle):
    """The payoffs of the correlated equilibrium that is farthest in a direction."""
    row, col = PAYOFF, PAYOFF.T
    along = torch.cos(angle) * row + torch.sin(angle) * col
    rewards = torch.stack([row, col, along])[:, None, :, :, None]
    asked = vsg.from_arrays(rewards, agents=("row", "col", "compass"))
    values = vsg.mediated(asked, "compass").certificate.values
    return values["row"], values["col"]


def outline(points):
    points = torch.tensor(points).numpy()
    return points[ConvexHull(points).vertices]


cells = [(float(PAYOFF[a, b]), float(PAYOFF[b, a])) for a in range(2) for b in range(2)]
nash = [
    tuple(vsg.correlated(Chicken(), signals=1, objective=aim).certificate.values.values())
    for aim in ("row", "col", "fairness")
]
angles = torch.arange(0, 2 * torch.pi, 2 * torch.pi / 48).double()
mediated = [farthest(angle) for angle in angles]
figure, axes = plt.subplots(figsize=(6.6, 4.2), layout="constrained")
for points, style, label in (
    (cells, dict(color="0.93"), "anything"),
    (mediated, dict(color="C1", alpha=0.45), "a private mediator"),
    (nash, dict(color="C0", alpha=0.75), "a public signal"),
):
    axes.fill(*outline(points).T, label=label, linewidth=0, **style)
axes.plot(*zip(*nash, strict=True), "ko", label="Nash equilibria")
axes.plot(*aumann.values.values(), "C3s", label="Aumann: 5 and 5")
axes.plot(*best.certificate.values.values(), "C3*", markersize=12, label="the best: 5.25 and 5.25")
axes.set(xlabel="row's payoff", ylabel="column's payoff", title="chicken", aspect="equal")
axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
plt.show()
corners = sorted({(round(x, 3), round(y, 3)) for x, y in mediated})
print("corners of what a mediator can reach:", corners)
area = {
    name: ConvexHull(points).volume for name, points in (("light", nash), ("mediator", mediated))
}
print(f"a mediator reaches {area['mediator'] / area['light']:.1f} times as much as a light")
assert len(corners) == 4 and area["mediator"] > area["light"]

# %% [markdown]
# A signal with a single value, `signals=1`, has nothing to say; it gives the one equilibrium that
# an objective likes best, and so the three black dots. The blue sliver is all that §5.3 can reach.
# The orange one is all that anybody can who cannot force people. Not all of it is good: at its
# lower corner both get 3.6, less than by any light that treats both alike.
#
# A mediator is no public signal, so what it does is no `Solution` with policies: `vsg.mediated`
# returns a law, `joint`, and its certificate.
#
# ## A crossing, day after day
#
# Now a stochastic game. The road is FREE or there is a JAM. On a free road a car that goes alone
# gains 1, one that waits gains nothing, and two that go lose 2 each and make a jam. A jam goes on
# with probability 0.7; pushing costs 0.2 and does not help.


# %%
class Drive(IntEnum):
    WAIT = 0
    GO = 1


FREE, JAM = 0, 1
GAIN = torch.tensor([[[0.0, 0.0], [1.0, -2.0]], [[0.0, 0.0], [-0.2, -0.2]]]).double()
JAMS = torch.tensor([[[0.0, 0.0], [0.0, 1.0]], [[0.7, 0.7], [0.7, 0.7]]]).double()


@dataclass(frozen=True)
class Crossing:
    agents: ClassVar = ("row", "col")
    discount: float = 0.9

    def initial(self):
        return torch.tensor(FREE)

    def step(self, road):
        row = vsg.act("row", dist.Categorical(EITHER), labels=Drive)
        col = vsg.act("col", dist.Categorical(EITHER), labels=Drive)
        vsg.optimality("row", GAIN[road, row, col])
        vsg.optimality("col", GAIN[road, col, row])
        return pyro.sample("jam", dist.Bernoulli(JAMS[road, row, col])).long()


@dataclass(frozen=True)
class CrossingWithLight(Crossing):
    def step(self, road):
        vsg.signal("light", dist.Categorical(EITHER / 2))
        return super().step(road)


dark = vsg.exact_nash(Crossing())
print("no light:", dark.message)
go = {agent: round(dark.policy(agent, FREE)["GO"], 3) for agent in dark.policies}
print("   P(GO when free):", go)
print("   values:", {agent: round(value, 3) for agent, value in dark.certificate.values.items()})
solution = vsg.correlated(CrossingWithLight(), objective="fairness")
print("a light:", solution.message)
for s, state in enumerate(solution.table.states):
    chances = {agent: round(solution.policies[agent][s, Drive.GO].item(), 3) for agent in go}
    print(f"   {state}: P(GO) {chances}")
print("   values:", {agent: round(v, 3) for agent, v in solution.certificate.values.items()})
assert dark.solved and solution.solved
assert abs(dark.certificate.values["row"]) < 1e-3
assert solution.certificate.correlated_gap_worst_state < 1e-9
assert min(solution.certificate.values.values()) > 4.99

# %% [markdown]
# Without a light the equilibrium that treats both alike is dismal: each goes so often that going is
# worth no more than waiting, which is worth 0. With the light each gets 5: on average ½ a day, for
# ever, at a discount of 0.9.
#
# The certificate covers a driver who plans ahead. Its deviations may swap at every step and reckon
# with the jam; none gains, from any state.
#
# ## Simulated
#
# Forty days of either, from the same seed.

# %%
days = 40
plays = {
    "no light": dark.simulate(500, steps=days, seed=3),
    "a light": solution.simulate(500, steps=days, seed=3),
}


def moments(name):
    """Who goes, and whether the road is jammed, in all plays: (n, T) each."""
    found = plays[name]
    road = found.states if name == "no light" else found.states // 2
    return found.actions["row"] == 1, found.actions["col"] == 1, road == JAM


figure, axes = plt.subplots(2, 1, figsize=(9, 3.4), layout="constrained", sharex=True)
for ax, name in zip(axes, plays, strict=True):
    rows, cols, jams = (x[0] for x in moments(name))
    t = torch.arange(days)
    if name == "a light":
        for light, colour in ((0, "C0"), (1, "C1")):
            shown = t[plays[name].states[0] % 2 == light]
            ax.bar(shown, 2.4, 1.0, -0.7, color=colour, alpha=0.2, linewidth=0)
    ax.bar(t[jams], 2.4, 1.0, -0.7, color="0.8", linewidth=0)
    ax.plot(t[rows & ~jams], 0 * t[rows & ~jams] + 1, "C0>", markersize=7)
    ax.plot(t[cols & ~jams], 0 * t[cols & ~jams], "C1^", markersize=7)
    crash = t[rows & cols & ~jams]
    ax.plot(crash, 0 * crash + 0.5, "C3X", markersize=9)
    ax.set(yticks=[0, 1], yticklabels=["col goes", "row goes"], ylim=(-0.7, 1.7), title=name)
    ax.set_xlim(-0.7, days - 0.3)
axes[1].set_xlabel("day; grey: a jam; red: a crash; shade: whose turn the light says")
plt.show()

for name in plays:
    rows, cols, jams = moments(name)
    crashes = (rows & cols & ~jams).double().sum(1).mean()
    print(f"{name:8}: {crashes:.2f} crashes in {days} days, jammed {jams.double().mean():.0%}")
lights = plays["a light"].states % 2
rows, cols, jams = moments("a light")
first = bool(solution.policies["row"][0, Drive.GO] > 0.5)  # whether light 0 is row's
print("the light is obeyed:", bool((rows == (lights == (0 if first else 1))).all()))
assert not jams.any() and bool((rows == ~cols).all())
assert bool((rows == (lights == (0 if first else 1))).all())

# %% [markdown]
# Five hundred plays of forty days, and nobody ever disobeys.
#
# ## Why obey? In Pyro's terms
#
# `solution.game` is a program again, with the light and its law. So `agent_model` makes row's model
# of it, in which column follows the light. The light is a sample site like any other.

# %%
game = solution.game
col = solution.guide("col")
trace = poutine.trace(vsg.agent_model(game, "row", {"col": col}, horizon=2)).get_trace()
print([name for name, site in trace.nodes.items() if site["type"] == "sample"])
assert "light_0" in trace.nodes

# %% [markdown]
# Row's guide is what row does. The ELBO of model and guide (Eq. 3, in the game with the light) says
# how good that is; `MarkovELBO` has it exactly. Four ways to use a light: obey it, do the
# opposite, always go, always wait. All of them are sure of what they do, so all pay the same
# divergence from row's prior, and τ times a difference of ELBOs is a difference of returns.

# %%
temperature = 0.5
model = vsg.agent_model(game, "row", {"col": col}, temperature=temperature)
measure = vsg.MarkovELBO()
obey = solution.policies["row"]
ways = {"obey": obey, "the opposite": obey.clone(), "always go": obey.clone(), "wait": obey.clone()}
ways["the opposite"][:2] = obey[:2].flip(1)  # the first two states are the free road
ways["always go"][:2] = torch.tensor([0.0, 1.0])
ways["wait"][:2] = torch.tensor([1.0, 0.0])
elbos, returns = {}, {}
for name, policy in ways.items():
    guide = vsg.agent_guide(game, "row", policy, {"col": col})
    elbos[name] = float(measure.elbo(model, guide))
    returns[name] = vsg.certify(game, {"row": policy, "col": col}).values["row"]
    lost = temperature * (elbos["obey"] - elbos[name])
    print(f"{name:13} ELBO {elbos[name]:8.3f}   τ · loss {lost:7.3f}   return {returns[name]:8.3f}")
    assert abs(lost - (returns["obey"] - returns[name])) < 1e-6
assert max(elbos, key=elbos.get) == "obey"

# %% [markdown]
# Obeying is best. Nobody is punished for disobeying, except by the one car that goes when it may.
#
# These were four ways of many. Let SVI look among all of row's policies, from even play.

# %%
climbed = vsg.best_response(
    game, "row", {"col": col}, temperature=temperature, method="svi", steps=STEPS
)
exact = vsg.best_response(game, "row", {"col": col}, temperature=temperature)
for s in range(2):
    found = (float(climbed.policy[s, Drive.GO]), float(exact.policy[s, Drive.GO]))
    own = float(obey[s, Drive.GO])
    print(f"light {s}: GO by SVI {found[0]:.3f}, exactly {found[1]:.3f}, told {own:.0f}")
    assert (found[1] > 0.5) == (own > 0.5)
print(f"ELBO {climbed.elbo:.3f} and {exact.elbo:.3f}; of obeying {elbos['obey']:.3f}")
assert exact.elbo >= climbed.elbo - 1e-6 and exact.elbo > elbos["obey"]

# %% [markdown]
# At τ = 0.5 the best guide follows the light most of the time; it is paid for entropy too. Cool it,
# and it obeys.

# %%
for temperature in (0.5, 0.2, 0.05):
    cooled = vsg.best_response(game, "row", {"col": col}, temperature=temperature).policy
    off = float((cooled[:2] - obey[:2]).abs().max())
    print(f"τ = {temperature}: disobeys with probability {off:.1e} at most")
assert off < 1e-4

# %% [markdown]
# ## Two sentences that need a repair
#
# The paper promises "inference for correlated equilibrium" by this construction. What it gives is
# sound: every public lottery over Nash equilibria is a correlated equilibrium, and the dynamics of
# the augmented state are right. But
#
# * it reaches *mixtures of Nash equilibria alone*. You saw the picture: in chicken 28/3 together,
#   and 10.5 with private signals. `vsg.mediated` closes the difference in games of one step;
# * Table 1 prints the correlated policy as Σ_ω π(a^i | s, a^{-i}, ω) σ(ω), for one agent alone. If
#   everybody plays its own average, the signal is lost: in the battle a gap of 0.25 where there was
#   none. The average is to be taken of *joint* play, and that is `solution.joint`.
#
# `docs/audit.md` has both, with counts over a thousand games each. Tutorial 7 shows how such counts
# are made.
#
# ## What to remember
#
# * `vsg.signal(name, law)` in a step draws something that all see before they act. It becomes a
#   part of the state: every solver knows what to do with it.
# * Obeying a light is an equilibrium, and so is ignoring it. `vsg.correlated` chooses: which
#   equilibrium for which value, and, with `signals=`, how often.
# * `vsg.correlated_certify` judges any joint law: swaps, external deviations, signal by signal.
# * `vsg.mediated` says how much more a mediator could do who speaks to each alone.
#
# Next: [the audit](07_the_audit.py), or how one checks a paper a thousand games at a time.
