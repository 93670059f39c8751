"""Programs for PyTorch's names; `python -m tests.dynamic.torch_programs` records all of them."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import numpy as np

from tests.dynamic.torch_cases import CASES, FILE, case, grads, numbers, run

# ---------------------------------------------------------------- triangles
for _name in ("tril", "triu"):
    for _k in (-1, 0, 1):
        CASES[f"{_name}_{_k}".replace("-", "m")] = partial(
            lambda name, k, torch: grads(
                getattr(torch, name)(x := numbers(torch, 2, 3, 4), k), x
            ), _name, _k,
        )  # fmt: skip


@case
def triangles_of_other_types(torch: Any) -> Any:
    return torch.ones(2, 2, dtype=torch.bool).tril(), torch.ones(3, 2, dtype=torch.int32).triu()


@case
def a_triangle_of_a_vector(torch: Any) -> Any:
    return torch.tril(torch.ones(3))


# ---------------------------------------------------------------- contractions
EQUATIONS: dict[str, tuple[tuple[int, ...], ...]] = {
    "bij,jk->bik": ((2, 3, 4), (4, 5)), "bij,jk,bik->b": ((2, 3, 4), (4, 5), (2, 3, 5)),
    "...j,jk->...k": ((2, 3, 4), (4, 5)), "ii->i": ((3, 3),), "ii": ((3, 3),),
    "ij->ji": ((2, 3),), "ij,ij->": ((2, 3), (2, 3)), "i,j": ((2,), (3,)),
    "bij,bkj->ikb": ((2, 3, 4), (2, 5, 4)), "ij": ((2, 3),), "...ij->...ji": ((2, 3, 4),),
    "ij,kl->": ((2, 3), (2, 2)), "b...,b...->...": ((2, 3, 4), (2, 1, 4)),
    "ba,ab": ((2, 3), (3, 2)), "iij->j": ((2, 2, 3),), " i j , j k -> i k ": ((2, 3), (3, 2)),
    "ij,jk->ik bad": ((2, 3), (3, 2)), "ij,jk->ik ": ((2, 3), (4, 2)), "ij->k": ((2, 3),),
    "ijk": ((2, 3),), "ij,j": ((2, 3),),
}  # fmt: skip


def contraction(equation: str, torch: Any) -> Any:
    leaves = [numbers(torch, *s, seed=i) for i, s in enumerate(EQUATIONS[equation])]
    y = torch.einsum(equation, *leaves)
    (y * y).sum().backward()
    return [y, *[x.grad for x in leaves]]


CASES.update({f"einsum {e}": partial(contraction, e) for e in EQUATIONS})


@case
def einsum_of_a_list(torch: Any) -> Any:
    return torch.einsum("ij,jk", [numbers(torch, 2, 3), numbers(torch, 3, 2)])


@case
def tensordot(torch: Any) -> Any:
    a, b = numbers(torch, 2, 3, 4), numbers(torch, 4, 3, 5)
    y = torch.tensordot(a, b, dims=([1, 2], [1, 0]))
    return [*grads(y * y, a, b), torch.tensordot(a, numbers(torch, 4, 2), dims=1)]


@case
def tensordot_of_sizes_that_differ(torch: Any) -> Any:
    return torch.tensordot(numbers(torch, 2, 3), numbers(torch, 2, 3), dims=1)


def attention(kind: str, torch: Any) -> Any:
    q, k, v = (numbers(torch, 2, 3, n, seed=i) for i, n in enumerate((4, 4, 5)))
    options = {
        "plain": {}, "causal": {"is_causal": True}, "scaled": {"scale": 0.3},
        "masked": {"attn_mask": torch.tensor(np.tri(3) > 0)},
        "shifted": {"attn_mask": numbers(torch, 3, 3)},
        "both": {"is_causal": True, "attn_mask": torch.tensor(np.tri(3) > 0)},
    }[kind]  # fmt: skip
    y = torch.nn.functional.scaled_dot_product_attention(q, k, v, **options)
    return grads(y * y, q, k, v)


for _name in ("plain", "causal", "scaled", "masked", "shifted", "both"):
    CASES[f"attention_{_name}"] = partial(attention, _name)


def heads(kind: str, torch: Any) -> Any:
    options: dict[str, Any] = {"other sizes": {"kdim": 3, "vdim": 5}, "no bias": {"bias": False},
                               "length first": {}}.get(kind, {"batch_first": True})  # fmt: skip
    layer = torch.nn.MultiheadAttention(4, 2, **options).double()
    with torch.no_grad():
        for i, p in enumerate(layer.parameters()):
            p.copy_(numbers(torch, *p.shape, seed=i))
    q = numbers(torch, 3, 2, 4)
    k = numbers(torch, 3, 2, 3 if kind == "other sizes" else 4, seed=1)
    v = numbers(torch, 3, 2, 5 if kind == "other sizes" else 4, seed=2)
    given: dict[str, Any] = {
        "masked": {"attn_mask": torch.tensor(np.triu(np.ones((2, 2)), 1) > 0)},
        "added": {"attn_mask": numbers(torch, 6, 2, 2).detach()},
        "padded": {"key_padding_mask": torch.tensor([[False, True]] * 3)},
        "each": {"average_attn_weights": False}, "no weights": {"need_weights": False},
        "causal without a mask": {"is_causal": True},
    }.get(kind, {})  # fmt: skip
    if kind == "no batch":
        q, k, v = (t[0] for t in (q, k, v))
    out, weights = layer(q, k, v, **given)
    (out * out).sum().backward()
    return [out, weights, [p.grad for p in layer.parameters()]]


for _name in (
    "batch first", "length first", "other sizes", "no bias", "masked", "added", "padded", "each",
    "no weights", "no batch", "causal without a mask",
):  # fmt: skip
    CASES[f"heads {_name}"] = partial(heads, _name)


@case
def heads_that_do_not_divide(torch: Any) -> Any:
    return torch.nn.MultiheadAttention(4, 3)


# ---------------------------------------------------------------- places
@case
def index_put_accumulates(torch: Any) -> Any:
    x, v = numbers(torch, 3, 4), numbers(torch, 2)
    y = x * 1
    y.index_put_((torch.tensor([0, 0]), torch.tensor([3, 3])), v, accumulate=True)
    return grads(y * y, x, v)


@case
def index_put_replaces(torch: Any) -> Any:
    x = numbers(torch, 3, 4)
    return grads(x.index_put((torch.tensor([0, -1]),), torch.tensor(5.0).double()) * x, x)


@case
def index_put_of_a_shape_that_does_not_fit(torch: Any) -> Any:
    return torch.zeros(3, 4).index_put_((torch.tensor([0, 1]),), torch.ones(3))


@case
def scatter_in_place(torch: Any) -> Any:
    x = torch.zeros(3, 4)
    at = torch.tensor([[3], [0], [1]])
    return x.scatter_(1, at, 9.0).clone(), x.scatter_add_(1, at, torch.ones(3, 1)), x


@case
def an_index_of_a_number(torch: Any) -> Any:
    return torch.tensor(3.0)[0]


@case
def medians(torch: Any) -> Any:
    x = numbers(torch, 3, 4)
    y = x.median() * 2 + x.median(1).values.sum() + x.median(dim=0, keepdim=True)[0].sum()
    hole = torch.tensor([[1.0, float("nan"), 0.0], [3.0, 2.0, 1.0]])
    return [
        *grads(y, x), x.median(0).indices, hole.median(), hole.median(1),
        torch.median(torch.tensor([3, 1, 2, 2])), torch.tensor(2.0).median(0),
    ]  # fmt: skip


@case
def different_values(torch: Any) -> Any:
    x = torch.tensor([[3, 1], [1, 2], [3, 1]])
    return [
        torch.unique(x), torch.unique(x, return_counts=True),
        x.unique(return_inverse=True, return_counts=True), x.unique(dim=0, return_inverse=True),
    ]  # fmt: skip


@case
def repeated(torch: Any) -> Any:
    x = numbers(torch, 2, 3)
    y = x.repeat_interleave(2, dim=1).sum(0) * torch.arange(6.0).double()
    return [
        *grads(y, x), torch.repeat_interleave(torch.tensor([4, 5]), torch.tensor([0, 2])),
        x.detach().repeat_interleave(torch.tensor([2, 1]), 0), x.detach().repeat_interleave(2),
    ]  # fmt: skip


@case
def repeated_by_too_many(torch: Any) -> Any:
    return torch.ones(2).repeat_interleave(torch.tensor([1, 2, 3]))


@case
def stacks(torch: Any) -> Any:
    a, b = numbers(torch, 2), numbers(torch, 2, seed=1)
    c = numbers(torch, 2, 2).detach()
    return [
        *grads(torch.vstack((a, b)) * c, a, b), torch.hstack([a, b]).detach(),
        torch.hstack((c, c)), torch.vstack([c, a.detach()]),
        torch.hstack([torch.tensor(1.0), torch.tensor(2.0)]),
    ]  # fmt: skip


@case
def numbers_for_what_is_none(torch: Any) -> Any:
    x = torch.tensor([float("nan"), float("inf"), -float("inf"), 1.0], requires_grad=True)
    y = torch.nan_to_num(x)
    y.sum().backward()
    return y, x.grad, x.detach().nan_to_num(2.0, 3.0, -3.0), torch.nan_to_num(torch.tensor([1]))


# ---------------------------------------------------------------- texts
@case
def texts_of_whole_floats(torch: Any) -> Any:
    rows = [1.0, 1999.0], [0.0, 999.0], [2.0, 1e9], [0.0, 0.0]
    return [str(torch.tensor(r)) for r in rows] + [str(torch.arange(2000.0))]


@case
def texts_that_reach_the_edge(torch: Any) -> Any:
    out = []
    for n in range(1, 9):
        x = torch.full((2, n), 0.25, requires_grad=True)
        out += [str(x * 2), str((x * 2).double()), str(x[0]), str(x.detach()[0].double())]
    return out


@case
def a_negative_size(torch: Any) -> Any:
    return torch.ones(2, -1)


# ---------------------------------------------------------------- limits of types, new tensors
@case
def limits(torch: Any) -> Any:
    out = []
    for name in ("float16", "bfloat16", "float32", "float64"):
        f = torch.finfo(getattr(torch, name))
        out += [f.bits, f.eps, f.max, f.min, f.tiny, f.smallest_normal, f.resolution, f.dtype]
    i = torch.iinfo(torch.int16)
    return [*out, torch.finfo().bits, i.bits, i.min, i.max, i.dtype]


@case
def finfo_of_integers(torch: Any) -> Any:
    return torch.finfo(torch.int32)


@case
def new_tensors_of_another_type(torch: Any) -> Any:
    x = torch.ones(1, dtype=torch.int32)
    return x.new_ones(2, dtype=torch.double), x.new_zeros((1, 2)), x.new_full((2,), 3)


@case
def old_classes_share_an_arrays_memory(torch: Any) -> Any:
    a = np.ones(3)
    t = torch.DoubleTensor(a)
    np.add(a, 1, out=a)
    return t


# ---------------------------------------------------------------- whole derivatives
def derivatives(torch: Any) -> Any:
    from importlib import import_module

    return import_module(f"{torch.__name__}.autograd.functional")


@case
def jacobians(torch: Any) -> Any:
    x, y = numbers(torch, 2, 2).detach(), numbers(torch, 2).detach()
    jacobian = derivatives(torch).jacobian
    z = y.clone().requires_grad_()
    found = jacobian(lambda a: a**3, z, create_graph=True)
    return [
        jacobian(lambda a, b: (a @ b, a.sum() * b), (x, y)), jacobian(lambda a: a * 2, y[0]),
        jacobian(lambda a: torch.ones(2), y), found, torch.autograd.grad(found.sum(), z),
    ]  # fmt: skip


@case
def hessians(torch: Any) -> Any:
    x, y = numbers(torch, 2, 2).detach(), numbers(torch, 2).detach()
    hessian = derivatives(torch).hessian
    return [hessian(lambda a, b: (a @ b).pow(2).sum(), (x, y)), hessian(lambda a: a.prod(), y)]


@case
def products_with_derivatives(torch: Any) -> Any:
    x, y = numbers(torch, 2, 2).detach(), numbers(torch, 2).detach()
    F = derivatives(torch)  # noqa: N806 - what it is called in programs
    ones = torch.ones(2).double()
    cube = lambda a: (a**3).sum()  # noqa: E731
    return [
        F.vjp(torch.exp, y, ones), F.jvp(lambda a, b: a @ b, (x, y), (x, ones)),
        F.vhp(cube, y, ones), F.hvp(cube, y, ones), F.vjp(cube, y),
    ]  # fmt: skip


for _name in ("hessian", "vjp", "hvp"):
    CASES[f"{_name}_of_several_numbers"] = partial(
        lambda name, torch: getattr(derivatives(torch), name)(lambda a: a * 2, torch.ones(2)),
        _name,
    )


@case
def jvp_of_another_shape(torch: Any) -> Any:
    return derivatives(torch).jvp(lambda a: a * 2, torch.ones(2), torch.ones(3))


# ---------------------------------------------------------------- hooks
def backward_hooks(kind: str, torch: Any) -> Any:
    lines = torch.nn.Linear(3, 2).double(), torch.nn.Tanh()
    with torch.no_grad():
        lines[0].weight.copy_(numbers(torch, 2, 3))
        lines[0].bias.zero_()
    seen: list[Any] = []

    def hook(module: Any, into: Any, out: Any) -> Any:
        seen.append([type(module).__name__, *into, *out])
        return tuple(g * 2 for g in into) if kind == "replaced" else None

    net = torch.nn.Sequential(*lines)
    handles = [m.register_full_backward_hook(hook) for m in lines]
    x = numbers(torch, 4, 3)
    if kind == "no gradient":
        x = x.detach()
    net(x).pow(2).sum().backward()
    for h in handles:
        h.remove()
    net(x).sum().backward()
    return [*seen, None if x.grad is None else x.grad, lines[0].weight.grad]


for _name in ("seen", "replaced", "no gradient"):
    CASES[f"backward_hooks_{_name}"] = partial(backward_hooks, _name)


@case
def a_gradient_penalty(torch: Any) -> Any:
    w, x = numbers(torch, 3, 1), numbers(torch, 4, 3)
    d = torch.tanh(x @ w)
    (g,) = torch.autograd.grad(
        outputs=d, inputs=x, grad_outputs=torch.ones_like(d), create_graph=True,
        retain_graph=True, only_inputs=True,
    )  # fmt: skip
    penalty = ((g.norm(2, dim=1) - 1) ** 2).mean()
    penalty.backward()
    return penalty, w.grad


@case
def the_oldest_form_of_a_function(torch: Any) -> Any:
    class Double(torch.autograd.Function):  # type: ignore[misc,name-defined]
        def forward(self, x: Any) -> Any:
            return x * 2

        def backward(self, g: Any) -> Any:
            return g * 2

    return Double()(torch.ones(2, requires_grad=True))


def main() -> None:
    """Record what the installed PyTorch gives."""
    import torch

    lines = ",\n".join(f"{json.dumps(n)}: {json.dumps(run(n, torch))}" for n in CASES)
    FILE.write_text("{\n" + lines + "\n}\n")


if __name__ == "__main__":
    main()
