"""Which device, precision and thread count to compute with: by what the chip has, unless the user says otherwise."""

from __future__ import annotations

import ctypes
import os
import platform
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from shared import config
from shared.errors import UserError

M = TypeVar("M", bound=torch.nn.Module)
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of mallopt(3)


@dataclass(frozen=True)
class Choice:
    """What was picked. `reason` says why, in words for the log and the report."""

    device: str
    precision: str
    threads: int
    reason: str

    def __str__(self) -> str:
        count = f"{self.threads} thread{'s' if self.threads != 1 else ''}"
        return f"{self.device} in {self.precision} with {count}: {self.reason}"

    def describe(self) -> dict[str, Any]:
        """For metrics.json: the choice and the machine it was made on."""
        return {
            "device": self.device,
            "precision": self.precision,
            "threads": self.threads,
            "reason": self.reason,
            "processor": _processor(),
            "cores": os.cpu_count(),
            "torch": torch.__version__,
            "python": platform.python_version(),
        }


def select(wanted: config.Hardware) -> Choice:
    """Pick the device, the training precision and the CPU threads, and set the threads for this process.

    On a CPU bf16 is picked only where the chip multiplies it natively (AMX or AVX512-BF16): elsewhere it is emulated
    and was measured hundreds of times slower than fp32.
    """
    device, precision = wanted.device, wanted.precision
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    elif device == "cuda" and not torch.cuda.is_available():
        raise UserError("hardware.device = 'cuda', but PyTorch sees no CUDA GPU here. Use hardware.device=auto.")
    elif device == "mps" and not torch.backends.mps.is_available():
        raise UserError("hardware.device = 'mps', but PyTorch sees no Apple GPU here. Use hardware.device=auto.")
    if device == "cpu":
        native = native_bf16()
        fast, reason = bool(native), f"native bf16 ({native[0]})" if native else "no native bf16 (AMX, AVX512-BF16)"
    else:
        fast = device == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        reason = f"{device}, bf16 {'native' if fast else 'not native'}"
    if precision == "auto":
        precision = "bf16" if fast else "fp32"
    else:
        reason += ", precision set by the user"
    threads = wanted.threads or max(1, _cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    torch.set_num_threads(threads)
    return Choice(device, precision, threads, reason)


def native_bf16() -> list[str]:
    """The processor's instructions that multiply bf16; none: it is emulated there, and slow."""
    return [name for name in ("amx_bf16", "avx512_bf16") if torch.cpu.get_capabilities().get(name)]


def channels_last(module: M) -> M:
    """The module with its convolutions' weights laid out as matrix units like them; give it images likewise."""
    return module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def keep_memory() -> None:
    """Tell glibc to keep what is freed, up to 2 GB, for the next step of a training, which takes just as much.

    Else the system takes it back and clears it page by page each time, which was a tenth of a CPU step.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, 2**30)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def agree(value: Any) -> Any:
    """The main process's value, on every process (see `accelerate launch`); with one process the value itself."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return value
    from accelerate import PartialState
    from accelerate.utils import broadcast_object_list

    PartialState(cpu=not torch.cuda.is_available())
    return broadcast_object_list([value])[0]


def leave() -> None:
    """Take leave of the other processes (see `accelerate launch`), where there are any: who just exits may make them abort."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _cores() -> int:
    """Those that this process may use, which a container or `taskset` limits."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processor() -> str:
    name = torch.cpu.get_capabilities().get("cpu_name")
    return str(name or platform.processor() or platform.machine())
