"""Time, memory and machine facts of a run, the same for every program of this folder.

Times are seconds between marks: on a GPU by CUDA events on the current stream, elsewhere by the wall clock.
"""

import resource
import statistics
import subprocess
import sys
import time

import torch


class Clock:
    """Marks along a piece of work. Reading them waits for the device; setting them does not."""

    def __init__(self, device):
        self.on_gpu = device.type == "cuda"
        self.marks = []

    def start(self):
        """Waits for earlier work, then sets the first mark."""
        if self.on_gpu:
            torch.cuda.synchronize()
        self.marks = []
        self.wall_start = time.perf_counter()
        self.mark()

    def mark(self):
        if self.on_gpu:
            event = torch.cuda.Event(enable_timing=True)
            event.record()
            self.marks.append(event)
        else:
            self.marks.append(time.perf_counter())

    def stop(self):
        """Sets the last mark: ([seconds between neighbours], seconds first to last, seconds of wall clock)."""
        self.mark()
        if self.on_gpu:
            torch.cuda.synchronize()
        wall = time.perf_counter() - self.wall_start
        between = (lambda a, b: a.elapsed_time(b) / 1000) if self.on_gpu else (lambda a, b: b - a)
        parts = [between(a, b) for a, b in zip(self.marks, self.marks[1:])]
        return parts, between(self.marks[0], self.marks[-1]), wall


def summary(seconds):
    """Median, median absolute deviation, 95th percentile (linear between ranks), minimum and count of a list."""
    ordered = sorted(seconds)
    median = statistics.median(ordered)
    rank = 0.95 * (len(ordered) - 1)
    low = int(rank)
    p95 = ordered[low] + (rank - low) * (ordered[min(low + 1, len(ordered) - 1)] - ordered[low])
    mad = statistics.median(abs(s - median) for s in ordered)
    return {"median": median, "mad": mad, "p95": p95, "min": ordered[0], "runs": len(ordered)}


def reset_peak(device):
    """Forgets the peaks so far and hands cached blocks back, so that `peaks` speaks of what follows."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peaks(device, graphs=False):
    """`peak_bytes` of tensors and `peak_reserved_bytes` with the allocator's cache; on the CPU the process's resident
    peak, interpreter and libraries included. The allocator does not see what the replay of a CUDA graph uses of the
    graph's pool: with `graphs` the reserved bytes stand for both."""
    if device.type == "cuda":
        reserved = torch.cuda.max_memory_reserved()
        tensors = reserved if graphs else torch.cuda.max_memory_allocated()
        return {"peak_bytes": tensors, "peak_reserved_bytes": reserved}
    kib = 1 if sys.platform == "darwin" else 1024
    return {"peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * kib}


def machine(device):
    """Device and versions; on a GPU with its memory in bytes, compute capability and the driver."""
    facts = {"torch": torch.__version__, "threads": torch.get_num_threads()}
    if device.type != "cuda":
        return {"device": "cpu", **facts}
    properties = torch.cuda.get_device_properties(device)
    return {
        "device": properties.name, **facts, "cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version(),
        "driver": nvidia_smi("driver_version"), "compute_capability": f"{properties.major}.{properties.minor}",
        "device_bytes": properties.total_memory,
    }


def nvidia_smi(field):
    """One field of the first GPU, or None where the tool is missing."""
    try:
        out = subprocess.run(["nvidia-smi", f"--query-gpu={field}", "--format=csv,noheader"], capture_output=True,
                             text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return out.splitlines()[0].strip() if out.strip() else None
