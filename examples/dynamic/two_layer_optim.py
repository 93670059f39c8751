"""A net of two layers trained by Adam ("optim: The optimization library").

Changed for its age: `loss.item()` in the place of `loss.data[0]`.  `size_average=False` is
understood, with a warning that it is called reduction="sum" now.
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

x = Variable(torch.randn(N, D_in))
y = Variable(torch.randn(N, D_out), requires_grad=False)


class TwoLayerNet(nn.Module):
    """Two linear layers with a relu between them."""

    def __init__(self, D_in, H, D_out):
        super(TwoLayerNet, self).__init__()
        self.linear1 = nn.Linear(D_in, H)
        self.linear2 = nn.Linear(H, D_out)

    def forward(self, x):
        h_relu = self.linear1(x).clamp(min=0)
        y_pred = self.linear2(h_relu)
        return y_pred


model = TwoLayerNet(D_in, H, D_out)
loss_fn = nn.MSELoss(size_average=False)

optimizer = optim.Adam(model.parameters(), lr=1e-4)
for t in range(args.steps):
    y_pred = model(x)

    loss = loss_fn(y_pred, y)
    print(t, loss.item())

    model.zero_grad()
    loss.backward()
    optimizer.step()
