"""Small programs for PyTorch's names; `tests/dynamic/torch_programs.py` has more.

Each takes the module and returns tensors, strings and numbers.  `recorded()` is what PyTorch 2.13
gave; where PyTorch refuses, the record is the word "refused".
"""

from __future__ import annotations

import json
import math
import operator
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

FILE = Path(__file__).parents[1] / "data" / "torch_cases.json"
CASES: dict[str, Callable[[Any], Any]] = {}


def case(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    CASES[function.__name__] = function
    return function


def numbers(torch: Any, *shape: int, lo: float = -2, hi: float = 2, seed: int = 0) -> Any:
    """A leaf of float64 numbers that are the same everywhere."""
    a = np.random.default_rng([seed, *shape]).uniform(lo, hi, shape)
    return torch.tensor(a).requires_grad_()


def grads(y: Any, *leaves: Any) -> list[Any]:
    """`y` and the gradients of its sum."""
    y.sum().backward()
    return [y, *[x.grad for x in leaves]]


# ---------------------------------------------------------------- elements
UNARY = (
    "neg abs sign exp expm1 log1p sin cos tan atan sinh cosh tanh asinh sigmoid relu erf erfc "
    "square floor ceil round trunc log2 log10 log sqrt rsqrt reciprocal lgamma digamma asin acos "
    "atanh acosh exp2 erfinv"
).split()
DOMAINS = dict.fromkeys("log log2 log10 sqrt rsqrt reciprocal lgamma digamma".split(), (0.2, 3.0))
DOMAINS |= dict.fromkeys("asin acos atanh erfinv".split(), (-0.9, 0.9))
DOMAINS |= {"acosh": (1.1, 3.0), "log1p": (-0.5, 2.0)}


def unary(name: str, torch: Any) -> Any:
    lo, hi = DOMAINS.get(name, (-2.0, 2.0))
    x = numbers(torch, 3, 2, lo=lo, hi=hi)
    y = getattr(torch, name)(x)
    if name in ("floor", "ceil", "round", "trunc", "sign"):
        return y.detach()
    return grads(y, x)


for _name in UNARY:
    CASES[f"unary_{_name}"] = partial(unary, _name)
    CASES[f"of_integers_{_name}"] = lambda torch, n=_name: getattr(torch, n)(
        torch.tensor([1, 2, 3])
    )

OPERATORS = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow")


def binary(name: str, torch: Any) -> Any:
    x, y = numbers(torch, 3, 2, lo=0.5), numbers(torch, 2, lo=0.5)
    z = getattr(operator, name)(x, y)
    return z.detach() if name == "floordiv" else grads(z, x, y)


PAIRS = [
    ("int", 2), ("int", 2.5), (2, "int"), (2.5, "int"), ("float", 3), (3, "float"),
    ("float", "int"), ("int", "double"), ("half", "float"), ("float", "scalar double"),
    ("int", "scalar float"), ("bool", "int"), ("bool", "bool"), ("byte", "int"),
]  # fmt: skip


def mixed(name: str, left: Any, right: Any, torch: Any) -> Any:
    tensors = {
        "int": torch.tensor([1, 2, 5]),
        "float": torch.tensor([1.5, 2, 5]),
        "double": torch.tensor([1.5, 2, 5], dtype=torch.float64),
        "half": torch.tensor([1.5, 2, 5], dtype=torch.float16),
        "scalar double": torch.tensor(2.0, dtype=torch.float64),
        "scalar float": torch.tensor(2.0),
        "bool": torch.tensor([True, False, True]),
        "byte": torch.tensor([1, 2, 5], dtype=torch.uint8),
    }
    a, b = (tensors[v] if isinstance(v, str) else v for v in (left, right))
    return getattr(operator, name)(a, b)


for _name in OPERATORS:
    CASES[f"binary_{_name}"] = partial(binary, _name)
    for _a, _b in PAIRS:
        if _name != "sub" or _a != "bool":
            CASES[f"{_a} {_name} {_b}"] = partial(mixed, _name, _a, _b)


# ---------------------------------------------------------------- reductions
REDUCTIONS = (
    "sum mean prod max min amax amin argmax argmin std var norm logsumexp all any"
).split()
SETTINGS: tuple[dict[str, Any], ...] = (
    {}, {"dim": 1}, {"dim": -1, "keepdim": True}, {"dim": (0, 1)},
)  # fmt: skip
ONE_AXIS = ("prod", "argmax", "argmin", "max", "min")


def reduction(name: str, settings: dict[str, Any], torch: Any) -> Any:
    x = numbers(torch, 3, 2)
    if name in ("all", "any"):
        return getattr(x.detach() > -1, name)(**settings)
    y = getattr(x, name)(**settings)
    if name.startswith("arg"):
        return y
    if isinstance(y, tuple):
        return [y[1], *grads(y[0], x)]
    return grads(y, x)


for _name in REDUCTIONS:
    for _settings in SETTINGS:
        if _name in ONE_AXIS and isinstance(_settings.get("dim"), tuple):
            continue
        if _name == "logsumexp" and not _settings:
            continue
        CASES[f"{_name} {_settings}"] = partial(reduction, _name, _settings)


@case
def sums_of_small_types(torch: Any) -> Any:
    return [
        torch.tensor([[1, 2], [3, 4]], dtype=torch.int32).sum(0), torch.tensor([True, True]).sum(),
    ]  # fmt: skip


@case
def mean_of_integers(torch: Any) -> Any:
    return torch.tensor([1, 2]).mean()


@case
def running(torch: Any) -> Any:
    x = numbers(torch, 3, 4)
    return grads(x.cumsum(1) * x.cumprod(0), x)


@case
def softmaxes(torch: Any) -> Any:
    x = numbers(torch, 3, 4)
    return grads(torch.softmax(x, 0) * torch.log_softmax(x, 1), x)


# ---------------------------------------------------------------- indices
def indexed(key: Callable[[Any, Any], Any], torch: Any) -> Any:
    x = numbers(torch, 4, 5, 3)
    y = x[key(torch, x)]
    return grads(y * y, x)


KEYS: dict[str, Callable[[Any, Any], Any]] = {
    "slices": lambda t, x: (slice(1, 3), slice(None, None, 2)),
    "last": lambda t, x: (..., None, -1),
    "tensor": lambda t, x: t.tensor([0, 2, 2]),
    "mask": lambda t, x: x > 0,
    "row mask": lambda t, x: t.tensor([True, False, True, False]),
    "lists": lambda t, x: ([0, 1], [2, -1]),
    "later axis": lambda t, x: (slice(None), t.tensor([1, 0])),
    "around a slice": lambda t, x: (1, slice(None), t.tensor([1, 0])),
    "scalar tensor": lambda t, x: t.tensor(2),
    "matrix of rows": lambda t, x: t.tensor([[0, 1], [3, 3]]),
}
for _name, _key in KEYS.items():
    CASES[f"x[{_name}]"] = partial(indexed, _key)


@case
def assigned_slices(torch: Any) -> Any:
    x = numbers(torch, 4, 5)
    y = x * 2
    y[1:3] = 0
    y[0, 0] += 5
    return grads(y * y, x)


@case
def assigned_mask_and_row(torch: Any) -> Any:
    x, w = numbers(torch, 4, 5), numbers(torch, 5)
    y = x * 2
    y[x > 0] = 1.5
    y[2] = w
    return grads(y * y, x, w)


@case
def assigned_into_zeros(torch: Any) -> Any:
    w = numbers(torch, 2, 3)
    y = torch.zeros(4, 3, dtype=torch.float64)
    y[1:3] = w
    return grads(y * y, w)


@case
def changed_view(torch: Any) -> Any:
    w = numbers(torch, 2, 3)
    y = torch.zeros(4, 3, dtype=torch.float64)
    v = y[1:3]
    v.copy_(w)
    v.mul_(2)
    return grads(y * y, w)


@case
def changed_transpose(torch: Any) -> Any:
    x = numbers(torch, 4, 3)
    y = x.clone()
    v = y.t()
    v[0] *= 3
    return grads(y * v.t() * x, x)


@case
def other_view_of_a_changed_tensor(torch: Any) -> Any:
    x = numbers(torch, 4, 3)
    y = x * 1
    v = y[2]
    y.mul_(2)
    return grads(v * v, x)


@case
def chosen(torch: Any) -> Any:
    x = numbers(torch, 3, 4)
    i = torch.tensor([[0, 1], [2, 3], [1, 1]])
    y = (x.gather(1, i) ** 2).sum() + (x.masked_fill(x > 0, -1.0) ** 2).sum()
    return grads(y + x.index_select(1, torch.tensor([3, 0])).pow(3).sum(), x)


@case
def ordered(torch: Any) -> Any:
    x = numbers(torch, 3, 4)
    values, places = x.sort(descending=True)
    top = x.topk(2)
    y = (values * torch.arange(4)).sum() + top[0].pow(2).sum()
    return [places, top[1], *grads(y, x)]


@case
def scattered(torch: Any) -> Any:
    s = numbers(torch, 2, 5)
    i = torch.tensor([[0, 1, 2, 0, 0], [2, 0, 0, 1, 2]])
    y = torch.zeros(3, 5, dtype=torch.float64).scatter_add(0, i, s)
    return grads(y * y, s)


@case
def triangles(torch: Any) -> Any:
    x = numbers(torch, 4, 4)
    return grads(x.tril(-1) * x.triu(1).t() + torch.diag(x), x)


@case
def clamped(torch: Any) -> Any:
    x = numbers(torch, 3, 4)
    y = x.clamp(min=0).sum() + x.clamp(-1, 1).pow(2).sum() + x.clamp(max=0.5).sum()
    return grads(y, x)


@case
def wheres(torch: Any) -> Any:
    x, y = numbers(torch, 3, 4), numbers(torch, 4)
    return grads(torch.where(x > 0, x * y, 0.5), x, y)


@case
def extremes_of_two(torch: Any) -> Any:
    x, y = numbers(torch, 3, 4), numbers(torch, 3, 4, seed=1)
    return grads(torch.max(x, y) + torch.minimum(x, y).pow(2), x, y)


# ---------------------------------------------------------------- shapes and products
@case
def rearranged(torch: Any) -> Any:
    x = numbers(torch, 2, 3, 4)
    y = x.permute(2, 0, 1).reshape(4, -1).t().unsqueeze(0).squeeze(0).flatten()
    y = y.view(6, 4).transpose(0, 1)
    return grads(y * y.detach(), x)


@case
def joined_and_cut(torch: Any) -> Any:
    x, y = numbers(torch, 3, 4), numbers(torch, 2, 4)
    z = (torch.cat([x, y]) ** 2).sum() + torch.stack([x, x * 2], 1).sum()
    a, b = y.chunk(2)
    c = x.split([1, 3], 1)
    return grads(z + (a**2).sum() + b.sum() + (c[1] ** 3).sum(), x, y)


@case
def repeated(torch: Any) -> Any:
    x = numbers(torch, 3, 1)
    return grads((x.expand(3, 4) * 2).sum() + x.repeat(2, 2).pow(2).sum(), x)


SHAPES = [((3, 4), (4, 2)), ((2, 3, 4), (4, 2)), ((4,), (4, 2)), ((2, 3, 4), (4,)), ((4,), (4,)),
          ((2, 1, 3, 4), (5, 4, 2))]  # fmt: skip


def product(left: tuple[int, ...], right: tuple[int, ...], torch: Any) -> Any:
    a, b = numbers(torch, *left), numbers(torch, *right)
    return grads((a @ b).pow(2).sum(), a, b)


for _left, _right in SHAPES:
    CASES[f"{_left} @ {_right}"] = partial(product, _left, _right)


# ---------------------------------------------------------------- autograd
@case
def second_order(torch: Any) -> Any:
    x, w = numbers(torch, 3, lo=0.5), numbers(torch, 3, lo=0.5, seed=1)
    y = (x**w * torch.sin(x) / w).sum()
    first = torch.autograd.grad(y, (x, w), create_graph=True)
    return [*first, *torch.autograd.grad((first[0] * first[1]).sum(), (x, w))]


@case
def four_orders(torch: Any) -> Any:
    x = torch.tensor(2.0, requires_grad=True)
    y, out = x**4, []
    for _ in range(4):
        (y,) = torch.autograd.grad(y, x, create_graph=True)
        out.append(y)
    return out


@case
def retained(torch: Any) -> Any:
    x = numbers(torch, 3)
    y = x * 2
    y.retain_grad()
    (y**2).sum().backward()
    return [y.grad, x.grad]


@case
def hooked(torch: Any) -> Any:
    x = numbers(torch, 3)
    y = x * 2
    y.register_hook(lambda g: g * 10)
    x.register_hook(lambda g: g + 1)
    (y**2).sum().backward()
    return x.grad


@case
def accumulated(torch: Any) -> Any:
    x = numbers(torch, 3)
    (x * 2).sum().backward()
    (x * 3).sum().backward()
    return x.grad


@case
def only_some_inputs(torch: Any) -> Any:
    x, w = numbers(torch, 3), numbers(torch, 3, seed=1)
    y = x * w
    z = (y * y).sum()
    inner = torch.autograd.grad(z, [y, x], retain_graph=True)
    unused = torch.autograd.grad(z, [x, numbers(torch, 2)], retain_graph=True, allow_unused=True)
    z.backward(inputs=[x])
    return [*inner, *unused, x.grad, w.grad]


@case
def in_place_after_exp(torch: Any) -> Any:
    x = numbers(torch, 3)
    y = x.exp()
    y.add_(1)
    y.sum().backward()
    return x.grad


@case
def in_place_where_nothing_is_saved(torch: Any) -> Any:
    x, w = numbers(torch, 3), numbers(torch, 3, seed=1)
    y = x * 2
    y.add_(1)
    y.mul_(w)
    return grads(y, x, w)


@case
def in_place_after_a_product(torch: Any) -> Any:
    x, w = numbers(torch, 3), numbers(torch, 3, seed=1)
    y = x * 2
    z = y * w
    y.add_(1)
    z.sum().backward()
    return x.grad


@case
def leaf_in_place(torch: Any) -> Any:
    return numbers(torch, 3).add_(1)


@case
def backward_twice(torch: Any) -> Any:
    x = numbers(torch, 3)
    y = (x * x).sum()
    y.backward()
    y.backward()


@case
def backward_from_a_vector(torch: Any) -> Any:
    (numbers(torch, 3) * 2).backward()


@case
def unused_input(torch: Any) -> Any:
    return torch.autograd.grad(numbers(torch, 3).sum(), numbers(torch, 2))


@case
def integers_to_negative_powers(torch: Any) -> Any:
    return torch.tensor([1, 2]) ** -1


# ---------------------------------------------------------------- making and printing
@case
def made(torch: Any) -> Any:
    return [
        torch.linspace(-math.pi, math.pi, 50), torch.linspace(0, 1, 7), torch.arange(0, 1, 0.3),
        torch.arange(5), torch.arange(2, 10, 3), torch.eye(3), torch.full((2,), 3),
        torch.full((2,), 3.0), torch.tensor([[1, 2], [3, 4]]), torch.tensor([True]),
        torch.zeros(2, 0), torch.ones(2, dtype=torch.double), torch.zeros_like(torch.arange(3)),
    ]  # fmt: skip


@case
def printed(torch: Any) -> Any:
    values = (
        [1.0, 2.0], [1.5, 2.25], [1e-5, 1.0], [1e9, 1.0], [[1, 2], [30, 4]], math.pi, True,
        [True, False], [math.nan, 1.0], [math.inf, 1.0], [1e5, 2e5, 1.5], [0.1, 1000.5],
        [-1.0, 2.0], [], [[]], [0.0, 10.0],
    )  # fmt: skip
    tensors = [torch.tensor(v) for v in values]
    x = torch.ones(2, requires_grad=True)
    tensors += [
        torch.zeros(2, 0), torch.arange(2000), torch.zeros(60, 50), torch.zeros(2, 2, 2), x, x * 2,
        torch.zeros(2, 3, dtype=torch.float64), torch.arange(40) / 7, x.sum(), x.exp(), x[0],
        torch.zeros(3, dtype=torch.int32), torch.full((30,), 1.234, dtype=torch.float64),
    ]  # fmt: skip
    return [*[repr(t) for t in tensors], repr(tensors[-1].shape), f"{torch.tensor(1.5):.3f}"]


# ---------------------------------------------------------------- the record
def plain(value: Any, torch: ModuleType) -> Any:
    """A result as JSON has it."""
    if isinstance(value, torch.Tensor):
        kind = getattr(value.dtype, "name", None) or str(value.dtype).removeprefix("torch.")
        array = value.detach().numpy().astype("float64")
        return {
            "dtype": kind,
            "shape": list(array.shape),
            "values": [float(f"{v:.7g}") for v in array.ravel()],
        }
    if isinstance(value, (tuple, list)):
        return [plain(v, torch) for v in value]
    return value


def run(name: str, torch: ModuleType) -> Any:
    """What a case gives, or "refused"."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return plain(CASES[name](torch), torch)
    except (RuntimeError, TypeError, ValueError, IndexError, AssertionError):
        return "refused"


def recorded() -> dict[str, Any]:
    """What PyTorch gave."""
    found: dict[str, Any] = json.loads(FILE.read_text())
    return found
