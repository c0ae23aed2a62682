"""`Replay` against a list."""

from __future__ import annotations

from collections import deque

import torch
from hypothesis import given
from hypothesis import strategies as st

from vsg_ppl.replay import Replay


@given(st.integers(1, 7), st.integers(1, 20), st.integers(1, 25))
def test_the_last_steps_are_kept(capacity, steps, size):
    memory, known = Replay(2, capacity, {"x": 1, "y": 3}), deque(maxlen=capacity)
    for k in range(steps):
        x = torch.tensor([[1.0 * k], [100.0 + k]])
        memory.add({"x": x, "y": x.expand(2, 3)})
        known.append(x)
    assert len(memory) == len(known)
    kept = torch.stack(list(known)[-size:], 1)
    assert torch.equal(memory.last("x", size), kept)
    drawn = memory.sample(50)
    assert torch.equal(drawn["y"], drawn["x"].expand(-1, -1, 3))  # one step, all its parts
    for play in range(2):
        allowed = {float(x[play, 0]) for x in known}
        assert set(drawn["x"][play].flatten().tolist()) <= allowed
        if len(allowed) <= 3:
            assert set(drawn["x"][play].flatten().tolist()) == allowed


def test_lately_is_the_later_half():
    """Or the last 512 steps, where those are more; a ring that has come round knows no others."""
    for capacity, steps, oldest in (
        (5000, 100, 0),
        (5000, 700, 188),
        (5000, 2000, 1000),
        (600, 900, 388),
    ):
        memory = Replay(2, capacity, {"x": 1})
        for k in range(steps):
            memory.add({"x": torch.tensor([[1.0 * k], [1.0 * k]])})
        drawn = memory.sample_lately(20_000)["x"]
        assert drawn.min() == oldest and drawn.max() == steps - 1
        assert len(drawn.unique()) == steps - oldest
