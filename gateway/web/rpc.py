"""The wire of the local API: JSON-RPC 2.0, one object a line, over a Unix socket.

    -> {"jsonrpc": "2.0", "id": 1, "method": "account.show", "params": {"account": "A-101"}}
    <- {"jsonrpc": "2.0", "id": 1, "result": {...}}
    <- {"jsonrpc": "2.0", "id": 1, "error": {"code": -32000, "message": "there is no account A-9",
        "data": {"kind": "AccountUnknown", "hint": "List the accounts with: gateway account list"}}}
    <- {"jsonrpc": "2.0", "method": "progress", "params": {"id": 1, ...}}       before the result

Calls on one connection are answered in order; batches are not taken. Rules of this file: both ends
use it, so it is light: the standard library only, no asyncio.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.core.errors import GatewayError
from hardware.api import HardwareError

# A tariff order is the largest thing that is sent (files.MAX_FILE_BYTES), and JSON may double it.
MAX_REQUEST_BYTES = 2_500_000
# A statement of years is the largest thing that is answered: about 400 bytes a line.
MAX_REPLY_BYTES = 64_000_000
MAX_ID_LENGTH = 64

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_UNKNOWN = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
# Ours, by the tree an error is of: what a person can mend, and what a device did.
GATEWAY_ERROR = -32000
HARDWARE_ERROR = -32003


class RequestError(GatewayError):
    """A request that cannot be served as it is written; `code` is one of JSON-RPC's own."""

    def __init__(self, code: int, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.code = code


RequestId = str | int | None


@dataclass(frozen=True, slots=True)
class Request:
    """One call. `id` None: the caller wants no answer (JSON-RPC's notification)."""

    id: RequestId
    method: str
    params: Mapping[str, Any] = field(default_factory=dict)
    wants_answer: bool = True


def encode(message: Mapping[str, Any]) -> bytes:
    """One message as a line."""
    text = json.dumps(message, ensure_ascii=False, separators=(",", ":"))
    # Half a character (a lone surrogate) has no UTF-8; Python's escape for it is JSON's as well.
    return text.encode(errors="backslashreplace") + b"\n"


def decode_request(line: bytes) -> Request:
    """Read a call. Raises `RequestError`."""
    try:
        document = json.loads(line)
        # "\\ud800" is half a character: no file, database or terminal takes it.
        json.dumps(document, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise RequestError(PARSE_ERROR, f"the line is not JSON: {error}") from error
    if not isinstance(document, dict) or document.get("jsonrpc") != "2.0":
        raise RequestError(INVALID_REQUEST, 'a request is one object with "jsonrpc": "2.0"')
    method, params = document.get("method"), document.get("params", {})
    if not isinstance(method, str):
        raise RequestError(INVALID_REQUEST, "a request names its method")
    if not isinstance(params, dict):
        raise RequestError(INVALID_PARAMS, "params are given by name, as an object")
    return Request(request_id(document), method, params, "id" in document)


def request_id(document: Any) -> RequestId:
    """The id of whatever came, None when it has none that can be echoed."""
    found = document.get("id") if isinstance(document, dict) else None
    if isinstance(found, bool) or not isinstance(found, str | int):
        return None
    return found if len(str(found)) <= MAX_ID_LENGTH else None


def result_message(request: RequestId, result: Any) -> dict[str, Any]:
    """The answer to a call."""
    return {"jsonrpc": "2.0", "id": request, "result": result}


def progress_message(request: RequestId, params: Mapping[str, Any]) -> dict[str, Any]:
    """News of a call that takes long."""
    return {"jsonrpc": "2.0", "method": "progress", "params": {"id": request, **params}}


def error_message(request: RequestId, error: Exception) -> dict[str, Any]:
    """The answer to a call that failed; `kind` is the error's class."""
    match error:
        case RequestError():
            code, text = error.code, str(error)
        case GatewayError():
            code, text = GATEWAY_ERROR, str(error)
        case HardwareError():
            code, text = HARDWARE_ERROR, str(error)
        case _:
            code, text = INTERNAL_ERROR, f"the gateway failed at this: {error!r}"
    data = {"kind": type(error).__name__, "hint": getattr(error, "hint", "")}
    return {
        "jsonrpc": "2.0",
        "id": request,
        "error": {"code": code, "message": text, "data": data},
    }
