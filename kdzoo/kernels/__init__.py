"""Triton kernels for what cuDNN and PyTorch are slow at: convolutions of few channels, with BN."""
