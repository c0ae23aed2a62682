import pyro
import pyro.distributions as dist
import torch

import vsg_ppl as vsg


class Machine:  # of two workers; its state is 0 new, 1 worn, 2 broken
    agents, discount = ("ann", "bob"), 0.9

    def initial(self):
        return torch.tensor(0)

    def step(self, wear):
        mend = {who: vsg.act(who, dist.Categorical(torch.ones(2))) for who in self.agents}
        for who in self.agents:
            vsg.optimality(who, 3.0 - wear - mend[who])
        wears = pyro.sample("wears", dist.Bernoulli(0.3)).long()
        return torch.where(mend["ann"] + mend["bob"] > 0, 0, (wear + wears).clamp(max=2))
