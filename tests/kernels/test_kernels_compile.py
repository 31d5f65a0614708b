"""The kernels compile, which the interpreter that the other tests run them in does not need."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton.backends.nvidia")

KERNELS = {
    "add_shares",
    "convolve",
    "convolve_back",
    "convolve_image",
    "gradient_sums",
    "image_weight_gradient_shares",
    "normalise",
    "normalise_back",
    "weight_gradient_shares",
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("capability", "kibibytes", "kernels"),
    [(86, 99, KERNELS), (90, 227, KERNELS | {"convolve_by_rows"})],
)
def test_every_kernel_compiles_and_has_the_memory_it_needs(
    capability, kibibytes, kernels, tmp_path
):
    script = Path(__file__).with_name("compile_kernels.py")
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, script, str(capability)],
        env={**environment, "TRITON_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    memory = [line.split() for line in done.stdout.splitlines()]
    assert {name for name, _ in memory} == kernels
    assert all(int(size) <= 1024 * kibibytes for _, size in memory)
