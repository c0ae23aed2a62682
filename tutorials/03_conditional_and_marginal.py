# %% [markdown]
# # 3. Two factorisations, and a theorem that holds for one of them
#
# The paper writes an agent's policy in two ways. In Eq. 5 and Eq. 8 it is the *marginal* policy
# π(a^i | s). In Fig. 1, Table 1, Prop. 5.2 and both algorithms it is the *conditional* policy
# π(a^i | s, a^{-i}): the agent has a model ρ(a^{-i} | s) of the others, imagines what they do, and
# answers that.
#
# Theorem 4.2 says that joint maximisers of the ELBO are ε-Nash equilibria. This tutorial shows, in
# games of one step, that it holds for marginal policies and fails for conditional ones, and why.
#
# | | marginal | conditional |
# |---|---|---|
# | policy | π(own given s) | π(own given s, others) |
# | best response (Prop. 5.2) | softmax of the mean of Q over the others, / τ | softmax of Q / τ |
# | what is executed | the policy | its average over ρ |
# | the fixed point | logit equilibrium | see below |

# %%
import os
from math import log

import matplotlib.pyplot as plt
import torch

import vsg_ppl as vsg
from vsg_ppl.models import BattleOfTheSexes, Hedge, MatchingPennies, PrisonersDilemma

STEPS = int(os.environ.get("TUTORIAL_STEPS", 1000))  # the pictures have STEPS / 40 points

# %% [markdown]
# ## A game with a way out
#
# `Hedge` is matching pennies with a way out. The row agent guesses the column agent's coin for ±1,
# or hedges and gets 0.5 for sure. In every equilibrium it hedges: a guess is a gamble, worth 0
# against a fair coin.

# %%
game = Hedge()
table = vsg.tabulate(game)
names = [actions.names() for actions in table.actions]
print("row's payoff:", dict(zip(names[0], table.rewards[0][0, 0, 0].tolist(), strict=True)))
print("col's payoff:", dict(zip(names[0], table.rewards[1][0, 0, 0].tolist(), strict=True)))

# %% [markdown]
# We solve it with both factorisations at the same temperature. The policies printed are those that
# are *executed*. Act simultaneously, and there is nothing to condition on: all that a conditional
# agent can do is draw a guess of the other's action from ρ and answer the guess. What comes out is
# the average, Σ ρ(a^{-i} | s) π(a^i | s, a^{-i}), and in equilibrium ρ is what the other executes.

# %%
solutions = {}
for factorisation in ("marginal", "conditional"):
    solution = vsg.nash(game, temperature=0.1, factorisation=factorisation)
    solutions[factorisation] = solution
    print(f"{factorisation}: {solution.status}")
    for agent in game.agents:
        print("   ", agent, {k: round(p, 3) for k, p in solution.policy(agent, 0).items()})
    certificate = solution.certificate
    print(f"    Nash gap {certificate.nash_gap:.3f}, bound of Theorem 4.2 {certificate.bound:.3f}")
assert solutions["marginal"].certificate.within_bound()
assert not solutions["conditional"].certificate.within_bound()

# %% [markdown]
# The marginal agent hedges; its gap obeys the bound. The conditional agent hardly ever hedges. Its
# gap is more than four times the bound, and it does not vanish as the temperature falls.
#
# ## Why
#
# Look at the answers. To each coin that the row agent imagines there is a right guess, worth 1, so
# hedging (0.5) is never the answer. The agent believes that it can always guess right.

# %%
answers = solutions["conditional"].answers["row"][0, 0]  # [row's action, col's action]
for k, coin in enumerate(names[1]):
    answer = dict(zip(names[0], answers[:, k].tolist(), strict=True))
    print(f"row's answer to {coin}:", {bet: round(p, 3) for bet, p in answer.items()})

imagined = answers * solutions["conditional"].policies["col"][0, 0]  # ρ(a^{-i}) π(a^i | a^{-i})
row, col = (solutions["conditional"].policies[agent][0, 0] for agent in game.agents)
played = row[:, None] * col
reward = table.rewards[0][0, 0, 0]
print(f"what row thinks it earns: {float((imagined * reward).sum()):.3f}")
print(f"what row earns:           {float((played * reward).sum()):.3f}")
assert (imagined * reward).sum() > 0.9 > 0.1 > (played * reward).sum().abs()

# %%
figure, axes = plt.subplots(1, 3, figsize=(9.5, 3), layout="constrained")
titles = ["what row imagines", "what is played", "what marginal policies play"]
row, col = (solutions["marginal"].policies[agent][0, 0] for agent in game.agents)
for ax, title, joint in zip(axes, titles, [imagined, played, row[:, None] * col], strict=True):
    ax.imshow(joint.numpy(), vmin=0, vmax=1, cmap="Blues", aspect="auto")
    ax.set(title=title, xlabel="col")
    ax.set_xticks(range(2), names[1])
    ax.set_yticks(range(3), names[0])
    for i, chances in enumerate(joint.tolist()):
        for j, chance in enumerate(chances):
            ax.text(j, i, f"{chance:.2f}", ha="center", va="center")
plt.show()

