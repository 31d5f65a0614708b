"""torch.compile of a training step: when it pays, and what is done where it cannot be."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from kdzoo.home import cache_folder
from kdzoo.methods.base import Method
from kdzoo.peers.cost import measure_cost

FIRST_SECONDS = 5.0
LEAF_SECONDS = 0.36
"""Compiling takes so long, and so long more for each module without modules in it."""
SECONDS_SAVED = 2e-12
"""On a CPU with AVX-512, a compiled step saves so much on one thread for each multiply-add of its
samples' forward passes (docs/performance.md)."""
RECOMPILED = 4
"""So many graphs more than those of the first step are worth a line: none should be needed."""

CACHE = "TORCHINDUCTOR_CACHE_DIR"


def should_compile(
    method: Method, input_size: tuple[int, int, int], samples: int, steps: int
) -> bool:
    """Whether compiling a method's step saves more time than it takes.

    That follows from the sizes of the networks and of the training, from the number of threads and
    from the kind of CPU, never from a clock. It is yes on CPUs with AVX-512 alone: on those with
    AVX2 a compiled step is not reliably faster, and elsewhere nothing has been measured.

    Args:
        method: on its device.
        input_size: (C, H, W).
        samples: of a step in this process, each view of one counted.
        steps: of the whole training.
    """
    if next(method.parameters()).device.type != "cpu":
        return False
    if not torch.backends.cpu.get_cpu_capability().startswith("AVX512"):
        return False
    leaves = sum(1 for module in method.modules() if not any(module.children()))
    multiply_adds = measure_cost(method.peers, input_size)["macs"] * samples
    saved = SECONDS_SAVED * multiply_adds / torch.get_num_threads()
    return steps * saved > FIRST_SECONDS + LEAF_SECONDS * leaves


class StepCompiler:
    """Compiles the step of a method, which then computes the same but for rounding.

    Compiled code is kept in kdzoo's cache, or where ``TORCHINDUCTOR_CACHE_DIR`` says.

    Args:
        method: on its device, in training mode.
        say: told what makes a compiled step slower than it could be.
        cuda_graphs: let the compiled code be replayed as CUDA graphs.

    Attributes:
        failed: why torch could not compile a later step, such as one of another shape, which was
            then carried out as it is written; None as long as it could.
    """

    def __init__(
        self, method: Method, say: Callable[[str], None], cuda_graphs: bool = False
    ) -> None:
        self.method = method
        self.failed: str | None = None
        self._say = say
        # dropout and the like draw what they draw in a step that is not compiled
        self._options = {"fallback_random": True, "triton.cudagraphs": cuda_graphs}
        # the first steps with CUDA graphs prepare and record them
        self._trials = 3 if cuda_graphs else 1
        self._trying = True
        self._graphs = 0
        self._expected = RECOMPILED

    def compile(self, *inputs: Tensor) -> str | None:
        """Compile the method and try it out on a batch, which leaves no trace in either case.

        Args:
            inputs: as :meth:`Method.forward` is given them in training, also in their layout in
                memory.

        Returns:
            Why it cannot be compiled; None where it can.
        """
        os.environ.setdefault(CACHE, str(cache_folder() / "inductor"))
        from torch._dynamo.utils import counters  # seconds of import that eager runs do not need

        before = Counter(counters["graph_break"])
        device = inputs[0].device
        try:
            if device.type == "cpu":
                _find_cpp_compiler()
            self.method.compile(backend=self._inductor)
            for _ in range(self._trials):
                with _without_trace(self.method, device):
                    _step(self.method, *inputs)
        except Exception as error:  # whatever comes from torch, a C++ compiler or a foreign method
            self.give_up()
            return _reason(error)
        self._trying = False
        self._expected += self._graphs
        self._let_later_ones_fail()
        breaks = Counter(counters["graph_break"]) - before
        if breaks:
            first = next(iter(breaks)).strip().splitlines()[0]
            self._say(
                f"torch.compile leaves its graph for Python in {breaks.total()} places "
                f"({first}), which makes the step slower."
            )
        return None

    def give_up(self) -> None:
        """From here on the method is carried out as it is written."""
        self.method._compiled_call_impl = None  # torch has no public inverse of Module.compile

    def _let_later_ones_fail(self) -> None:
        """What torch can trace no more is carried out as it is written; torch itself warns then."""
        from torch._dynamo import config

        compiled = cast(Callable[..., Any], self.method._compiled_call_impl)

        def call(*args: Any, **kwargs: Any) -> Any:
            with config.patch(suppress_errors=True):
                return compiled(*args, **kwargs)

        self.method._compiled_call_impl = call

    def _inductor(self, graph: GraphModule, inputs: Sequence[Any]) -> Callable[..., Any]:
        from torch._functorch import config
        from torch._inductor.compile_fx import compile_fx

        from kdzoo.training.inductor import CPU_OPTIONS

        on_cpu = next(self.method.parameters()).device.type == "cpu"
        options = {**self._options, **(CPU_OPTIONS if on_cpu else {})}
        self._graphs += 1
        if self._graphs == self._expected + 1 and not self._trying:
            self._say(
                f"torch.compile has compiled {self._graphs} graphs of this step: something in the "
                "method changes from step to step that is no tensor. training.compile=false may "
                "be faster."
            )
        try:
            # forward and backward at once: what cannot be compiled is known before it has begun
            with config.patch(force_non_lazy_backward_lowering=True):
                compiled = compile_fx(graph, inputs, config_patches=options)
        except Exception as error:
            if self._trying:
                raise
            self.failed = _reason(error)
            return graph
        return cast(Callable[..., Any], compiled)


def _find_cpp_compiler() -> None:
    """Raises where there is none, before the seconds in which torch would come to need it."""
    from torch._inductor.cpp_builder import get_cpp_compiler

    get_cpp_compiler()


def _step(method: Method, *inputs: Tensor) -> None:
    loss = torch.stack(list(method(*inputs).terms.values())).sum()
    trained = [parameter for parameter in method.parameters() if parameter.requires_grad]
    # unlike backward(), this calls no hooks of parameters, such as those of distributed training
    torch.autograd.grad(loss, trained, allow_unused=True)


@contextmanager
def _without_trace(module: nn.Module, device: torch.device) -> Iterator[None]:
    """Put buffers, such as batch norm's statistics, and the random state back as they were."""
    before = [(buffer, buffer.clone()) for buffer in module.buffers()]
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield
    finally:
        with torch.no_grad():
            for buffer, was in before:
                buffer.copy_(was)


def _reason(error: BaseException) -> str:
    """The first line of an error, or of the one that torch has wrapped."""
    inner = getattr(error, "inner_exception", None) or error
    lines = str(inner).strip().splitlines()
    return f"{type(inner).__name__}: {lines[0].rstrip('.')}" if lines else type(inner).__name__
