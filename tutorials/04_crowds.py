# %% [markdown]
# # 4. Crowds: best responses to a law that everybody makes
#
# With a hundred agents a game has too many joint actions to look at. If all are alike and each
# hardly matters, something simpler will do: one agent amid a *crowd* L_t(s, a), the law of
# everybody's state and action at time t. The agent plays a best response π to the crowd, and the
# crowd is what π makes:
#
# $$L_{t+1}(s', a') = \pi_{t+1}(a' | s') \sum_{s, a} P(s' | s, a, L_t)\, L_t(s, a).$$
#
# A policy for which both hold is a *mean-field equilibrium* (Section 5.2 of the paper). How far a
# policy is from one is its *exploitability*: what one agent gains by its best response while
# everybody else goes on.

# %%
import os
from dataclasses import dataclass
from typing import ClassVar

import matplotlib.pyplot as plt
import pyro
import pyro.distributions as dist
import torch

import vsg_ppl as vsg
from vsg_ppl.models import BeachBar

STEPS = int(os.environ.get("TUTORIAL_STEPS", 1000))  # iterations of the slow methods

# %% [markdown]
# ## A program with a crowd
#
# A mean-field game is a game of one agent, who stands for everybody, whose step takes one argument
# more. `crowd.at(place)` is the share of the crowd in a place, `crowd.at(place, action)` of those
# who also take an action, and `crowd.mean(f)` an average over everybody.
#
# Here people choose between three night clubs, one hour after another. The music is best in the
# last one; a crowd is a nuisance, and so is the way.


# %%
@dataclass(frozen=True)
class Clubs:
    agents: ClassVar = ("guest",)
    horizon: int = 4
    nuisance: float = 3.0

    def initial(self):
        return pyro.sample("first", dist.Categorical(torch.tensor([0.6, 0.3, 0.1]).double()))

    def step(self, club, crowd):
        goal = vsg.act("guest", dist.Categorical(torch.ones(3)), labels=["blue", "red", "gold"])
        vsg.optimality("guest", 0.5 * club.double(), name="music")
        vsg.optimality("guest", -self.nuisance * crowd.at(club), name="nuisance")
        vsg.optimality("guest", -0.1 * (goal - club).abs().double(), name="way")
        found = pyro.sample("found", dist.Bernoulli(torch.tensor(0.9).double()))  # or turn back
        return torch.where(found == 1, goal, club)


game = Clubs()
solution = vsg.mean_field_nash(game)
print(solution.message)
print("crowd by hour:")
for t, law in enumerate(solution.crowd.sum(-1)):
    print("  ", t, [round(share, 3) for share in law.tolist()])
assert solution.certificate.exploitability < 1e-8

# %% [markdown]
# The certificate does not depend on the solver. Hand any policy to it: everybody runs to the gold
# club, say, and finds everybody there.

# %%
rush = torch.zeros(3, 3).double()
rush[:, 2] = 1.0
everywhere = torch.full((3, 3), 1 / 3).double()
for name, policy in (("rush", rush), ("anywhere", everywhere)):
    print(f"{name}: exploitability {vsg.mean_field_certify(game, policy).exploitability:.3f}")
assert vsg.mean_field_certify(game, rush).exploitability > 1.0

# %% [markdown]
# ## Inference amid a crowd
#
# Freeze the crowd, and an ordinary control problem is left: `vsg.facing(game, crowd)` is an
# ordinary game program, so the agent's graphical model, its guide, SVI and everything else of the
# first tutorial apply. At a temperature τ the best response is the softmax of Eq. 12, by SVI too.

# %%
crowd = solution.crowd
inside = vsg.facing(game, crowd)
exact = vsg.best_response(inside, "guest", temperature=0.2)
climbed = vsg.best_response(inside, "guest", temperature=0.2, method="svi", steps=STEPS)
off = (exact.policy - climbed.policy).abs().max()
print(f"SVI is off the softmax by {off:.1e}; its last loss {climbed.losses[-1]:.4f}")
assert climbed.losses[-1] < climbed.losses[0]

