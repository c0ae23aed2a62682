"""MADDPG and independent DDPG, step by step beside TorchRL's losses, Adam and target networks.

TorchRL is given our first weights and the batches that ours draws. Its critic loss is the mean
square, ours half of it and the constant of a normal density; our policy loss has a small penalty,
which is added to its here. Adam divides by the size of gradients, so the half would matter little,
but it is put in too.
"""

from __future__ import annotations

from math import log, pi

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

import vsg_ppl as vsg
from vsg_ppl import ddpg
from vsg_ppl.guides.networks import LEAK
from vsg_ppl.learner_networks import PENALTY

pytest.importorskip("torchrl", reason="the extra torchrl is not installed")
from tensordict import TensorDict  # noqa: E402
from tensordict.nn import TensorDictModule, TensorDictSequential  # noqa: E402
from torchrl.modules import MLP, ValueOperator  # noqa: E402
from torchrl.objectives import DDPGLoss, SoftUpdate, ValueEstimators  # noqa: E402

HIDDEN, BATCH, FOLLOW, RATE = (8, 8), 16, 0.1, 1e-2
CONSTANT = 0.5 * log(2 * pi)


class Walk:
    """Three push a walk, one of them with two numbers, and so does chance."""

    agents = ("ann", "bob", "cy")
    horizon = 20

    def initial(self):
        return torch.tensor(0.3)

    def step(self, state):
        ann, bob = (vsg.act(agent, dist.Uniform(-1.0, 1.0)) for agent in ("ann", "bob"))
        cy = vsg.act("cy", dist.Uniform(-torch.ones(2), torch.ones(2)).to_event(1))
        wind = pyro.sample("wind", dist.Normal(0.0, 0.3))
        vsg.optimality("ann", -(state**2) - ann * bob)
        vsg.optimality("bob", state + ann * bob)
        vsg.optimality("cy", -((cy - state[..., None]) ** 2).sum(-1))
        return 0.8 * state + 0.5 * ann - 0.3 * bob + 0.2 * cy.sum(-1) + wind


class Peer:
    """One agent by TorchRL, with the weights of learner g."""

    def __init__(self, learner, g, gamma):
        self.policy, self.critic = (
            perceptron(learner.networks[name], g) for name in ("policy", "critic")
        )
        keys = ["observation", "action"] + (["others"] if learner.everyone else [])
        self.loss = DDPGLoss(
            TensorDictSequential(
                TensorDictModule(self.policy, ["observation"], ["before"]),
                TensorDictModule(torch.tanh, ["before"], ["action"]),
            ),
            ValueOperator(self.critic, in_keys=keys),
            loss_function="l2",
            delay_actor=True,
            delay_value=True,
        )
        self.loss.make_value_estimator(ValueEstimators.TD0, gamma=gamma)
        self.follow = SoftUpdate(self.loss, tau=FOLLOW)
        self.adam = {
            name: torch.optim.Adam(network.parameters(), lr=RATE)
            for name, network in (("policy", self.policy), ("critic", self.critic))
        }

    def next(self, seen):
        """What the target policy does."""
        actor = self.loss.actor_network
        with torch.no_grad(), self.loss.target_actor_network_params.to_module(actor):
            return actor(TensorDict({"observation": seen}, [len(seen)]))["action"]

    def learn(self, batch):
        """A step of critic and policy: their losses, and gradients by network and layer."""
        losses, gradients = [], {}
        for name, network in (("critic", self.critic), ("policy", self.policy)):
            if name == "critic":
                loss = 0.5 * self.loss.loss_value(batch)[0] + CONSTANT
            else:
                before = self.policy(batch["observation"])
                loss = self.loss.loss_actor(batch)[0] + PENALTY * (before**2).mean()
            self.adam[name].zero_grad()
            loss.backward()
            gradients[name] = [x.grad.clone() for x in network.parameters()]
            self.adam[name].step()
            losses.append(loss.detach())
        return losses, gradients


def perceptron(network, g):
    """Learner g's network as TorchRL's."""
    first, *_, last = network.weights
    found = MLP(
        in_features=first.shape[1],
        out_features=last.shape[2],
        num_cells=list(HIDDEN),
        activation_class=nn.LeakyReLU,
        activation_kwargs={"negative_slope": LEAK},
    )
    with torch.no_grad():
        for x, y in zip(found.parameters(), layers(network, g), strict=True):
            x.copy_(y)
    return found


