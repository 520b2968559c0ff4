"""Sends requests over the component's imports of wasi:http. Only in a component that has them."""

import re

from componentize_py_types import Err
from wit_world.imports import wasi_http_outgoing_handler_0_2_0 as handler
from wit_world.imports import wasi_http_types_0_2_0 as types
from wit_world.imports import wasi_io_streams_0_2_0 as streams

from .error import Error
from .http import Request, Response

# More than a plugin may answer.
_LARGEST = 16 * 1024 * 1024

_NANOSECONDS = 1_000_000

# What one write to a stream may have.
_CHUNK = 4096

_METHODS = {
    name: getattr(types, f"Method_{name.capitalize()}")
    for name in ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")
}


def send(request: Request) -> Response:
    what = f"{request.method} {request.scheme}://{request.authority}"
    try:
        return _exchange(request, what)
    except Err as error:
        raise _refused(what, error.value) from None


def _exchange(request: Request, what: str) -> Response:
    outgoing = types.OutgoingRequest(
        types.Fields.from_list([(name, value.encode()) for name, value in request.headers.items()])
    )
    method = _METHODS.get(request.method)
    outgoing.set_method(types.Method_Other(request.method) if method is None else method())
    outgoing.set_scheme(types.Scheme_Https() if request.scheme == "https" else types.Scheme_Http())
    outgoing.set_authority(request.authority)
    outgoing.set_path_with_query(request.path)
    options = types.RequestOptions()
    options.set_connect_timeout(request.timeout_ms * _NANOSECONDS)
    options.set_first_byte_timeout(request.timeout_ms * _NANOSECONDS)
    options.set_between_bytes_timeout(request.timeout_ms * _NANOSECONDS)
    body = None if request.body is None else outgoing.body()
    future = handler.handle(outgoing, options)
    if body is not None:
        _write(body, request.body)
    with future:
        with future.subscribe() as ready:
            ready.block()
        answer = future.get().value
    if isinstance(answer, Err):
        raise answer
    with answer.value as response:
        return _read(response, what)


def _write(outgoing: types.OutgoingBody, body: bytes) -> None:
    with outgoing.write() as stream:
        for at in range(0, len(body), _CHUNK):
            stream.blocking_write_and_flush(body[at : at + _CHUNK])
    types.OutgoingBody.finish(outgoing, None)


def _read(response: types.IncomingResponse, what: str) -> Response:
    status = response.status()
    with response.headers() as fields:
        headers = [(name.lower(), value.decode(errors="replace")) for name, value in fields.entries()]
    body = bytearray()
    with response.consume() as incoming, incoming.stream() as stream:
        while True:
            try:
                body += stream.blocking_read(65536)
            except Err as error:
                if isinstance(error.value, streams.StreamError_Closed):
                    return Response(status, headers, bytes(body))
                raise
            if len(body) > _LARGEST:
                raise Error.failed(f"{what}: the answer has more than {_LARGEST} bytes")


def _refused(what: str, code: object) -> Error:
    """The reason by the name that WASI has for it, in lower case: `connection-refused`."""
    if isinstance(code, types.ErrorCode_HttpRequestDenied):
        return Error.failed(f"{what}: not granted")
    name = type(code).__name__.removeprefix("ErrorCode_").removeprefix("StreamError_")
    return Error.unavailable(f"{what}: {re.sub(r'(?<!^)(?=[A-Z])', '-', name).lower()}")
