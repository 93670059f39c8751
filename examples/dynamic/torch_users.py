"""Snippets on tensors ("PyTorch for Torch Users"): in place, indexing, numpy's memory.

The section on CUDA is left out: tensors live on the CPU.  Changed for its age: a `DoubleTensor` of
an array is a copy now, and what shares the array's memory is `from_numpy`.
"""

import argparse

import numpy as np

import staticgraph.dynamic as torch

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--steps", type=int, default=1, help="how often the last loop goes round")
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()
torch.manual_seed(args.seed)

# in place and out of place
a = torch.randn(4, 6)
a.fill_(3.5)
b = a.add(4.0)
print(a[0, 0], b[0, 0])

# counting from zero, and slices
a = torch.arange(24.0).view(4, 6)
b = a[0, 3]
print(b)
b = a[:, 3:5]
print(b)

# no camel casing
x = torch.ones(5, 5)
print(x)
z = torch.Tensor(5, 2)
z[:, 0] = 10
z[:, 1] = 100
print(z)
x.index_add_(1, torch.LongTensor([4, 0]), z)
print(x)

# a tensor's memory as an array
a = torch.ones(5)
print(a)
b = a.numpy()
print(b)
a.add_(1)
print(a)
print(b)

# an array's memory as a tensor
a = np.ones(5)
b = torch.from_numpy(a)
np.add(a, 1, out=a)
print(a)
print(b)

# tensors made inside the loop
for _ in range(args.steps):
    batch = torch.ones(2, 3)
    out = batch.cpu() * 2
    print(out)
