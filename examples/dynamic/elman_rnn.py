"""A simple Elman network in a Python loop ("RNNs").

The document shows the class alone, and calls its list by two names; here it is one, and the class
learns to give the running mean of sequences whose length changes from step to step.
"""

import argparse
import random

import staticgraph.dynamic as torch
import staticgraph.dynamic.nn as nn

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--steps", type=int, default=300)
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()
if args.steps < 1:
    parser.error("--steps must be at least 1")
torch.manual_seed(args.seed)
random.seed(args.seed)


class RNN(nn.Module):
    """h = relu(W_ih x + b_ih + W_hh h + b_hh), step by step."""

    def __init__(self, input_dim, hidden_dim):
        super(RNN, self).__init__()
        self.ih = nn.Linear(input_dim, hidden_dim)
        self.hh = nn.Linear(hidden_dim, hidden_dim)
        self.activation = nn.ReLU()

    def forward(self, input, hidden):
        """
        input: [seq_len x batch x input_dim] tensor
        hidden: [batch x hidden_dim] tensor
        """
        output = []
        for input_i in input:
            hidden = self.activation(self.ih(input_i) + self.hh(hidden))
            output.append(hidden)

        # from a list of tensors with two axes to one with three
        output = torch.stack(output)

        return output, hidden


batch, input_dim, hidden_dim = 8, 2, 16
rnn = RNN(input_dim, hidden_dim)
readout = nn.Linear(hidden_dim, input_dim)
optimizer = torch.optim.SGD([*rnn.parameters(), *readout.parameters()], lr=0.05)
for t in range(args.steps):
    seq_len = random.randint(3, 12)
    input = torch.randn(seq_len, batch, input_dim)
    mean = input.cumsum(0) / torch.arange(1.0, seq_len + 1).reshape(-1, 1, 1)

    output, hidden = rnn(input, torch.zeros(batch, hidden_dim))
    loss = (readout(output) - mean).pow(2).mean()
    if t % 20 == 19:
        print(t, seq_len, loss.item())

    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

print(f"Last hidden state: {list(hidden.shape)}, sum {hidden.sum().item()}")
