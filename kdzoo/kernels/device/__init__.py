"""Device code: the Triton kernels themselves, which :mod:`kdzoo.kernels` launches."""
