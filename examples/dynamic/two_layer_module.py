"""A net of two layers as a module of its own ("PyTorch: Custom nn Modules").

Changed for its age: `loss.item()` in the place of `loss.data[0]`.
"""

import argparse

import staticgraph.dynamic as torch
import staticgraph.dynamic.nn as nn
import staticgraph.dynamic.optim as optim
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


class TwoLayer(nn.Module):
    """Two linear layers with a relu between them."""

    def __init__(self, D_in, H, D_out):
        super(TwoLayer, self).__init__()
        self.linear1 = nn.Linear(in_features=D_in, out_features=H)
        self.linear2 = nn.Linear(in_features=H, out_features=D_out)

    def forward(self, x):
        h_relu = self.linear1(x).clamp(min=0)
        y_pred = self.linear2(h_relu)

        return y_pred


model = TwoLayer(D_in, H, D_out)

criterion = nn.MSELoss()
optimizer = optim.SGD(model.parameters(), lr=1e-2)

for t in range(args.steps):
    y_pred = model(x)

    loss = criterion(y_pred, y)
    print(f"\rt = {t + 1:,}\tloss = {loss.item():.2f}", end="")

    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print()
