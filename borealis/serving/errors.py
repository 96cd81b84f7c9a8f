"""Errors of the server in the form that OpenAI's clients read, and the types its parts share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.responses import JSONResponse

from borealis.errors import BorealisError

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

# A sentence of ours is shorter; what vLLM says may hold what the client has sent.
_LONGEST = 600


class RequestError(BorealisError):
    """A request that can't be answered as it is; the sentence goes to the client.

    Args:
        message: what is wrong and what to do.
        status: of the answer.
        param: the field that is wrong.
        code: a word for programs, as OpenAI has them: `model_not_found`.
        retry_after: seconds after which it is worth trying again.
    """

    def __init__(
        self,
        message: str,
        status: int = 400,
        param: str | None = None,
        *,
        code: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.param, self.code, self.retry_after = status, param, code, retry_after

    def response(self) -> JSONResponse:
        """The answer to the client."""
        body = {
            "message": shown(str(self), _LONGEST),
            "type": "invalid_request_error" if self.status < 500 else "server_error",
            "param": None if self.param is None else shown(self.param),
            "code": self.code,
        }
        headers = {}
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        if self.status == 408:  # what is still on its way belongs to nothing
            headers["Connection"] = "close"
        if self.retry_after is not None:
            headers["Retry-After"] = str(self.retry_after)
        return JSONResponse({"error": body}, status_code=self.status, headers=headers)


class ClientGoneError(Exception):
    """The client closed the connection: there is nobody to answer."""


def shown(value: object, length: int = 60) -> str:
    """What a client has sent, as an error may repeat it: short, and of characters that can be sent.

    Args:
        value: a name, a word, a sentence.
        length: characters that are kept.
    """
    text = str(value)
    cut = text if len(text) <= length else f"{text[: length - 1]}…"
    return cut.encode("utf-8", "backslashreplace").decode()
