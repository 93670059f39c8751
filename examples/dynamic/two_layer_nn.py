"""A net of two layers made of modules, updated by hand ("PyTorch: nn").

Changed for its age: `loss.item()` in the place of `loss.data[0]`.
"""

import argparse

import staticgraph.dynamic as torch
import staticgraph.dynamic.nn as nn
from staticgraph.dynamic.autograd import Variable

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--steps", type=int, default=500)
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()
torch.manual_seed(args.seed)

# N is the batch size, D_in and D_out are the sizes of input and output, H that of the hidden layer.
N, D_in, H, D_out = 64, 1000, 100, 10

x = Variable(torch.randn(N, D_in).uniform_(-1, 1))
y = Variable(torch.randn(N, D_out))

model = nn.Sequential(
    nn.Linear(D_in, H),
    nn.ReLU(),
    nn.Linear(H, D_out),
)

loss_fn = nn.MSELoss()

lr = 1e-2

for t in range(args.steps):
    y_pred = model(x)

    loss = loss_fn(y_pred, y)
    print(f"\rt = {t + 1:,}\tloss = {loss.item():.2f}", end="")

    model.zero_grad()
    loss.backward()

    for param in model.parameters():
        param.data -= lr * param.grad.data
print()
