"""How PyTorch runs a network: number format, attention kernel, compiler.

`--dtype autocast` (the default on a GPU) is what the public code does: float32 weights under bfloat16 autocast, every
weight cast anew in every call. `bf16` keeps weights and everything else in bfloat16, which halves the weights' memory
and drops the casts; `float32` is for comparison of values, and the default on the CPU.
"""

import contextlib

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

MODES = ("eager", "compile", "max-autotune")
DTYPES = ("autocast", "bf16", "float32")
ATTENTION = {"default": None, "flash": SDPBackend.FLASH_ATTENTION, "cudnn": SDPBackend.CUDNN_ATTENTION,
             "efficient": SDPBackend.EFFICIENT_ATTENTION, "math": SDPBackend.MATH}


def add_arguments(parser):
    """The options every program of this folder has."""
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cuda or cpu")
    parser.add_argument("--mode", choices=MODES, default="eager")
    parser.add_argument("--attention", choices=ATTENTION, default="default", help="default is torch's own choice")
    parser.add_argument("--channels-last", action="store_true", help="convolutions' weights and inputs as NHWC")
    parser.add_argument("--cudnn-benchmark", action="store_true", help="let cuDNN time its convolutions in the warm-up")
    parser.add_argument("--warm-up", type=int, default=2, help="decodes before the counted ones")
    parser.add_argument("--repeat", type=int, default=5, help="counted decodes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument("--budget-seconds", type=float, default=600, help="the whole program is cut after these")
    parser.add_argument("--inside", action="store_true", help="run in this process, with no budget")


def prepare(args):
    """Applies process-wide options and returns the device."""
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.backends.cudnn.benchmark = args.cudnn_benchmark
    return torch.device(args.device)


def compile_in_place(module, mode, graphs=True):
    """Compiles `module` in `mode`. Without `graphs` max-autotune records no CUDA graph: a graph's outputs are
    overwritten by its next replay, so a result that is kept across calls must not live in one."""
    if mode == "compile":
        module.compile()
    elif mode == "max-autotune":
        module.compile(mode="max-autotune" if graphs else "max-autotune-no-cudagraphs")


def compiler_facts():
    """What the compiler did in this process: graphs made, and breaks that left code between them to the interpreter."""
    from torch._dynamo.utils import counters

    return {"graphs": counters["stats"]["unique_graphs"], "graph_breaks": sum(counters["graph_break"].values())}


@contextlib.contextmanager
def context(device, dtype, attention):
    """Number format and attention kernel for the calls within."""
    with contextlib.ExitStack() as stack:
        if dtype == "autocast":
            stack.enter_context(torch.autocast(device.type, torch.bfloat16))
        if ATTENTION[attention] is not None:
            stack.enter_context(sdpa_kernel(ATTENTION[attention]))
        yield
