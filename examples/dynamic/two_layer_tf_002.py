"""The dynamic twin of a TensorFlow program ("TensorFlow: Static Graphs", 100 inputs)."""

import argparse

import numpy as np

import staticgraph.dynamic as torch

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--steps", type=int, default=500)
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()
np.random.seed(args.seed)

# N is the batch size, D_in and D_out are the sizes of input and output, H that of the hidden layer.
N, D_in, H, D_out = 64, 100, 1000, 10

torch.manual_seed(args.seed + 1)
w1 = torch.randn(D_in, H).requires_grad_()
torch.manual_seed(args.seed + 2)
w2 = torch.randn(H, D_out).requires_grad_()

x = torch.from_numpy(np.random.randn(N, D_in)).float()
y = torch.from_numpy(np.random.randn(N, D_out)).float()

lr = 1e-6

for t in range(args.steps):
    y_pred = x.mm(w1).clamp(min=0).mm(w2)
    loss = (y_pred - y).pow(2).sum()
    if t == 0:
        print(loss)
    print(f"\rt = {t + 1:,}\tLoss = {loss:.2f}", end="")

    loss.backward()
    with torch.no_grad():
        w1 -= lr * w1.grad
        w2 -= lr * w2.grad
    w1.grad = w2.grad = None
print()
