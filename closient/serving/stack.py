"""Room on Python's stack for the calls of a request.

CPython 3.11 and later keep the frames of a thread in chunks of 16 KB. A chunk is mapped when a call
does not fit into the current one, and unmapped when that call returns. A loop whose calls cross the
end of a chunk, for example in a template, maps and unmaps memory with every call, which costs up to
20 ms per page. Which pages it affects depends on the depth of the stack. Newer releases of CPython
keep a spare chunk (https://github.com/python/cpython/issues/142183).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

_Function = TypeVar("_Function", bound=Callable[..., object])

# In slots of 8 bytes. A frame of 125 KB gets a chunk of 256 KB, so 131 KB are left for its calls:
# several times what a page needs. Memory that no call reaches is not used.
_SLOTS = 16_000


def reserve_stack(function: _Function) -> _Function:
    """Give a function a large frame, so that the calls below it fit into the same chunk."""
    code = function.__code__
    function.__code__ = code.replace(co_stacksize=_SLOTS)
    return function
