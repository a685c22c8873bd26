"""Large blocks are given back as soon as they are freed, where the C library can be told so."""

import platform
import subprocess
import sys

import pytest

_HELD = """
import ctypes, sys, psutil
from extract.heap import give_back_large_blocks
if sys.argv[1] == "told":
    assert give_back_large_blocks()
c = ctypes.CDLL(None)
c.malloc.restype, c.malloc.argtypes, c.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
large, small = 20 * 2**20, 100_000
c.free(c.malloc(large))  # From now on the heap takes blocks of this size.
blocks = [(c.malloc(large), c.malloc(small)) for _ in range(4)]
for block, _ in blocks:
    ctypes.memset(block, 1, large)
before = psutil.Process().memory_info().rss
for block, _ in blocks:
    c.free(block)
print((before - psutil.Process().memory_info().rss) / large)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is glibc's")
def test_freed_blocks_go_back_to_the_system_once_it_is_told() -> None:
    def given_back(how: str) -> float:
        done = subprocess.run([sys.executable, "-c", _HELD, how], check=True, capture_output=True, text=True)
        return float(done.stdout)

    assert given_back("told") == pytest.approx(4, abs=0.2)
    # Small blocks between them, as keys and values are, keep the heap from shrinking.
    assert given_back("as it is") < 2
