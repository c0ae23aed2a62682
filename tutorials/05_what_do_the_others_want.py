# %% [markdown]
# # 5. What do the others want?
#
# So far the rewards were known and we asked how to act. Now it is the other way round: we see what
# somebody does, and ask what it wants. Section 5.1.2 of the paper says how. Another agent is taken
# to respond softly, ρ* ∝ u exp(Q_ψ / τ) (Prop. 5.9); ψ is what we do not know of it; and the
# likelihood of what it did is the product of the ρ*_ψ(a | s). With a prior of ψ that is a Pyro
# model like any other. Nothing but `infer_opponent` is new.

# %%
import os
from dataclasses import dataclass
from enum import IntEnum
from math import comb, log
from typing import ClassVar, NamedTuple

import matplotlib.pyplot as plt
import pyro
import pyro.distributions as dist
import torch
from torch.distributions.constraints import positive

import vsg_ppl as vsg
from vsg_ppl.models import AsymmetricPennies

STEPS = int(os.environ.get("TUTORIAL_STEPS", 1000))
DRAWS = min(STEPS, 300)  # from each posterior
pyro.set_rng_seed(0)

# %% [markdown]
# ## A fox whose tastes are unknown
#
# A fox walks over a field of five by five cells. There are hens in the north-east, berries in the
# south-east, and dogs lie between. What are they to the fox? We do not know, and the program says
# so: their worth is a `pyro.sample` in its step, with a prior. Being continuous it is no move of
# chance but an *unknown*: one number for the whole of play, known to the fox and not to us.


# %%
class Move(IntEnum):
    NORTH = 0
    SOUTH = 1
    EAST = 2
    WEST = 3


class Cell(NamedTuple):
    row: torch.Tensor
    column: torch.Tensor


DOWN, RIGHT = torch.tensor([-1, 1, 0, 0]), torch.tensor([0, 0, 1, -1])
ZERO = torch.zeros(()).double()
THERE = {name: torch.zeros(5, 5).double() for name in ("hens", "berries", "dogs")}
THERE["hens"][0, 4] = THERE["berries"][4, 4] = THERE["dogs"][1, 3] = THERE["dogs"][2, 2] = 1.0


@dataclass(frozen=True)
class Field:
    agents: ClassVar = ("fox",)
    discount: float = 0.9

    def initial(self):
        return Cell(torch.tensor(4), torch.tensor(0))

    def step(self, cell):
        worth = {name: pyro.sample(name, dist.Normal(ZERO, 3.0)) for name in THERE}
        move = vsg.act("fox", dist.Categorical(torch.ones(4)), labels=Move)
        row = (cell.row + DOWN[move]).clamp(0, 4)
        column = (cell.column + RIGHT[move]).clamp(0, 4)
        vsg.optimality("fox", sum(worth[name] * THERE[name][row, column] for name in THERE))
        return Cell(row, column)


field = Field()

# %% [markdown]
# `given` fixes the unknowns, which makes an ordinary game, and a fox to watch: it likes hens twice
# as much as berries, and fears dogs. We watch it six times, for twelve steps.

# %%
worth = {"hens": 2.0, "berries": 1.0, "dogs": -3.0}
fox = vsg.nash(vsg.given(field, worth), temperature=1.0)
plays = fox.simulate(6, steps=12, seed=1)
seen = vsg.Observations.of(fox.table, plays)
print(seen)

# %% [markdown]
# Rewards twice as high at twice the temperature make the same fox: play tells r/τ only. So we say
# that τ = 1, and what is inferred is in units of it.

# %%
found = vsg.infer_opponent(field, "fox", plays, temperature=1.0, samples=DRAWS)
print(found.message)
for name, is_worth in worth.items():
    low, high = found.interval(name)
    print(f"{name:8} {is_worth:5.1f}, inferred {low:5.2f} to {high:5.2f}")
assert found.solved and found.interval("hens")[0] > 0 > found.interval("dogs")[1]

# %% [markdown]
# The berries are in a corner where the fox never was: all we learn is that it does not prefer them
# to the hens, and the interval says no more than that.

# %%
picture = found.plot()
picture

# %% [markdown]
# ## Where it never was
#
# Counting says nothing of cells that the fox was not seen in. Wants are the same everywhere, so
# whoever knows them can say what the fox would do there; and how sure that is. Of the cell with the
# berries, say: not sure at all.

# %%
unseen = seen.visits[0] == 0
truth, guess = fox.policies["fox"], found.policy
counted = seen.smoothed("fox", 4.0)[0, 0]
off = {"inferred": guess, "counted": counted}
off = {name: float((p - truth).abs().sum(-1)[unseen].mean() / 2) for name, p in off.items()}
print(f"{int(unseen.sum())} cells never seen; total variation from what the fox would do there:")
print({name: round(value, 3) for name, value in off.items()})
assert off["inferred"] < off["counted"]
place = found.table.states[int(unseen.nonzero()[-1])]
for action, (p, least, most) in found.predict(place).items():
    print(f"{place}: {action:5} {p:.2f} ({least:.2f} to {most:.2f})")

