"""Game programs with unknowns of every kind, for the tests of what reads them."""

from __future__ import annotations

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints

import vsg_ppl as vsg


def real(x):
    return torch.tensor(x, dtype=torch.float64)


class Scalar:
    """One number in the reward of a one-shot game without a state."""

    agents, horizon = ("rat",), 1

    def initial(self):
        return None

    def step(self, state):
        taste = pyro.sample("taste", dist.Normal(real(0.5), real(1.0)))
        arm = vsg.act("rat", dist.Categorical(torch.ones(3)))
        vsg.optimality("rat", taste * arm - arm * arm)


class Vector:
    """A vector that actions index; two agents, a discount."""

    agents, discount = ("ann", "bob"), 0.8

    def initial(self):
        return torch.tensor(1)

    def step(self, state):
        worth = pyro.sample("worth", dist.Normal(torch.zeros(3).double(), 1.0).to_event(1))
        ann = vsg.act("ann", dist.Categorical(torch.ones(3)))
        bob = vsg.act("bob", dist.Categorical(torch.tensor([0.5, 0.5, 0.0])))
        vsg.optimality("ann", worth[ann] * (1 + state) + 0.3 * (ann == bob))
        vsg.optimality("bob", -worth[ann] + worth[bob])
        return (state + ann + bob) % 3


class Hierarchy:
    """One unknown's prior reads another, on a bounded support each."""

    agents, discount = ("rat",), 0.7

    def initial(self):
        return torch.tensor(0)

    def step(self, state):
        scale = pyro.sample("scale", dist.LogNormal(real(0.0), real(0.5)))
        taste = pyro.sample("taste", dist.Normal(real(1.0), scale))
        share = pyro.sample("share", dist.Beta(1 + scale, real(2.0)))
        arm = vsg.act("rat", dist.Categorical(torch.ones(2)))
        slip = pyro.sample("slip", dist.Bernoulli(share))
        vsg.optimality("rat", torch.where(state == 1, taste * arm, scale - arm))
        return (state + arm + slip.long()) % 2


class Everywhere:
    """Unknowns in the priors, the first state's law, the transitions and the rewards at once."""

    agents, discount = ("ann", "bob"), 0.6

    def initial(self):
        start = pyro.sample("start", dist.Beta(real(2.0), real(3.0)))
        return {"place": pyro.sample("first", dist.Bernoulli(start)).long()}

    def step(self, state):
        bias = pyro.sample("bias", dist.Normal(real(0.0), real(1.0)))
        law = pyro.sample("law", dist.Dirichlet(torch.tensor([1.0, 2.0, 3.0]).double()))
        place = state["place"]
        logits = torch.stack([bias * place, torch.zeros_like(bias * place)], -1)
        ann = vsg.act("ann", dist.Categorical(logits=logits))
        bob = vsg.act("bob", dist.Categorical(torch.ones(2)))
        luck = pyro.sample("luck", dist.Categorical(law))
        vsg.optimality("ann", bias.exp() * ann * place + luck)
        vsg.optimality("bob", bias * bob - ann * law[2])
        return {"place": (place + ann * luck + bob) % 2}


class Parameters:
    """``pyro.param`` sites: of a support, a vector, and one that is a constant function's."""

    agents, discount = ("rat",), 0.9

    def initial(self):
        return torch.tensor(0)

    def step(self, state):
        rate = pyro.param("rate", real(2.0), constraint=constraints.positive)
        worth = pyro.param("worth", lambda: torch.tensor([0.3, -0.2, 0.9]).double())
        arm = vsg.act("rat", dist.Categorical(torch.ones(3)))
        vsg.optimality("rat", rate * worth[arm] * (state + 1))
        return (state + arm) % 2


class SampledDiscount:
    """The discount is itself unknown, and the reward reads the same unknown."""

    agents = ("rat",)

    @property
    def discount(self):
        return 0.95 * pyro.sample("patience", dist.Beta(real(3.0), real(2.0)))

    def initial(self):
        return torch.tensor(0)

    def step(self, state):
        patience = pyro.sample("patience", dist.Beta(real(3.0), real(2.0)))
        taste = pyro.sample("taste", dist.Normal(real(0.0), real(1.0)))
        arm = vsg.act("rat", dist.Categorical(torch.ones(2)))
        vsg.optimality("rat", torch.where(state == 2, taste, patience * arm))
        return torch.where(arm == 1, (state + 1).clamp(max=2), 0)


class Timed:
    """The step takes the time, and some unknowns belong to one time only."""

    agents, horizon, discount = ("ann", "bob"), 3, 0.9

    def initial(self):
        return torch.tensor(0), torch.tensor(1)

    def step(self, state, t):
        trend = pyro.sample("trend", dist.Normal(real(0.0), real(1.0)))
        shock = pyro.sample(f"shock_{t}", dist.Normal(real(float(t)), real(1.0)))
        ann = vsg.act("ann", dist.Categorical(torch.ones(2)))
        bob = vsg.act("bob", dist.Categorical(torch.ones(2)))
        vsg.optimality("ann", trend * t * ann + shock * (ann == bob) + 0.1 * state[0])
        vsg.optimality("bob", shock * bob * state[1])
        return (state[0] + ann) % 3, (state[1] + bob) % 2


