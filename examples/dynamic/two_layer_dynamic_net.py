"""A net whose depth changes from step to step ("Control Flow and Weight Sharing").

Changed for its age: `loss.item()` in the place of `loss.data[0]`, and `set_to_none=False`, which is
what `zero_grad` did then: a layer that a step leaves out keeps moving by its momentum.
`size_average=False` is understood, with a warning that it is called reduction="sum" now.
"""

import argparse
import random

import staticgraph.dynamic as torch
from staticgraph.dynamic.autograd import Variable

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--steps", type=int, default=500)
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()
torch.manual_seed(args.seed)
random.seed(args.seed)


class DynamicNet(torch.nn.Module):
    """The middle layer is applied up to three times, by chance, with one set of weights."""

    def __init__(self, D_in, H, D_out):
        super(DynamicNet, self).__init__()
        self.input_linear = torch.nn.Linear(D_in, H)
        self.middle_linear = torch.nn.Linear(H, H)
        self.output_linear = torch.nn.Linear(H, D_out)

    def forward(self, x):
        """Python's own control flow: each call records a graph of its own."""
        h_relu = self.input_linear(x).clamp(min=0)
        for _ in range(random.randint(0, 3)):
            h_relu = self.middle_linear(h_relu).clamp(min=0)
        y_pred = self.output_linear(h_relu)
        return y_pred


# N is the batch size, D_in and D_out are the sizes of input and output, H that of the hidden layer.
N, D_in, H, D_out = 64, 1000, 100, 10

x = Variable(torch.randn(N, D_in))
y = Variable(torch.randn(N, D_out), requires_grad=False)

model = DynamicNet(D_in, H, D_out)

criterion = torch.nn.MSELoss(size_average=False)
optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)
for t in range(args.steps):
    y_pred = model(x)

    loss = criterion(y_pred, y)
    print(t, loss.item())

    optimizer.zero_grad(set_to_none=False)
    loss.backward()
    optimizer.step()