figure, axes = plt.subplots(1, 2, figsize=(7, 3.4), layout="constrained")
for axis, (name, policy) in zip(axes, [("inferred", guess), ("the fox", truth)], strict=True):
    rows, columns = torch.tensor([list(state) for state in found.table.states]).T
    visits = torch.zeros(5, 5).double()
    visits[rows, columns] = seen.visits[0]
    axis.imshow(visits.sqrt().numpy(), cmap="Greens", vmax=6)
    right, down = policy @ RIGHT.double(), policy @ DOWN.double()
    arrows = [x.numpy() for x in (columns, rows, right, down)]
    axis.quiver(*arrows, angles="xy", scale_units="xy", scale=1.6, width=0.012)
    for what, there in THERE.items():
        for row, column in there.nonzero().tolist():
            axis.text(column, row + 0.42, what, ha="center", fontsize=7, color="C3")
    axis.set(title=name, xticks=[], yticks=[])
plt.show()

# %% [markdown]
# ## Other stories
#
# Maybe the fox wants something else; maybe nothing. `compare_hypotheses` weighs stories by their
# evidence p(play), which pays for every unknown that is not needed. The third one gives each cell a
# reward of its own: 25 unknowns, where three do.

# %%
stories = vsg.compare_hypotheses(
    field,
    "fox",
    plays,
    {
        "hens, berries, dogs": {},
        "any cell may be liked": {"reward": "state"},
        "wanders about": {"reward": "random"},
    },
    temperature=1.0,
    samples=DRAWS,
    restarts=0,
)
for name, evidence in stories.log_evidence.items():
    print(f"{name:22} log evidence {evidence:7.1f}, probability {stories.probabilities[name]:.3f}")
assert stories.best == "hens, berries, dogs"

# %% [markdown]
# Mind what was compared: a program that has the hens in it, with one that has not. Had we left out
# the dogs, evidence would have named the best of the wrong stories.
#
# ## People, for money
#
# Goeree and Holt (2001, "Ten little treasures of game theory and ten intuitive contradictions") let
# people play matching pennies once. Row wants to match, column does not. In treatment 1 row's
# payoff for Top-Left is 320 cents and not 80, in treatment 2 it is 44. In a Nash equilibrium this
# changes what *column* does; row goes on playing Top half the time.

# %%
pennies, both = AsymmetricPennies(), ("row", "col")
people = AsymmetricPennies.human_play()
table = vsg.tabulate(pennies)
counts = vsg.Observations.of(table, people).counts
often = {agent: (n / n.sum(-1, keepdim=True))[0, :, 0] for agent, n in counts.items()}
exact = vsg.nash(pennies)


def show(what, row, column):
    line = "  ".join(f"{float(p):.2f} {float(q):.2f}" for p, q in zip(row, column, strict=True))
    print(f"{what:22} {line}")


print("Top and Left in         80         320        44")
show("people", often["row"], often["col"])
show("Nash equilibrium", *(exact.policies[agent][0, :, 0] for agent in both))

# %% [markdown]
# The people of row took the 320 cents, and left the 44. Column, who could expect that, moved where
# Nash says, and almost as far.
#
# ## How rational?
#
# In a *logit equilibrium* everybody responds softly to what everybody does; `others="equilibrium"`.
# Its one unknown is the temperature, in cents. With the prior `Flat` the mode of the posterior is
# the maximum of the likelihood, which gambit's `logit_estimate` finds too, in terms of λ = 1/τ.

# %%


def likeliest(people):
    flat = vsg.Flat(20.0, positive)
    return vsg.infer_opponent(
        pennies, both, people, others="equilibrium", temperature=flat, samples=DRAWS, restarts=0
    )


lambdas = {}
for treatment in (1, 2):
    alone = likeliest([play for play in people if play[0][0] == treatment])
    lambdas[treatment] = 1 / alone.temperatures["row"]
    print(f"treatment {treatment}: temperature {alone.temperatures['row']:.2f} cents, ", end="")
    print(f"λ = {lambdas[treatment]:.5f}")

try:
    import pygambit
except ImportError:
    print("gambit is not installed")
