"""Any httpx transport as ours: for proxies and HTTP/2, for a transport of the user's own, and for tests."""

import asyncio

import httpx

from .call import Answer, Call, NotSent, Unknown
from .connection import HEADER_LIMIT
from .targets import Targets

# Nothing of the request went out.
NOT_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.UnsupportedProtocol,
    httpx.ProxyError,
    httpx.InvalidURL,
)


class HttpxTransport:
    """A Transport on top of an `httpx.AsyncBaseTransport`, which it closes in the end.

    `targets` are checked by the name or literal address in the URL alone: names are resolved by the httpx
    transport, or by its proxy, where no rule can follow.
    """

    def __init__(self, transport: httpx.AsyncBaseTransport, targets: Targets | None = None) -> None:
        self._transport = transport
        self._targets = targets

    async def call(self, call: Call) -> Answer:
        if self._targets is not None:
            self._targets.check_url(call.host, call.port)
        try:
            async with asyncio.timeout(call.timeout):
                return await self._exchange(call)
        except NOT_SENT as error:
            raise NotSent(_words(error, "can't connect")) from None
        except TimeoutError:
            raise Unknown(f"no answer within {call.timeout:g} s") from None
        except httpx.TimeoutException as error:
            raise Unknown(_words(error, "the connection timed out after the request was sent")) from None
        except httpx.RemoteProtocolError as error:
            raise Unknown(_words(error, "the answer is not HTTP")) from None
        except (httpx.HTTPError, httpx.StreamError, OSError) as error:
            raise Unknown(_words(error, "the connection broke after the request was sent")) from None

    async def close(self) -> None:
        await self._transport.aclose()

    async def _exchange(self, call: Call) -> Answer:
        response = await self._transport.handle_async_request(_request(call))
        try:
            headers = _headers(response)
            body = bytearray()
            assert isinstance(response.stream, httpx.AsyncByteStream)
            # The stream itself: `aiter_raw` refuses answers whose body is there already, as mocks' are.
            async for part in response.stream:
                room = call.max_response - len(body)
                body += part[:room]
                if len(part) > room:
                    return Answer(response.status_code, headers, bytes(body), True)
            return Answer(response.status_code, headers, bytes(body))
        finally:
            await response.aclose()


def _request(call: Call) -> httpx.Request:
    host = f"[{call.host}]" if ":" in call.host else call.host
    url = httpx.URL(f"{call.scheme}://{host}:{call.port}").copy_with(raw_path=call.target.encode("ascii"))
    timeouts = {
        "connect": min(call.connect_timeout, call.timeout),
        "pool": call.timeout,
        "read": None,  # the total is ours
        "write": None,
    }
    return httpx.Request(
        call.method, url, headers=call.pairs(), content=call.body, extensions={"timeout": timeouts}
    )


def _headers(response: httpx.Response) -> tuple[tuple[str, str], ...]:
    """As sent, decoded as latin-1, up to as much as our own transport takes."""
    room = HEADER_LIMIT
    kept = []
    for name, value in response.headers.raw:
        room -= len(name) + len(value) + 4
        if room < 0:
            break
        kept.append((name.decode("latin-1"), value.decode("latin-1")))
    return tuple(kept)


def _words(error: Exception, what: str) -> str:
    said = str(error).strip()
    return f"{what}: {said}" if said else f"{what} ({type(error).__name__})"