# %% [markdown]
# The ELBO is an expectation over the guide, q = ρ(a^{-i}) π(a^i | a^{-i}): the left picture, where
# the two actions are correlated. But the agents move at the same time and apart, so what happens
# is the product of what each executes: the middle picture. The proof of Theorem 4.2 counts values
# in the expectation of the ELBO: it bounds what an agent could gain in its imagination. For
# marginal policies imagination and play are the same. For conditional policies they are not: both
# agents of this game expect to win.

# %%
elbo = solutions["conditional"].history[-1]["elbo"]
best = (table.rewards[0] + table.rewards[1]).max()
print(
    f"ELBOs {elbo['row']:.3f} + {elbo['col']:.3f}, but no outcome pays them more than {best} in all"
)
assert elbo["row"] + elbo["col"] > best

# %% [markdown]
# ## Gap against temperature
#
# Three games. In `MatchingPennies(bias=9)`, which is zero-sum, matching heads pays nine times as
# much as matching tails. `BattleOfTheSexes` is a coordination game, and a *potential* game: what
# an agent gains by a change is the change of one function for all, so gains around a cycle of
# changes add up to zero. There even the convergence theorem of the paper (Thm 5.8) promises an
# ε-Nash equilibrium.

# %%
row, col = (reward[0, 0, 0] for reward in vsg.tabulate(BattleOfTheSexes()).rewards)
gains = [row[1, 0] - row[0, 0], col[1, 1] - col[1, 0], row[0, 1] - row[1, 1], col[0, 0] - col[0, 1]]
print("gains around a cycle of changes:", [float(gain) for gain in gains])
assert sum(gains) == 0

games = [Hedge(), MatchingPennies(bias=9), BattleOfTheSexes()]
temperatures = torch.logspace(-2, 0.3, max(6, STEPS // 40)).tolist()
figure, axes = plt.subplots(1, 3, figsize=(11, 3.4), sharey=True, layout="constrained")
for ax, game in zip(axes, games, strict=True):
    table = vsg.tabulate(game)
    gaps = {"conditional": [], "marginal": []}
    for temperature in temperatures:
        for factorisation, points in gaps.items():
            solution = vsg.nash(table, temperature=temperature, factorisation=factorisation)
            assert solution.solved
            points.append(solution.certificate.nash_gap)
    bounds = [temperature * log(max(table.sizes)) for temperature in temperatures]
    assert all(gap <= bound for gap, bound in zip(gaps["marginal"], bounds, strict=True))
    assert gaps["conditional"][0] > 10 * bounds[0]  # at the lowest temperature
    ax.loglog(temperatures, bounds, "k--", label="bound, τ log max|A|")
    ax.loglog(temperatures, gaps["conditional"], "C3.-", label="conditional, executed")
    ax.loglog(temperatures, gaps["marginal"], "C0.-", label="marginal")
    ax.set(title=table.name, xlabel="temperature τ", ylim=(1e-4, 3))
axes[0].set_ylabel("Nash gap")
axes[0].legend(fontsize=8, loc="lower right")
plt.show()

# %% [markdown]
# The bound falls with the temperature, and so does the gap of the marginal solution. The gap of
# the executed conditional policies ends at 0.5, 0.22 and 0.25. Nothing was badly converged; these
# are fixed points. Lowering the temperature does not help.
#
# ## Where conditional policies are right
#
# If the best answer does not depend on the other's action, the two factorisations agree. Such is
# the prisoner's dilemma, where defection is dominant.

# %%
for temperature in (1.0, 0.3, 0.1):
    line = f"τ = {temperature}:"
    for factorisation in ("conditional", "marginal"):
        solution = vsg.nash(
            PrisonersDilemma(), temperature=temperature, factorisation=factorisation
        )
        line += f"   {factorisation} {solution.certificate.nash_gap:.4f}"
        assert solution.certificate.within_bound()
    print(line + f"   bound {solution.certificate.bound:.4f}")

# %% [markdown]
# And if one agent really sees what the others do before it acts, its conditional policy is what it
# executes. The difference of the two ELBOs is what seeing is worth, in nats. (In a game program,
# put what an agent sees into the state. Then its marginal policy reads it, and all theorems hold.)

# %%
coin = {"col": torch.tensor([[0.5, 0.5]])}
blind = vsg.best_response(Hedge(), "row", coin, temperature=0.1)
seeing = vsg.best_response(Hedge(), "row", coin, temperature=0.1, factorisation="conditional")
print(f"against a fair coin: blind {blind.elbo:.3f}, seeing {seeing.elbo:.3f}")
assert seeing.elbo > blind.elbo

# %% [markdown]
# ## The constant in the bound
#
# The theorem is printed with ε = T log max|A|, but steps run from 0 to T, so there are T + 1 of
# them. A game of one step has T = 0, and the printed bound would be 0: an exact equilibrium at any
# temperature. The marginal fixed point is not one. The library's bound is τ (T+1) log max|A|.

# %%
certificate = solutions["marginal"].certificate
print(f"gap {certificate.nash_gap:.4f}; as printed 0; with T + 1: {certificate.bound:.4f}")
assert 1e-3 < certificate.nash_gap < certificate.bound

# %% [markdown]
# ## What to remember
#
# * `factorisation="marginal"` is the default. It finds logit equilibria, and Theorem 4.2 holds.
# * `factorisation="conditional"` is the paper's algorithm as printed. What it executes may be far
#   from an equilibrium at every temperature, in zero-sum and in potential games too.
# * The certificate tells you in either case: it judges what is executed.
