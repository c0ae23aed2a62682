# %% [markdown]
# # 1. Acting as inferring
#
# A game program of this library is a Pyro program. It says what an agent may do (sample sites),
# what chance does (more sample sites), and what is good (factors). To *act well* is then a
# question that Pyro can be asked: given that everything went well, what did the agent do?
#
# This tutorial has one agent, so there is no game yet. It shows
#
# 1. how a program becomes the graphical model of one agent,
# 2. why the plain posterior of that model is not what we want (it is an optimist), and which guide
#    mends it,
# 3. that SVI climbs to a softmax policy known in closed form (Prop. 5.2 of the paper),
# 4. what the temperature does, and how optimal control comes out as it falls to zero.
#
# The paper is Zhao and Zhang, "Variational Stochastic Games", DAI 2024.

# %%
import os
from enum import IntEnum

import matplotlib.pyplot as plt
import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.infer import SVI, Importance, Trace_ELBO
from pyro.optim import Adam

import vsg_ppl as vsg
from vsg_ppl.guides import TabularPolicy
from vsg_ppl.models import Thermostat

STEPS = int(os.environ.get("TUTORIAL_STEPS", 1000))  # how long to sample and to learn
pyro.set_rng_seed(0)

# %% [markdown]
# ## A fork in the road
#
# A courier can take the short road or the long one. The long road pays 0 for sure. The short road
# pays 2 if it is dry, but four times in five it is flooded, and then it costs 1. On average it
# pays 0.2 · 2 − 0.8 · 1 = −0.4. The long road is better.


# %%
class Road(IntEnum):
    SHORT = 0
    LONG = 1


EITHER = torch.ones(2, dtype=torch.float64)
FLOOD = torch.tensor([0.2, 0.8], dtype=torch.float64)  # the chance of dry, of flooded
PAY = torch.tensor([[2.0, -1.0], [0.0, 0.0]], dtype=torch.float64)  # PAY[road, flooded]


class Fork:
    agents = ("courier",)
    horizon = 1  # one decision

    def initial(self):
        return torch.tensor(0)

    def step(self, place):
        road = vsg.act("courier", dist.Categorical(EITHER), labels=Road)
        flooded = pyro.sample("flooded", dist.Categorical(FLOOD))
        vsg.optimality("courier", PAY[road, flooded])
        return place


fork = Fork()

# %% [markdown]
# `vsg.act` is a sample site that belongs to an agent; its distribution is the action's *prior*,
# here a fair coin. `vsg.optimality` is a factor: it multiplies the weight of a run by exp(r / τ),
# where r is the reward and τ a temperature. Everything else is ordinary Pyro.
#
# `agent_model` makes the agent's graphical model from this program (Def. 4.1 and Fig. 1 of the
# paper). It is a Pyro model, so we can trace it. Sites carry the time at which they happen; chance
# that is drawn in step 0 belongs to time 1.

# %%
model = vsg.agent_model(fork, "courier", temperature=1.0)
trace = poutine.trace(model).get_trace()
trace.compute_log_prob()
for name, site in trace.nodes.items():
    if site["type"] == "sample":
        kind = "observed" if site["is_observed"] else "sampled "
        print(f"{name:12} {kind}  log weight {float(site['log_prob_sum']):+.3f}")

# %% [markdown]
# The same model as a picture. Shaded is what we condition on: O, the optimality of the courier.
# The edges were found by running the program once with values that remember what they were made
# from.

# %%
figure, axes = plt.subplots(figsize=(5, 3))
vsg.draw_graph(vsg.dependency_graph(fork, "courier"), ax=axes)
plt.show()

# %% [markdown]
# ## The posterior is an optimist
#
# Ask Pyro: given optimality, which road was taken? Brute force will do: sample from the prior,
# weigh each run by its factor. The answer has a closed form too,
#
#     p(road | O) ∝ u(road) E[ exp(r / τ) ],
#
# with the expectation *of the exponential* over the flood.

# %%
posterior = Importance(model, num_samples=2 * STEPS).run()
weights = posterior.get_normalized_weights()
runs = posterior.exec_traces
short = torch.tensor([float(run.nodes["courier_0"]["value"] == Road.SHORT) for run in runs])
dry = torch.tensor([float(run.nodes["flooded_1"]["value"] == 0) for run in runs])
sampled = float((weights * short).sum())
luck = float((weights * short * dry).sum() / (weights * short).sum())


def optimist(temperature):
    """p(SHORT | O), exactly; the prior of the roads is uniform and drops out."""
    weight = (PAY / temperature).exp() @ FLOOD
    return float(weight[Road.SHORT] / weight.sum())


print(f"p(SHORT | O)        sampled {sampled:.3f}   exact {optimist(1.0):.3f}")
print(f"p(dry | O, SHORT)   sampled {luck:.3f}   but the true chance of dry is {float(FLOOD[0])}")
assert abs(sampled - optimist(1.0)) < 4 / (2 * STEPS) ** 0.5
assert luck > 0.7

