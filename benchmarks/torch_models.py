"""The measured models in PyTorch, and a process that trains one for as many steps as it is told.

Started by models.py, once for each core: reads a line, trains that many steps, and prints the seconds of one.
"""

# PyTorch is in the extra `bench`.
# pyright: reportMissingImports=false
from __future__ import annotations

import itertools
import sys
import time

import torch
from torch import nn
from torch.nn import functional


class MLP(nn.Module):
    """784-256-10."""

    def __init__(self):
        super().__init__()
        self.hidden, self.output = nn.Linear(784, 256), nn.Linear(256, 10)

    def forward(self, x):
        return self.output(functional.relu(self.hidden(x.flatten(1))))


class Net2c2d(nn.Module):
    """DeepOBS' 2c2d."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 32, 5, padding=2), nn.Conv2d(32, 64, 5, padding=2)
        self.hidden, self.output = nn.Linear(3136, 1024), nn.Linear(1024, 10)

    def forward(self, x):
        for layer in (self.first, self.second):
            x = functional.max_pool2d(functional.relu(layer(x)), 2)
        return self.output(functional.relu(self.hidden(x.flatten(1))))


class Net3c3d(nn.Module):
    """DeepOBS' 3c3d; its pooling pads on one side alone, with what never wins."""

    def __init__(self):
        super().__init__()
        self.convolutions = nn.ModuleList([nn.Conv2d(3, 64, 5), nn.Conv2d(64, 96, 3), nn.Conv2d(96, 128, 3, padding=1)])
        self.dense = nn.ModuleList(nn.Linear(i, o) for i, o in itertools.pairwise((1152, 512, 256, 10)))

    def forward(self, x):
        for layer in self.convolutions:
            x = functional.max_pool2d(functional.pad(functional.relu(layer(x)), (0, 1, 0, 1)), 3, 2)
        x = x.flatten(1)
        for layer in self.dense[:-1]:
            x = functional.relu(layer(x))
        return self.dense[-1](x)


class Block(nn.Module):
    def __init__(self, channels, features, stride):
        super().__init__()
        self.first = nn.Conv2d(channels, features, 3, stride, padding=1, bias=False)
        self.second = nn.Conv2d(features, features, 3, padding=1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(features) for _ in range(2))
        self.stride, self.more = stride, features - channels

    def forward(self, x):
        branch = self.norms[1](self.second(functional.relu(self.norms[0](self.first(x)))))
        shortcut = functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.more))
        return functional.relu(shortcut + branch)


class ResNet8(nn.Module):
    """He et al.'s ResNet for small images, with one block in each stage."""

    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.blocks = nn.ModuleList([Block(16, 16, 1), Block(16, 32, 2), Block(32, 64, 2)])
        self.output = nn.Linear(64, 10)

    def forward(self, x):
        x = functional.relu(self.norm(self.first(x)))
        for block in self.blocks:
            x = block(x)
        return self.output(x.mean((2, 3)))


MODELS = {"mlp": MLP, "2c2d": Net2c2d, "3c3d": Net3c3d, "resnet": ResNet8}
IMAGES = {"mlp": (1, 28, 28), "2c2d": (1, 28, 28), "3c3d": (3, 32, 32), "resnet": (3, 32, 32)}


def main() -> None:
    """Trains; the arguments are model, batch size, "contiguous" or "channels_last", device, and dtype."""
    name, batch, layout, device, dtype = sys.argv[1:]
    if device == "cpu":
        torch.set_num_threads(1)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = dtype == "tf32"
    torch.backends.cudnn.benchmark = True
    layout = getattr(torch, layout + ("_format" if layout == "contiguous" else ""))
    model = MODELS[name]().to(device, memory_format=layout)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    images = torch.randn(6400, *IMAGES[name], device=device)
    labels = torch.randint(0, 10, (6400,), device=device)

    def step() -> None:
        rows = torch.randint(0, 6400, (int(batch),), device=device)
        optimizer.zero_grad()
        with torch.autocast(device, torch.bfloat16, enabled=dtype == "bfloat16"):
            loss = functional.cross_entropy(model(images[rows].to(memory_format=layout)), labels[rows])
        loss.backward()
        optimizer.step()

    for line in sys.stdin:
        steps = int(line)
        begin = time.perf_counter()
        for _ in range(steps):
            step()
        if device == "cuda":
            torch.cuda.synchronize()
        print((time.perf_counter() - begin) / steps, flush=True)


if __name__ == "__main__":
    main()