else:
    for treatment, expected in lambdas.items():
        payoffs = [r[0, 0, treatment].expand(2, 2).numpy() for r in table.rewards]
        two = pygambit.Game.from_arrays(*payoffs)
        profile = two.mixed_strategy_profile()
        for player, agent in zip(two.players, both, strict=True):
            for strategy, n in zip(
                player.strategies, counts[agent][0, treatment].tolist(), strict=True
            ):
                profile[strategy] = n
        fitted = pygambit.qre.logit_estimate(profile)
        print(f"gambit, treatment {treatment}: λ = {fitted.lam:.5f}")
        assert abs(fitted.lam / expected - 1) < 0.02

together = likeliest(people)
low, high = together.interval("temperature")
print(f"all treatments: {together.temperatures['row']:.1f} cents, {low:.1f} to {high:.1f}")
show("logit equilibrium", *(together.policies[agent][0, :, 0] for agent in both))
assert together.solved

# %% [markdown]
# Treatment 0 alone would say nothing: the soft equilibrium is one half at every temperature. The
# other two disagree with each other, and together they fall short of what people did: noise alone
# is not the story.
#
# ## Tastes, or thinking
#
# Goeree, Holt and Palfrey (2003) put such choices down to risk aversion; Lien, Zhang and Zheng
# (2014) to altruism or spite; others to people who do not think to the end. Each is a model here.
# `AsymmetricPennies` has a method `tastes`; sample in it, and there is an unknown.


# %%
class RiskAverse(AsymmetricPennies):
    def tastes(self):
        return pyro.sample("risk_aversion", dist.Uniform(ZERO, ZERO + 1)), 0.0


class Altruist(AsymmetricPennies):
    def tastes(self):
        return 0.0, pyro.sample("altruism", dist.Normal(ZERO, 0.5))


games = {"money": pennies, "risk aversion": RiskAverse(), "altruism": Altruist()}
ways = {"equilibrium": "equilibrium", "1 step": 0, "2 steps": 1, "3 steps": 2}
prior = dist.LogNormal(torch.tensor(20.0).double().log(), torch.tensor(1.0).double())
results = {
    (taste, way): vsg.infer_opponent(
        game,
        both,
        people,
        reward="program",
        others=others,
        temperature=prior,
        samples=DRAWS,
        restarts=0,
    )
    for taste, game in games.items()
    for way, others in ways.items()
}
print("log evidence   ", "".join(f"{way:>12}" for way in ways))
for taste in games:
    row = [results[taste, way].log_evidence for way in ways]
    print(f"{taste:15}", "".join(f"{evidence:12.1f}" for evidence in row))
assert all(result.solved for result in results.values())

# %% [markdown]
# Who thinks one step takes the others to choose at random; who thinks two, that they think one.
#
# How good are these numbers? Two rulers. Who chooses at random has log evidence −150 log 2. And one
# may leave theory alone, and give each of the six frequencies a uniform prior of its own.

# %%
random = -150 * log(2)
six = -sum(log(26 * comb(25, int(n[0]))) for agent in both for n in counts[agent][0])
print(f"at random {random:.1f}, six frequencies of their own {six:.1f}")
for taste, site in (("risk aversion", "risk_aversion"), ("altruism", "altruism")):
    for way in ("equilibrium", "2 steps"):
        low, high = results[taste, way].interval(site)
        print(f"{taste} if people play by {way}: {low:.2f} to {high:.2f}")

taste, way = max(results, key=lambda key: results[key].log_evidence)
best = results[taste, way]
show("people", often["row"], often["col"])
show(f"{taste}, {way}", *(best.policies[agent][0, :, 0] for agent in both))
assert (taste, way) == ("risk aversion", "2 steps") and best.log_evidence > six > random

# %%
picture = best.plot()
picture

# %% [markdown]
# What do the data say?
#
# * That people choose by their payoffs and not at random they say loudly.
# * Money and equilibrium alone do no better than six frequencies without any theory. Two steps of
#   thinking do better, by a factor of about ten; with risk aversion it is about a hundred. That is
#   evidence, and not proof: another prior moves such factors.
# * How averse to risk, they hardly say: the interval covers two thirds of all there is, and if
#   people are in equilibrium it lies elsewhere. An unknown is an unknown *of a model*.
# * Altruism may be zero if people think two steps, and is clearly positive if they are in
#   equilibrium. The same choices; what they tell of people's hearts depends on what we think of
#   their heads.
# * Everybody here has the same tastes and the same temperature. With 25 people in each place and
#   one choice of each, more could not be asked.
#
# ## What to remember
#
# * A `pyro.sample` of a continuous law in a step is an unknown. `given` fixes it, `infer_opponent`
#   infers it, whoever the others are: seen, known, in equilibrium, or thinkers of k steps.
# * The result has intervals, predicts where nobody was, and plots itself. Its `guide()` is an
#   opponent model for `agent_guide`.
# * `Flat` is for maximum likelihood. Evidence is for comparing stories, and needs honest priors.
