"""The same with Hugging Face Accelerate (accelerate launch examples/accelerate_loop.py).

Works on one device and on several; gradients are averaged over the processes as usual.
"""

import sys

import torch
from accelerate import Accelerator
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset

import kdzoo

EPOCHS = int(sys.argv[1]) if len(sys.argv) > 1 else 10

torch.manual_seed(0)
digits = load_digits()
images = torch.tensor(digits.images, dtype=torch.float32)[:, None].expand(-1, 3, -1, -1) / 8 - 1
data = TensorDataset(images, torch.tensor(digits.target))
train, test = torch.utils.data.random_split(data, [1400, 397])

accelerator = Accelerator()
method = kdzoo.create_method("one", backbone="resnet8", num_classes=10, input_size=(3, 8, 8))
optimizer = torch.optim.SGD(method.optimizer_groups(lr=0.05), momentum=0.9, nesterov=True)
loader = DataLoader(train, batch_size=64, shuffle=True, drop_last=True)
model, optimizer, loader = accelerator.prepare(method, optimizer, loader)
hooks = accelerator.unwrap_model(model)
steps = EPOCHS * len(loader)

step = 0
for _ in range(EPOCHS):
    model.train()
    for x, y in loader:
        hooks.before_step()
        result = model(x, y, step / steps)
        accelerator.backward(sum(result.terms.values()))
        optimizer.step()
        optimizer.zero_grad()
        hooks.after_step()
        step += 1
    hooks.after_epoch()

if accelerator.is_main_process:
    method = accelerator.unwrap_model(model).eval()
    student = method.student()
    with torch.no_grad():
        x, y = next(iter(DataLoader(test, batch_size=len(test))))
        x, y = x.to(accelerator.device), y.to(accelerator.device)
        top1 = 100 * (student(x).argmax(1) == y).float().mean().item()
    print(f"student top-1 {top1:.2f} %")