class Horizon:
    """Several states, a horizon, a condition in `torch.where`."""

    agents, horizon = ("rat",), 4

    def initial(self):
        return torch.tensor(2)

    def step(self, state):
        up = pyro.sample("up", dist.Normal(real(1.0), real(1.0)))
        down = pyro.sample("down", dist.Exponential(real(1.0)))
        move = vsg.act("rat", dist.Categorical(torch.ones(3))) - 1
        vsg.optimality("rat", torch.where(state > 2, up * state, -down) - 0.1 * move * move)
        return (state + move).clamp(0, 4)


class Signals:
    """A public signal whose law is unknown."""

    agents, discount = ("ann", "bob"), 0.5

    def initial(self):
        return torch.tensor(0)

    def step(self, state):
        often = pyro.sample("often", dist.Beta(real(2.0), real(2.0)))
        rain = vsg.signal("rain", dist.Bernoulli(often * (1 + state) / 2)).long()
        ann = vsg.act("ann", dist.Categorical(torch.ones(2)))
        bob = vsg.act("bob", dist.Categorical(torch.ones(2)))
        vsg.optimality("ann", often * (ann == rain) + 0.5 * state)
        vsg.optimality("bob", 1.0 * (ann == bob) - often * rain)
        return (state + ann * bob) % 2


class Numpy:
    """What enters the reward goes through NumPy: no operation of torch's leads there."""

    agents, horizon = ("rat",), 1

    def initial(self):
        return torch.tensor(0)

    def step(self, state):
        taste = pyro.sample("taste", dist.Normal(real(0.0), real(1.0)))
        arm = vsg.act("rat", dist.Categorical(torch.ones(2)))
        vsg.optimality("rat", arm * torch.tensor(float(np.tanh(taste.detach().numpy()))).double())
        return state


class Item(Numpy):
    """The same through a Python number."""

    def step(self, state):
        taste = pyro.sample("taste", dist.Normal(real(0.0), real(1.0)))
        arm = vsg.act("rat", dist.Categorical(torch.ones(2)))
        vsg.optimality("rat", arm * (taste.detach().item() ** 2))
        return state


class Branch(Numpy):
    """Python chooses by the unknown which reward there is."""

    agents, discount, horizon = ("rat",), 0.5, None

    def step(self, state):
        taste = pyro.sample("taste", dist.Normal(real(0.0), real(1.0)))
        arm = vsg.act("rat", dist.Categorical(torch.ones(2)))
        vsg.optimality("rat", taste * arm if taste > 0 else 3 * taste * (1 - arm))
        return (state + arm) % 3


class HiddenBranch(Branch):
    """A branch that leaves no trace: the number is taken out behind torch's back."""

    def step(self, state):
        taste = pyro.sample("taste", dist.Normal(real(0.0), real(1.0)))
        arm = vsg.act("rat", dist.Categorical(torch.ones(2)))
        above = bool(np.asarray(taste.detach().tolist()) > 0.0)
        vsg.optimality("rat", taste * arm if above else 3 * taste * (1 - arm))
        return (state + arm) % 3


PROGRAMS = (
    Scalar,
    Vector,
    Hierarchy,
    Everywhere,
    Parameters,
    SampledDiscount,
    Timed,
    Horizon,
    Signals,
)
"""What a tape can follow."""

ESCAPES = (Numpy, Item, Branch, HiddenBranch)
"""What it cannot."""


def values_of(program: type, seed: int) -> dict[str, Tensor]:
    """Values of its unknowns, each in its support."""
    generator = torch.Generator().manual_seed(seed)

    def unit(*shape: int) -> Tensor:
        return 0.1 + 0.8 * torch.rand(shape, dtype=torch.float64, generator=generator)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, dtype=torch.float64, generator=generator)

    made = {
        Scalar: lambda: {"taste": normal()},
        Vector: lambda: {"worth": normal(3)},
        Hierarchy: lambda: {"scale": unit(), "taste": normal(), "share": unit()},
        Everywhere: lambda: {"start": unit(), "bias": normal(), "law": normal(3).softmax(0)},
        Parameters: lambda: {"rate": unit(), "worth": normal(3)},
        SampledDiscount: lambda: {"patience": unit(), "taste": normal()},
        Timed: lambda: {"trend": normal(), **{f"shock_{t}": normal() for t in range(3)}},
        Horizon: lambda: {"up": normal(), "down": unit()},
        Signals: lambda: {"often": unit()},
    }
    return made.get(program, made[Scalar])()
