"""The dynamic twin of a TensorFlow program ("PyTorch vs TensorFlow", 1000 inputs)."""

import argparse

import numpy as np

import staticgraph.dynamic as torch

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--steps", type=int, default=500)
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()
np.random.seed(args.seed)

# N is the batch size, D_in and D_out are the sizes of input and output, H that of the hidden layer.
N, D_in, H, D_out = 64, 1000, 100, 10

torch.manual_seed(args.seed + 1)
w1 = torch.randn(D_in, H).requires_grad_()
torch.manual_seed(args.seed + 2)
w2 = torch.randn(H, D_out).requires_grad_()

x = torch.from_numpy(np.random.randn(N, D_in)).float()
y = torch.from_numpy(np.random.randn(N, D_out)).float()

learning_rate = 1e-6
for _ in range(args.steps):
    y_pred = x.mm(w1).clamp(min=0).mm(w2)
    loss = (y - y_pred).pow(2.0).sum()
    print(loss.item())

    loss.backward()
    with torch.no_grad():
        w1 -= learning_rate * w1.grad
        w2 -= learning_rate * w2.grad
    w1.grad = w2.grad = None