# %% [markdown]
# The posterior prefers the *short* road, which is worse. Conditioning on success changed not only
# what the courier does but also what the weather does: given that all went well, the road was
# probably dry. The agent believes that it can choose its luck.
#
# ## The guide that cannot choose its luck
#
# Variational inference lets us forbid that. The paper's guide (Section 4) is
#
#     q = P(s_0) Π_t π(a_t | s_t) P(s_{t+1} | s_t, a_t) :
#
# the policy π at the action sites and the *true* dynamics everywhere else. `agent_guide` makes it.
# The dynamics stand in both model and guide and cancel in the ELBO, which becomes
#
#     ELBO(π) = E_q[ r / τ ] − KL(π ‖ u).
#
# Now the reward is averaged over the flood *before* it is exponentiated. The best policy is the
# softmax of the mean reward, π ∝ u exp(E[r] / τ). That is Prop. 5.2.
#
# `MarkovELBO` computes this ELBO exactly by enumerating the one step of the program. `Trace_ELBO`
# is Pyro's estimate of the same number by samples. Both take the same model and guide.


# %%
def with_chance(p):
    """The guide of a courier who takes the short road with probability p."""
    return vsg.agent_guide(fork, "courier", torch.tensor([[p, 1 - p]], dtype=torch.float64))


guide = with_chance(0.3)
exact = -vsg.MarkovELBO().loss(model, guide)
with torch.no_grad():
    draws = torch.tensor([-Trace_ELBO().loss(model, guide) for _ in range(STEPS)])
error = float(draws.std()) / STEPS**0.5
print(f"ELBO at p = 0.3: exact {exact:.4f}, sampled {float(draws.mean()):.4f} ± {error:.4f}")
assert abs(exact - float(draws.mean())) < 5 * error

chances = torch.linspace(0.001, 0.999, 101)
with torch.no_grad():
    curve = [-vsg.MarkovELBO().loss(model, with_chance(float(p))) for p in chances]
mean = PAY @ FLOOD  # E[r] for each road: −0.4 and 0
best = float(mean.softmax(0)[Road.SHORT])
evidence = float(((EITHER / 2) @ (PAY.exp() @ FLOOD)).log())
print(f"the best policy takes the short road with probability {best:.3f}")
print(f"its ELBO is {max(curve):.4f}; the log evidence log p(O) is {evidence:.4f}")
assert max(curve) < evidence

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
left.plot(chances, curve, label="ELBO(π)")
left.axhline(evidence, color="grey", linestyle="--", label="log p(O)")
left.axvline(best, color="C1", label="softmax of the mean reward")
left.axvline(optimist(1.0), color="C3", linestyle=":", label="plain posterior")
left.set(xlabel="π(SHORT)", ylabel="nats", title="what the guide can reach")
left.legend(fontsize=8, loc="lower center")

temperatures = torch.logspace(-1.3, 1, 60)
honest = [float((mean / t).softmax(0)[Road.SHORT]) for t in temperatures]
right.semilogx(temperatures, honest, "C1", label="guide with the true dynamics")
right.semilogx(temperatures, list(map(optimist, temperatures)), "C3:", label="plain posterior")
right.axhline(0.5, color="grey", linewidth=0.5)
right.set(xlabel="temperature τ", ylabel="π(SHORT)", title="the short road is worse on average")
right.legend(fontsize=8)
plt.show()

# %% [markdown]
# Left: the ELBO stays below the log evidence for every policy. The gap is the price of honesty:
# the true posterior is out of this guide's reach because it changes the weather. Right: as the
# temperature falls, the guide's policy goes to the better road, and the posterior goes to the
# gamble.
#
# ## SVI climbs to the softmax
#
# Now with parameters. `TabularPolicy` is a softmax table, π(a|s) ∝ u(a|s) exp(θ). We climb twice,
# once with each loss. Nothing differs but the noise.


