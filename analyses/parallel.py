"""Work on several layers at once: threads that share the arrays, each with linear algebra on one thread.

How many workers there are, and how far they may run ahead of who takes the results, is decided here; what a piece of
work is, by the caller. Results come in the order of the items, so that nothing depends on who was first.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from threadpoolctl import threadpool_limits

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(function: Callable[[Item], Result], items: Iterable[Item], workers: int | None = None) -> Iterator[Result]:
    """What a function makes of each item, computed side by side and given in order.

    No more items are taken than there are workers and one result waiting: memory holds those alone. Libraries of linear
    algebra run on one thread meanwhile: on matrices of a few hundred rows their own threads cost more than they bring,
    and many times more where the processor is busy.

    Args:
        function: called in a thread; it must not change what others read.
        items: taken one after the other, in the caller's thread.
        workers: threads; by default one for each processor that this process may use.
    """
    count = workers or len(os.sched_getaffinity(0))
    waiting: deque[Future[Result]] = deque()
    with threadpool_limits(limits=1), ThreadPoolExecutor(count) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > count:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for unfinished in waiting:
                unfinished.cancel()
