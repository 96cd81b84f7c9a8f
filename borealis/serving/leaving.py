"""Work for a client is given up when the client leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from borealis.serving.errors import ClientGoneError, Receive

Result = TypeVar("Result")


async def unless_gone(work: Awaitable[Result], receive: Receive) -> Result:
    """The result of `work`, or ClientGoneError (and no more work) when the client leaves.

    Args:
        work: what is done; it is cancelled.
        receive: of a connection whose request has been read.
    """

    async def left() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    task, watch = asyncio.ensure_future(work), asyncio.ensure_future(left())
    try:
        await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGoneError
        return task.result()
    finally:
        task.cancel()
        watch.cancel()
