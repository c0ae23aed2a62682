"""Guides: policies, opponent, reward and population models, one kind per file.

The folder lies at the top of the repository and is installed as ``vsg_ppl.guides``.
"""

if __name__ != "vsg_ppl.guides":
    raise ImportError(
        f"this package is vsg_ppl.guides, not {__name__!r}: "
        "write `import vsg_ppl.guides` or `from vsg_ppl.guides import ...`"
    )

from vsg_ppl.guides.inferred import InferredOpponent
from vsg_ppl.guides.neural import ConditionalNeuralPolicy, NeuralPolicy
from vsg_ppl.guides.opponent import CountedOpponent, NeuralOpponent, TabularOpponent
from vsg_ppl.guides.policy import ConditionalPolicy, FixedPolicy, TabularPolicy
from vsg_ppl.guides.reward import (
    LinearReward,
    NoReward,
    OwnReward,
    TabularReward,
    WelfareReward,
)

__all__ = [
    "ConditionalNeuralPolicy",
    "ConditionalPolicy",
    "CountedOpponent",
    "FixedPolicy",
    "InferredOpponent",
    "LinearReward",
    "NeuralOpponent",
    "NeuralPolicy",
    "NoReward",
    "OwnReward",
    "TabularOpponent",
    "TabularPolicy",
    "TabularReward",
    "WelfareReward",
]
