"""How the C library keeps the memory that tensors give back. Nothing of torch is needed for it."""

import ctypes

_MMAP_THRESHOLD = -3
"""The number of that setting in glibc's `malloc.h`."""

_LARGE = 4 * 2**20
"""Bytes from which a block is given back."""


def give_back_large_blocks() -> bool:
    """Have the C library give the memory of large blocks back to the system as soon as they are freed, from now on.

    Weights that come and go, with keys and values that grow in between, leave holes in the heap that nothing fits into:
    answers of a model with 80 layers on disk held 2.8 GB and more for it, and 1.6 GB without. Glibc has such blocks in
    mappings of their own, but learns to have larger and larger ones in the heap, as they are freed; here it is told not
    to. A mapping costs the system's zeros, which is little beside reading weights from a disk.

    Returns:
        Whether it was told: other libraries have no such setting.
    """
    try:
        told = ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, _LARGE)
    except (AttributeError, OSError, TypeError):
        return False
    return bool(told)