# %% [markdown]
# Alternate the two, best response and crowd's flow, and you have **Algorithm 4**. Where the
# temperature is high it contracts. Where it is low everybody runs where nobody was, and back.

# %%
for temperature in (2.0, 0.5, 0.1):
    run = vsg.mean_field_nash(
        game, method="algorithm4", temperature=temperature, max_steps=200, tolerance=1e-10
    )
    newton = vsg.mean_field_nash(game, temperature=temperature, tolerance=1e-12)
    print(
        f"τ = {temperature}: Algorithm 4 {run.status} after {run.iterations} iterations; "
        f"Newton {newton.status}, exploitability {newton.certificate.exploitability:.3f}"
    )
    assert newton.solved

# %% [markdown]
# The soft equilibrium exists at every temperature, and Newton's method finds it; it is the
# iteration that fails. What to do about it? People average the crowds so far (*fictitious play*),
# add up the Q so far (*online mirror descent*), or move the prior of Eq. 12 to the last policy,
# which is **prior descent**: τ then is a step size, and the limit an equilibrium without entropy.

# %%
runs = {
    "fictitious play": vsg.mean_field_nash(
        BeachBar(), method="fictitious_play", max_steps=min(STEPS, 200)
    ),
    "mirror descent": vsg.mean_field_nash(
        BeachBar(), method="mirror_descent", learning_rate=0.3, max_steps=min(STEPS, 200)
    ),
    "prior descent, τ = 2": vsg.mean_field_nash(
        BeachBar(), method="algorithm4", temperature=2.0, move_prior=1, max_steps=min(STEPS, 200)
    ),
    "Newton (the default)": vsg.mean_field_nash(BeachBar()),
}
figure, axis = plt.subplots(figsize=(6, 3.5), layout="constrained")
for name, run in runs.items():
    axis.semilogy([entry["exploitability"] for entry in run.history], ".-", ms=3, label=name)
    print(f"{name}: {run.certificate.exploitability:.1e} after {run.iterations} iterations")
axis.set(xlabel="iteration", ylabel="exploitability", title="BeachBar")
axis.legend(fontsize=8)
plt.show()
assert runs["Newton (the default)"].certificate.exploitability < 1e-8
assert (
    runs["prior descent, τ = 2"].certificate.exploitability
    < runs["fictitious play"].certificate.exploitability
)

# %% [markdown]
# The default solves all times at once: policy, values and crowd are unknowns of one sparse system,
# the crowd's influence is differentiated through the program, and complementarity (an action is
# played only if no other is better) takes the place of the softmax, with a smoothing that goes to
# zero. Where its path folds it tries other starts, and at last lets the agents' horizon grow from
# nothing and follows the equilibrium around all folds.
#
# ## Among real agents
#
# A mean-field equilibrium is exact for infinitely many. Let N real agents play it: each sees the
# *empirical* crowd of all N, and a deviator also moves that crowd a little. The gain is
# `finite_nash_gap`: exact for few agents, by simulation with a confidence interval for many.

# %%
policy = solution.policies["guest"]
gaps = [vsg.finite_nash_gap(game, policy, n, samples=min(STEPS, 500)) for n in (1, 2, 5, 10, 100)]
for gap in gaps:
    how = "exactly" if gap.exact else f"{gap.low:.4f} to {gap.high:.4f}"
    print(f"N = {gap.n}: {gap.gap:.4f} ({how})")
assert gaps[1].gap > gaps[2].gap > gaps[3].gap > gaps[-1].low

# %% [markdown]
# The deviator among few sees where the others are, and makes much of it. Amid a hundred agents, one
# that sees its own place only has next to nothing to gain.
#
# ## What to remember
#
# * A mean-field game is a step that takes `crowd`. `vsg.mean_field_nash` solves it, with
#   certificate; without a temperature to exploitability 1e-8, with one to the soft equilibrium.
# * `vsg.facing(game, crowd)` is the game from the inside: an ordinary Pyro program.
# * Algorithm 4 contracts at high temperatures only. Prior descent, fictitious play and mirror
#   descent go on; Newton's method gets there.
# * `vsg.finite_nash_gap` says for how many agents the answer is any good.