# %%
def climb(loss):
    """Learn a policy for the fork; its probability of the short road at each step."""
    policy = TabularPolicy(vsg.tabulate(fork), "courier")
    svi = SVI(model, vsg.agent_guide(fork, "courier", policy), Adam({"lr": 0.03}), loss)
    path = []
    for _ in range(STEPS // 2):
        svi.step()
        path.append(policy.log_table()[0, 0, Road.SHORT].exp().item())
    return path


noisy, smooth = climb(Trace_ELBO()), climb(vsg.MarkovELBO())
print(f"Trace_ELBO ends at {noisy[-1]:.3f}, MarkovELBO at {smooth[-1]:.6f}")
print(f"Prop. 5.2 says {best:.6f}")
if STEPS >= 1000:
    assert abs(smooth[-1] - best) < 1e-4

figure, axes = plt.subplots(figsize=(6, 3.2), layout="constrained")
axes.plot(noisy, color="C2", linewidth=1, label="Trace_ELBO, one sample a step")
axes.plot(smooth, color="C0", label="MarkovELBO, exact")
axes.axhline(best, color="grey", linestyle="--", label="softmax(E[r] / τ)")
axes.set(xlabel="step of SVI", ylabel="π(SHORT)")
axes.legend(fontsize=8)
plt.show()

# %% [markdown]
# `Trace_ELBO` needs one sampled run a step and no table, so it also serves continuous actions and
# large programs; more particles make it less noisy. `MarkovELBO` needs finite sites.
#
# ## A day of decisions
#
# One decision is too easy. `Thermostat` is a bundled game program with one agent: a heater keeps a
# house near 21 °C for 24 hours. Heat costs three times as much from 17 to 21 o'clock, and by
# chance the house loses a degree an hour, more often at night. Here is its model in the paper's
# variables (Fig. 1 without opponents), for the first two hours.

# %%
house = Thermostat()
figure, axes = plt.subplots(figsize=(6, 3))
vsg.draw_graph(vsg.figure1(house, "heater"), ax=axes)
plt.show()

# %% [markdown]
# Forty-eight actions and chances make far too many runs for importance sampling. But the reward
# and the next state depend on the present state alone, so dynamic programming finds the best
# policy: the softmax of Q / τ, where Q counts what comes after (Prop. 5.2 in full).
# `best_response` does this, or climbs by SVI with `method="svi"`.

# %%
exact = vsg.best_response(house, "heater", temperature=0.5)
climbed = vsg.best_response(
    house, "heater", temperature=0.5, method="svi", steps=STEPS, learning_rate=0.3
)
print(f"ELBO: exact {exact.elbo:.4f}, SVI {climbed.elbo:.4f} after {STEPS} steps")
assert climbed.elbo <= exact.elbo
if STEPS >= 1000:
    assert exact.elbo - climbed.elbo < 0.05

# %% [markdown]
# The policies differ more than the ELBOs do, because SVI hardly learns what to do in states that
# it hardly visits: their share of the ELBO is as small as their chance. Dynamic programming treats
# all states alike. Below, the difference where the policy actually goes, and the worst one.

# %%
solution = vsg.nash(house, temperature=0.5)  # with one agent, the equilibrium is the best response
assert torch.allclose(solution.policies["heater"], exact.policy, atol=1e-6)
plays = solution.simulate(500)
hours = torch.arange(house.horizon)
difference = (exact.policy - climbed.policy).abs().amax(-1)  # by hour and state
possible = solution.table.reachable
print(f"mean difference where play goes: {float(difference[hours, plays.states].mean()):.4f}")
print(f"worst difference in a state that can occur: {float(difference[possible].max()):.4f}")

# %% [markdown]
# ## From inference to control
#
# The temperature weighs the reward against the entropy. At a high temperature the agent stays near
# its prior; as τ falls, its policy becomes that of optimal control. How far it still is from the
# optimum is exact: the certificate computes the best deviation by dynamic programming at τ = 0.
# The *bound* beside it is Theorem 4.2's, τ (T+1) log |A|.

# %%
rows = []
for temperature in [2.0, 0.5, 0.1, 0.01]:
    solution = vsg.nash(house, temperature=temperature)
    certificate = solution.certificate
    plays = solution.simulate(1000)
    indoors = torch.tensor(list(solution.table.states)).double()[plays.states].mean(0)
    heat = plays.actions["heater"].double().mean(0)
    rows.append((temperature, indoors, heat))
    print(
        f"τ = {temperature:<5} value {certificate.values['heater']:8.3f}   "
        f"short of the optimum by {certificate.nash_gap:7.4f}   bound {certificate.bound:7.3f}"
    )
    assert certificate.within_bound()
assert certificate.nash_gap < 0.01

# %%
figure, (top, bottom) = plt.subplots(2, 1, figsize=(7, 5), sharex=True, layout="constrained")
for temperature, indoors, heat in rows:
    top.plot(hours, indoors, label=f"τ = {temperature:g}")
    bottom.step(hours, heat, where="post")
for axes in (top, bottom):
    axes.axvspan(17, 21, color="0.9", zorder=0)
top.axhline(house.target, color="grey", linewidth=0.5)
top.set(ylabel="°C indoors, mean", title="heat is dear from 17 to 21 o'clock (grey)")
top.legend(fontsize=8, ncols=4, loc="lower center")
bottom.set(xlabel="hour", ylabel="degrees of heat, mean")
plt.show()

# %% [markdown]
# Nobody told the heater to plan, but at low temperatures it heats up before the price rises.
#
# ## What to remember
#
# * A program with `act` and `optimality` is a graphical model of an agent; acting is inference in
#   it.
# * The guide keeps the true dynamics. An agent may choose its actions, not its luck.
# * The best policy is a softmax of Q / τ; SVI and dynamic programming agree on it.
# * The certificate says how far a policy is from the optimum, at any temperature.
#
# Next: [a second agent](02_your_first_game.py), whose actions are neither chosen nor luck.
