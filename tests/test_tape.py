"""A tape replays what a function computes, values and gradients, and knows what it cannot."""

from __future__ import annotations

import pytest
import torch

from vsg_ppl.tape import record


def program(x):
    index = torch.tensor([1, 0, 1])
    looked = x[index]
    picked = torch.where(looked > 0.5, looked.log(), 0.0)
    return [
        picked.sum(-1, keepdim=True) + torch.stack([x, x * x]).amax(0),
        torch.ones(2),
        (x.sum() * 3).round().long(),
        torch.einsum("i,j->ij", x, x).softmax(-1),
    ]


def test_values_and_gradients():
    tape = record(program, torch.tensor([0.7, 0.2]).double())
    for seed in range(5):
        x = torch.rand(2, generator=torch.Generator().manual_seed(seed)).double()
        for k, want in enumerate(program(x)):
            torch.testing.assert_close(tape(x, (k,))[0], want)
        x.requires_grad_()
        for k in (0, 3):
            replayed, plain = tape(x, (k,))[0], program(x)[k]
            weight = torch.rand(plain.shape).double()
            one, two = (torch.autograd.grad((y * weight).sum(), x)[0] for y in (replayed, plain))
            torch.testing.assert_close(one, two)


def test_several_outputs_come_in_the_order_asked_for():
    tape = record(program, torch.tensor([0.7, 0.2]).double())
    x = torch.tensor([0.1, 0.9]).double()
    last, constant = tape(x, (3, 1))
    torch.testing.assert_close(last, program(x)[3])
    torch.testing.assert_close(constant, torch.ones(2))


def test_dependence():
    tape = record(program, torch.tensor([0.7, 0.2]).double())
    assert [tape.depends(k) for k in range(4)] == [True, False, True, True]


def test_only_what_is_wanted_is_run():
    """An output that fails for some inputs does not stop the others."""
    tape = record(lambda x: [x + 1, torch.ones(2)[x.long()]], torch.zeros(1).double())
    assert float(tape(torch.full((1,), 5.0).double(), (0,))[0]) == 6.0
    with pytest.raises(IndexError):
        tape(torch.full((1,), 5.0).double(), (1,))


@pytest.mark.parametrize(
    "escape",
    [
        lambda x: [x * float(x.sum())],
        lambda x: [x if x[0] > 0 else -x],
        lambda x: [x + x.sum().item()],
        lambda x: [(x + 1).mul_(2)],
        lambda x: [torch.zeros(2).double().index_put_((torch.tensor([0]),), x[:1])],
    ],
)
def test_numbers_taken_out_and_changes_in_place_are_not_recorded(escape):
    assert record(escape, torch.ones(2).double()) is None


def test_the_input_is_left_alone():
    x = torch.ones(2).double()
    record(program, x)
    assert not x.requires_grad and bool((x == 1).all())
