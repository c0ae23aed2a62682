"""Run where TorchRL is: seconds of CPU in which its MADDPG learns the differential game, as JSON.

python torchrl_peer.py EPISODES SEED

As in TorchRL's tutorial of competitive DDPG: one group of agents without shared parameters,
centralised critics, its collector, replay buffer, losses and target updates.
"""

import json
import sys
import time

import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModule, TensorDictSequential
from torchrl.collectors import Collector
from torchrl.data import Bounded, Composite, LazyTensorStorage, ReplayBuffer, Unbounded
from torchrl.envs import EnvBase, StepCounter, TransformedEnv
from torchrl.modules import AdditiveGaussianModule, MultiAgentMLP, ProbabilisticActor, TanhDelta
from torchrl.objectives import DDPGLoss, SoftUpdate, ValueEstimators

AGENTS, STEPS, BATCH, HIDDEN, RATE = 2, 25, 64, [64, 64], 1e-2
REACH, PEAK, BASIN, WIDTH = 10.0, 5.0, -5.0, 3.0
OBSERVATION, ACTION, VALUE = (("agents", key) for key in ("observation", "action", "value"))


class Differential(EnvBase):
    """Two agents are paid the larger of two hills; nothing changes from step to step."""

    def __init__(self):
        super().__init__()
        shape = (AGENTS, 1)

        def agents(**specs):
            return Composite(agents=Composite(**specs, shape=(AGENTS,)))

        self.observation_spec = agents(observation=Unbounded(shape))
        self.action_spec = agents(action=Bounded(-REACH, REACH, shape))
        self.reward_spec = agents(reward=Unbounded(shape))
        self.nothing = torch.zeros(shape)

    def _reset(self, tensordict=None):
        return TensorDict({"agents": TensorDict({"observation": self.nothing}, [AGENTS])})

    def _step(self, tensordict):
        action = tensordict[ACTION]
        wide = -0.8 * (((action - BASIN) / WIDTH) ** 2).sum()
        paid = torch.maximum(wide, 10 - ((action - PEAK) ** 2).sum()).expand(AGENTS, 1)
        agents = {"observation": self.nothing, "reward": paid}
        return TensorDict(
            {"agents": TensorDict(agents, [AGENTS]), "done": torch.zeros(1, dtype=torch.bool)}
        )

    def _set_seed(self, seed):
        torch.manual_seed(seed)


def networks(inputs, *, centralised):
    return MultiAgentMLP(
        inputs,
        1,
        AGENTS,
        centralised=centralised,
        share_params=False,
        num_cells=HIDDEN,
        activation_class=torch.nn.ReLU,
    )


def learn(episodes):
    """Mean reward by episode, (episodes,)."""
    env = TransformedEnv(Differential(), StepCounter(STEPS))
    policy = ProbabilisticActor(
        TensorDictModule(networks(1, centralised=False), [OBSERVATION], [("agents", "param")]),
        in_keys=[("agents", "param")],
        out_keys=[ACTION],
        spec=env.full_action_spec_unbatched[ACTION],
        distribution_class=TanhDelta,
        distribution_kwargs={"low": -REACH, "high": REACH},
    )
    noise = AdditiveGaussianModule(
        env.full_action_spec_unbatched[ACTION],
        sigma_init=0.1 * REACH,
        sigma_end=0.0,
        annealing_num_steps=episodes * STEPS,
        action_key=ACTION,
    )
    critic = TensorDictSequential(
        TensorDictModule(
            lambda seen, action: torch.cat([seen, action / REACH], -1),
            [OBSERVATION, ACTION],
            [("agents", "both")],
        ),
        TensorDictModule(networks(2, centralised=True), [("agents", "both")], [VALUE]),
    )
    loss = DDPGLoss(policy, critic, loss_function="l2", delay_value=True)
    keys = {key: ("agents", key) for key in ("reward", "done", "terminated")}
    loss.set_keys(state_action_value=VALUE, **keys)
    loss.make_value_estimator(ValueEstimators.TD0, gamma=0.0)
    follow = SoftUpdate(loss, tau=0.01)
    adam = torch.optim.Adam(loss.parameters(), lr=RATE)
    memory = ReplayBuffer(storage=LazyTensorStorage(episodes * STEPS), batch_size=BATCH)
    collector = Collector(
        env,
        TensorDictSequential(policy, noise),
        frames_per_batch=STEPS,
        total_frames=episodes * STEPS,
        init_random_frames=4 * STEPS,
    )
    curve = []
    for batch in collector:
        for key in ("done", "terminated"):
            done = batch["next", key].unsqueeze(-1).expand(STEPS, AGENTS, 1)
            batch["next", "agents", key] = done
        memory.extend(batch)
        for _ in range(STEPS):
            found = loss(memory.sample())
            adam.zero_grad()
            (found["loss_actor"] + found["loss_value"]).backward()
            adam.step()
            follow.step()
        noise.step(STEPS)
        curve.append(float(batch["next", "agents", "reward"].mean()))
    collector.shutdown()
    return curve


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.manual_seed(int(sys.argv[2]))
    start = time.process_time()
    rewards = learn(int(sys.argv[1]))
    print(json.dumps({"seconds": time.process_time() - start, "rewards": rewards}))
