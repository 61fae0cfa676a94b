"""Who may ask the page's server: its own page in a browser on this machine, and nobody through another site."""

from __future__ import annotations

import hmac

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from musicgen_bridge.errors import AuthError, BridgeError

TOKEN_HEADER = "x-panel-token"  # noqa: S105 - the header's name
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "microphone=(self), camera=(), geolocation=()",
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
}
"""Stand on every answer; of CORS there is nothing, so no other site's script can read one."""
_READING = ("GET", "HEAD")
_FOREIGN = ("cross-site", "same-site")  # another port of this machine is the same site, and foreign all the same


class Guard:
    """ASGI middleware that checks each request before anything else looks at it, whatever its method.

    - Host: a name that another site points at this machine (DNS rebinding) is not ours.
    - Origin and Sec-Fetch-Site: what another site's page sends is refused; only a link to the page itself is followed.
    - Whatever changes something needs the page's Origin and the token that was given with the page.
    """

    def __init__(self, app: ASGIApp, *, port: int, token: str) -> None:
        self._app, self._token = app, token
        self._home = f"http://127.0.0.1:{port}"
        self._origins = {self._home, f"http://localhost:{port}"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that is not allowed, or pass it on; each answer gets `HEADERS`."""

        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        try:
            self._check(scope["method"], scope["path"], Headers(scope=scope))
        except AuthError as error:
            await refusal(error)(scope, receive, dressed)
            return
        await self._app(scope, receive, dressed)

    def _check(self, method: str, path: str, headers: Headers) -> None:
        origins = headers.getlist("origin")
        if [f"http://{host}" for host in headers.getlist("host")] not in [[origin] for origin in self._origins]:
            raise AuthError(f"this is not the page's address; open {self._home}")
        if any(origin not in self._origins for origin in origins):
            raise AuthError(f"another site's page may not ask here; open {self._home}")
        opened = (method, path, headers.get("sec-fetch-mode")) == ("GET", "/", "navigate")
        if headers.get("sec-fetch-site") in _FOREIGN and not opened:
            raise AuthError(f"another site's page may not ask here; open {self._home}")
        if method not in _READING:
            given = headers.get(TOKEN_HEADER, "")
            if not origins or not hmac.compare_digest(given.encode(), self._token.encode()):
                raise AuthError("the page is of another daemon; load it again")


def refusal(error: BridgeError) -> JSONResponse:
    """Return the answer that tells an error: its code, and its text that says what to do."""
    status = {"E_AUTH": 403, "E_PATH": 404, "E_INTERNAL": 500}.get(error.code, 400)
    return JSONResponse({"code": error.code, "text": error.text}, status)
