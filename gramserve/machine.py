"""What this machine lends to this process: memory and cores."""

import os
from pathlib import Path


def physical_memory_bytes() -> int:
    """Return the memory this process may use: the machine's, or its control group's limit.

    Returns
    -------
    int
        Bytes.
    """
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        text = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
    except OSError:
        return physical
    return min(physical, int(text)) if text.isdigit() else physical


def usable_cores() -> int:
    """Return the CPU cores this process may run on.

    Returns
    -------
    int
        At least 1.
    """
    return os.process_cpu_count() or 1 if hasattr(os, "process_cpu_count") else os.cpu_count() or 1