def layers(network, g, read=lambda x: x.detach()):
    """Weights (out, in) and biases of learner g, in turn; or what is read off them."""
    pairs = zip(network.weights, network.biases, strict=True)
    return [x for weight, bias in pairs for x in (read(weight)[g].mT, read(bias)[g, 0])]


class Beside:
    """Lets TorchRL's agents learn after each step of ours, and compares."""

    def __init__(self, monkeypatch, gamma):
        self.learners, self.peers, self.losses = [], {}, []
        self.gamma, self.steps = gamma, 0
        made, improve, learn = (
            getattr(ddpg._Agents, name) for name in ("__init__", "improve", "learn")
        )

        def make(learner, *args):
            made(learner, *args)
            self.learners.append(learner)

        def improved(learner, name, loss):
            def noted():
                self.losses.append(loss())
                return self.losses[-1]

            improve(learner, name, noted)

        def learnt(learner, memory, episode):
            if not self.peers:
                self.peers = {
                    agent: Peer(one, g, gamma)
                    for one in self.learners
                    for g, agent in enumerate(one.team.agents)
                }
            drawn = memory.sample(BATCH)
            with monkeypatch.context() as patch:
                patch.setattr(memory, "sample", lambda size: drawn)
                learn(learner, memory, episode)
            self.compare(learner, drawn)

        monkeypatch.setattr(ddpg._Agents, "__init__", make)
        monkeypatch.setattr(ddpg._Agents, "improve", improved)
        monkeypatch.setattr(ddpg._Agents, "learn", learnt)

    def compare(self, learner, drawn):
        agents = learner.team.agents
        batches = [self.batch(agent, drawn, g) for g, agent in enumerate(agents)]
        found = [
            self.peers[agent].learn(batch) for agent, batch in zip(agents, batches, strict=True)
        ]
        ours = torch.stack(self.losses[-2:]).detach()
        theirs = torch.tensor([losses for losses, _ in found]).sum(0)
        assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-6)
        for g, (_, gradients) in enumerate(found):
            for name, wanted in gradients.items():
                network = learner.networks[name]
                whole = torch.cat([y.flatten() for y in wanted]).norm()
                for x, y in zip(layers(network, g, lambda x: x.grad), wanted, strict=True):
                    assert (x - y).norm() <= 1e-5 * whole
        if self.gamma > 0:
            for agent in agents:
                self.peers[agent].follow.step()
        self.steps += 1

    def batch(self, agent, drawn, g):
        seen, after = drawn["seen"][g], drawn["next"][g]
        over = torch.zeros(BATCH, 1, dtype=torch.bool)
        others = [self.peers[other].next(after) for other in Walk.agents if other != agent]
        return TensorDict(
            {
                "observation": seen,
                "action": drawn["own"][g],
                "others": drawn["other"][g],
                "next": {
                    "observation": after,
                    "others": torch.cat(others, -1),
                    "reward": drawn["reward"][g],
                    "done": over,
                    "terminated": over,
                },
            },
            [BATCH],
        )


@pytest.mark.parametrize("gamma", [0.0, 0.9])
@pytest.mark.parametrize("method", [vsg.maddpg, vsg.iddpg])
def test_the_same_steps(method, gamma, monkeypatch):
    beside = Beside(monkeypatch, gamma)
    method(
        Walk(),
        episodes=2,
        gamma=gamma,
        hidden=HIDDEN,
        learning_rate=RATE,
        batch=BATCH,
        follow=FOLLOW,
    )
    assert beside.steps == 2 * 20 * len(beside.learners) == 80
    for learner in beside.learners:
        for g, agent in enumerate(learner.team.agents):
            peer = beside.peers[agent]
            for name in ("policy", "critic"):
                wanted = getattr(peer, name).parameters()
                for x, y in zip(layers(learner.networks[name], g), wanted, strict=True):
                    assert torch.allclose(x, y, rtol=1e-4, atol=1e-5)
            seen = torch.randn(learner.team.groups, 5, 1)
            assert torch.allclose(learner.next(seen)[g], peer.next(seen[g]), atol=1e-5)
