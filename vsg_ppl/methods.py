"""Methods of learning by name, for those who compare them."""

from __future__ import annotations

from collections.abc import Callable

from vsg_ppl.ddpg import iddpg, maddpg
from vsg_ppl.learning import Learning
from vsg_ppl.mai import mai
from vsg_ppl.masql import masql
from vsg_ppl.sac import sac

METHODS: dict[str, Callable[..., Learning]] = {
    "mai": mai,
    "masql": masql,
    "maddpg": maddpg,
    "iddpg": iddpg,
    "sac": sac,
}
"""What the paper compares, and soft actor–critic; MASQL takes ten times as long as the others."""
