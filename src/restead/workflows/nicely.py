"""Work that lets others have the processors first: above all the guests whose disks it reads."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

Result = TypeVar("Result")


def nicely(by: int, work: Callable[[], Result]) -> Result:
    """Return what *work* returns, or raise what it raises; it was done in a thread that is nicer by so much.

    So are all threads that it starts.  Linux: niceness is each thread's own, new threads have that of who starts them,
    and who is not root never gets back what was given away.  So the thread is made for the work and ends with it.
    """
    if not by:
        return work()
    with ThreadPoolExecutor(1, thread_name_prefix="nicer", initializer=os.nice, initargs=(by,)) as pool:
        return pool.submit(copy_context().run, work).result()
