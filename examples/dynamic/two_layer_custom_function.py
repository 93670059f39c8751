"""A relu with a backward of its own ("PyTorch: Defining new autograd functions").

Changed for its age: `loss.item()` in the place of `loss.data[0]`.
"""

import argparse

import staticgraph.dynamic as torch
from staticgraph.dynamic.autograd import Variable

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--steps", type=int, default=500)
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()
torch.manual_seed(args.seed)


class MyReLU(torch.autograd.Function):
    """max(0, x)."""

    @staticmethod
    def forward(ctx, input):
        """Keep the input: `backward` needs it."""
        ctx.save_for_backward(input)
        return input.clamp(min=0)

    @staticmethod
    def backward(ctx, grad_output):
        """The gradient of the output where the input was positive."""
        (input,) = ctx.saved_tensors
        grad_input = grad_output.clone()
        grad_input[input < 0] = 0
        return grad_input


dtype = torch.cuda.FloatTensor if torch.cuda.is_available() else torch.FloatTensor

# N is the batch size, D_in and D_out are the sizes of input and output, H that of the hidden layer.
N, D_in, H, D_out = 64, 1000, 100, 10

x = Variable(torch.randn(N, D_in).type(dtype), requires_grad=False)
y = Variable(torch.randn(N, D_out).type(dtype), requires_grad=False)

w1 = Variable(torch.randn(D_in, H).type(dtype), requires_grad=True)
w2 = Variable(torch.randn(H, D_out).type(dtype), requires_grad=True)

lr = 1e-6

for t in range(args.steps):
    relu = MyReLU.apply

    y_pred = relu(x.mm(w1)).mm(w2)

    loss = (y_pred - y).pow(2).sum()
    print(f"\rt = {t + 1:,}\tloss = {loss.item():.2f}", end="")

    loss.backward()

    w1.data -= lr * w1.grad.data
    w2.data -= lr * w2.grad.data

    w1.grad.data.zero_()
    w2.grad.data.zero_()
print()
