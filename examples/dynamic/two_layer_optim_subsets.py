"""Two optimizers, each for a part of the parameters ("optim: The optimization library").

The document says that parts of a model can have optimizers of their own; here the first layer has
Adam and the second one gradient descent with momentum.
"""

import argparse

import staticgraph.dynamic as torch
import staticgraph.dynamic.nn as nn
import staticgraph.dynamic.optim as optim

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--steps", type=int, default=500)
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()
torch.manual_seed(args.seed)

# N is the batch size, D_in and D_out are the sizes of input and output, H that of the hidden layer.
N, D_in, H, D_out = 64, 1000, 100, 10

x = torch.randn(N, D_in)
y = torch.randn(N, D_out)

model = nn.Sequential(nn.Linear(D_in, H), nn.ReLU(), nn.Linear(H, D_out))
loss_fn = nn.MSELoss(reduction="sum")

optimizers = [
    optim.Adam(model[0].parameters(), lr=1e-4),
    optim.SGD(model[2].parameters(), lr=1e-5, momentum=0.9),
]
for t in range(args.steps):
    y_pred = model(x)

    loss = loss_fn(y_pred, y)
    print(t, loss.item())

    model.zero_grad()
    loss.backward()
    for optimizer in optimizers:
        optimizer.step()
