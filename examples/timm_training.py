"""A method with timm's optimizer, schedule, mixup and averaged weights (EMA), on timm's network.

python examples/timm_training.py
"""

import sys

import torch
from sklearn.datasets import load_digits
from timm.data import Mixup
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler
from timm.utils import ModelEmaV3
from torch.utils.data import DataLoader, TensorDataset

import kdzoo

EPOCHS = int(sys.argv[1]) if len(sys.argv) > 1 else 10

torch.manual_seed(0)
digits = load_digits()
images = torch.tensor(digits.images, dtype=torch.float32)[:, None].expand(-1, 3, -1, -1) / 8 - 1
images = torch.nn.functional.interpolate(images, scale_factor=4)
data = TensorDataset(images, torch.tensor(digits.target))
train, test = torch.utils.data.random_split(data, [1400, 397])
loader = DataLoader(train, batch_size=50, shuffle=True, drop_last=True)

method = kdzoo.create_method(
    "mbde", backbone="timm/test_resnet", num_classes=10, input_size=(3, 32, 32)
)
optimizer = create_optimizer_v2(method, opt="adamw", lr=2e-3, weight_decay=0.01)
steps = EPOCHS * len(loader)
schedule = CosineLRScheduler(optimizer, t_initial=steps, warmup_t=len(loader), t_in_epochs=False)
mixup = Mixup(mixup_alpha=0.2, label_smoothing=0.1, num_classes=10)  # labels: class probabilities
# Warmed up, a short training's average is not mostly of what the weights began with.
average = ModelEmaV3(method, decay=0.98, use_warmup=True)

step = 0
for _ in range(EPOCHS):
    method.train()
    for x, y in loader:
        method.before_step()
        result = method(*mixup(x, y), progress=step / steps)
        sum(result.terms.values()).backward()
        optimizer.step()
        optimizer.zero_grad()
        method.after_step()
        step += 1
        average.update(method, step)
        schedule.step_update(step)
    method.after_epoch()

student = average.module.student().eval()  # the averaged one; method.student() is the other
with torch.no_grad():
    x, y = next(iter(DataLoader(test, batch_size=len(test))))
    top1 = 100 * (student(x).argmax(1) == y).float().mean().item()
print(f"student top-1 {top1:.2f} %")
