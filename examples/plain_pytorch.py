"""A method in a plain PyTorch loop, on a network of one's own.

python examples/plain_pytorch.py
"""

import sys

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import kdzoo

EPOCHS = int(sys.argv[1]) if len(sys.argv) > 1 else 10


class Net(nn.Module):
    """Any network that ends in logits; MBDE cuts it into a trunk and branches by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.early = nn.Sequential(nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
        self.late = nn.Sequential(nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU())
        self.head = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.late(self.early(x)).mean((2, 3)))


torch.manual_seed(0)
digits = load_digits()
images = torch.tensor(digits.images, dtype=torch.float32)[:, None].expand(-1, 3, -1, -1) / 8 - 1
data = TensorDataset(images, torch.tensor(digits.target))
train, test = torch.utils.data.random_split(data, [1400, 397])
loader = DataLoader(train, batch_size=64, shuffle=True, drop_last=True)

network = Net()
method = kdzoo.create_method("mbde", backbone=network, num_classes=10, input_size=(3, 8, 8))
optimizer = torch.optim.SGD(method.optimizer_groups(lr=0.05), momentum=0.9, nesterov=True)
steps = EPOCHS * len(loader)
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)

step = 0
for _ in range(EPOCHS):
    method.train()
    for x, y in loader:
        method.before_step()
        result = method(x, y, progress=step / steps)  # how far the training is: some losses ramp up
        sum(result.terms.values()).backward()
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        method.after_step()
        step += 1
    method.after_epoch()

# What is deployed has the parameters of the network that one began with, under the same names.
network.load_state_dict(method.student().state_dict())
network.eval()
with torch.no_grad():
    x, y = next(iter(DataLoader(test, batch_size=len(test))))
    top1 = 100 * (network(x).argmax(1) == y).float().mean().item()
print(f"student top-1 {top1:.2f} %")
