"""How fast kdzoo trains, beside plain PyTorch and beside a trainer as research code has it.

    python -m benchmarks.speed                                      # every method on resnet32, fp32
    python -m benchmarks.speed one okddip --backbone resnet110 vgg16
    python -m benchmarks.speed mbde --precision fp32 bf16 compiled --json speed.json
    python -m benchmarks.speed one --images FOLDER --epochs 8       # whole epochs, real images

Three contestants take turns in one process, so that whatever else the machine does meets them all:

- **kdzoo**: a run as ``kdzoo run`` makes it, timed between the calls of its display: data,
  augmentation, step, schedule and training metrics; an epoch with evaluation and checkpoint.
- **bare**: the same networks in ten lines of plain PyTorch on one batch that is always the same:
  forward, the cross-entropy of each peer, backward, SGD. No distillation, no data.
- **conventional**: the method in a trainer as research code usually is: float32, NCHW, a loop over
  branches, ``.item()`` in each step, torchvision transforms of PIL images in a DataLoader.

The table has medians [and minima] of steps, in milliseconds, and means of epochs, in seconds: kdzoo
evaluates after as many of them as it does by default, and the conventional trainer after each.
"""
