"""A method as a LightningModule (pip install lightning).

python examples/lightning_module.py

The loop, devices, precision and callbacks are Lightning's; the method is the module's only part.
"""

import sys

import lightning as L
import torch
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset

import kdzoo

EPOCHS = int(sys.argv[1]) if len(sys.argv) > 1 else 10


class Distillation(L.LightningModule):
    def __init__(self, name: str, backbone: str, lr: float = 0.05) -> None:
        super().__init__()
        self.save_hyperparameters()  # so that load_from_checkpoint can build it again
        self.method = kdzoo.create_method(
            name, backbone=backbone, num_classes=10, input_size=(3, 8, 8)
        ).train()  # Lightning leaves modules in the mode that it finds them in

    def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
        x, y = batch
        progress = self.global_step / self.trainer.estimated_stepping_batches
        result = self.method(x, y, progress=progress)
        self.log_dict({f"train/{name}": term for name, term in result.terms.items()})
        return sum(result.terms.values(), torch.zeros((), device=x.device))

    def optimizer_step(self, *args: object, **kwargs: object) -> None:
        self.method.before_step()
        super().optimizer_step(*args, **kwargs)  # the forward pass is in it
        self.method.after_step()

    def on_train_epoch_end(self) -> None:
        self.method.after_epoch()

    def on_validation_start(self) -> None:
        self.student = self.method.student().eval()

    def validation_step(self, batch: list[torch.Tensor], batch_idx: int) -> None:
        x, y = batch
        self.log("top1", 100 * (self.student(x).argmax(1) == y).float().mean(), prog_bar=True)

    def configure_optimizers(self) -> dict:
        groups = self.method.optimizer_groups(lr=self.hparams.lr)
        optimizer = torch.optim.SGD(groups, momentum=0.9)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }


L.seed_everything(0)
digits = load_digits()
images = torch.tensor(digits.images, dtype=torch.float32)[:, None].expand(-1, 3, -1, -1) / 8 - 1
data = TensorDataset(images, torch.tensor(digits.target))
train, test = torch.utils.data.random_split(data, [1400, 397])

module = Distillation("one", backbone="resnet8")
trainer = L.Trainer(
    max_epochs=EPOCHS, logger=False, enable_checkpointing=False, enable_progress_bar=False
)
trainer.fit(
    module,
    DataLoader(train, batch_size=64, shuffle=True, drop_last=True),
    DataLoader(test, batch_size=397),
)
print(f"student top-1 {trainer.callback_metrics['top1'].item():.2f} %")
