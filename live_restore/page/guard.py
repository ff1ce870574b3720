"""Who may ask, and how much: hosts, origins, a token, rates, what browsers may do with answers.

A page on this computer is within reach of every web site that its browser visits: a name that
suddenly leads to 127.0.0.1 (DNS rebinding), a form or an image of another site. So the Host has to
be ours, and whatever another site starts is refused. Only GET is answered; what acts are the
addresses below ``/api/do/``, by POST, with the token, from no page but our own.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import time
from collections import OrderedDict
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "live-restore-page"
_OPEN = frozenset(("/health",))
"""Says only that the page runs: for whoever watches over the computer."""
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
MAY_ACT = "live_restore.may_act"
"""In the scope of a request: whether it has shown the token."""
_ACTS = "/api/do/"
_MOST_BODY = 64 * 1024
_REQUESTS_PER_S = 30.0
_BURST = 600.0
"""A page that plays two channels asks 20 times a second, and for 200 thumbnails when it opens."""
_PAUSE_S = 0.5
_MOST_PAUSING = 16
"""Who asks too often waits for the refusal, or asking and refusing would take a core; but waiting
takes one of the connections that the server allows."""
_ACTS_PER_S, _ACTS_BURST = 2.0, 20.0
_MOST_CLIENTS = 1000
_LONGEST_URL = 2000


class Rates:
    """A bucket of requests per client address, refilled steadily."""

    def __init__(self, per_s: float = _REQUESTS_PER_S, burst: float = _BURST) -> None:
        self._per_s, self._burst = per_s, burst
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def allows(self, client: str, now: float) -> bool:
        """Return whether that client may ask once more.

        >>> rates = Rates(per_s=1, burst=2)
        >>> [rates.allows("a", now) for now in (0, 0, 0, 1, 1)]
        [True, True, False, True, False]
        """
        left, at = self._buckets.pop(client, (self._burst, now))
        left = min(self._burst, left + (now - at) * self._per_s)
        allowed = left >= 1.0
        self._buckets[client] = (left - allowed, now)
        if len(self._buckets) > _MOST_CLIENTS:
            self._buckets.popitem(last=False)
        return allowed


class Guard:
    """The door of the page; wraps the application.

    Parameters
    ----------
    app
        What is behind it.
    names
        Host names that are ours, lower case; any number is, unless ``loopback``.
    loopback
        Whether only this computer is served.
    token
        What other computers have to show, and everybody who acts; "": nobody acts.
    """

    def __init__(
        self, app: ASGIApp, names: frozenset[str], *, loopback: bool, token: str = ""
    ) -> None:
        self._app = app
        self._names = names
        self._loopback = loopback
        self._token = token
        self._rates = Rates()
        self._acts = Rates(_ACTS_PER_S, _ACTS_BURST)
        self._pausing = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or let through."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        refusal = self._refusal(scope)
        if refusal is not None and refusal.status_code == 429:
            await self._pause()
        await (refusal or self._app)(scope, receive, send_guarded)

    async def _pause(self) -> None:
        if self._pausing < _MOST_PAUSING:
            self._pausing += 1
            try:
                await asyncio.sleep(_PAUSE_S)
            finally:
                self._pausing -= 1

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        client = (scope.get("client") or ("",))[0]
        if not self._rates.allows(client, time.monotonic()):
            return _refuse(429, "too many requests", {"Retry-After": "1"})
        acts = scope["method"] == "POST" and scope["path"].startswith(_ACTS) and self._token
        if scope["method"] not in ("GET", "HEAD") and not acts:
            return _refuse(405, "this only reads", {"Allow": "GET, HEAD"})
        if len(scope["path"]) + len(scope["query_string"]) > _LONGEST_URL:
            return _refuse(414, "too long a request")
        host = headers.get("host", "")
        if not self._is_ours(host):
            return _refuse(421, "this host name is not served here")
        origin = headers.get("origin")
        if origin is not None and origin not in (f"http://{host}", f"https://{host}"):
            return _refuse(403, "not for pages of other sites")
        site = headers.get("sec-fetch-site", "none")
        follows_a_link = headers.get("sec-fetch-mode") == "navigate"
        if site not in ("none", "same-origin") and not (follows_a_link and scope["path"] == "/"):
            return _refuse(403, "not for pages of other sites")
        scope[MAY_ACT] = bool(self._token) and self._shows_token(headers)
        if acts:
            return self._no_act(scope, headers, client)
        return self._without_token(scope)

    def _no_act(self, scope: Scope, headers: Headers, client: str) -> Response | None:
        """Refuse what may not act. The origin of a browser is compared already, if it told it."""
        if not scope[MAY_ACT]:
            return _refuse(401, "a token is needed", {"WWW-Authenticate": "Bearer"})
        if "origin" not in headers and "authorization" not in headers:
            return _refuse(403, "not without an origin")
        if headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            return _refuse(415, "has to be application/json")
        length = headers.get("content-length", "")
        if not length.isdecimal():
            return _refuse(411, "has to tell its length")
        if len(length) > 9 or int(length) > _MOST_BODY:
            return _refuse(413, "too long a request")
        if not self._acts.allows(client, time.monotonic()):
            return _refuse(429, "too many requests", {"Retry-After": "1"})
        return None

    def _is_ours(self, host: str) -> bool:
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        name = name.strip("[]").lower()
        if name in self._names:
            return True
        if self._loopback:
            return False
        try:  # a number cannot be rebound
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def _without_token(self, scope: Scope) -> Response | None:
        if not self._token or scope["path"] in _OPEN:
            return None
        query = parse_qs(scope["query_string"].decode("ascii", "replace"))
        if self._fits(query.pop("token", [""])[0]):
            if scope["path"] != "/":
                return None
            # Out of the address bar, the history and the log, into a cookie no script can read.
            rest = urlencode(query, doseq=True)
            answer = RedirectResponse(f"/?{rest}" if rest else "/", status_code=303)
            answer.set_cookie(COOKIE, self._token, httponly=True, samesite="strict", path="/")
            return answer
        if self._loopback or scope[MAY_ACT]:
            return None
        return _refuse(
            401, "a token is needed: open the address that live-restore printed",
            {"WWW-Authenticate": "Bearer"},
        )  # fmt: skip

    def _shows_token(self, headers: Headers) -> bool:
        shown = headers.get("authorization", "").removeprefix("Bearer ").strip()
        return self._fits(shown) or self._fits(_cookie(headers.get("cookie", "")))

    def _fits(self, shown: Any) -> bool:
        return hmac.compare_digest(str(shown).encode(), self._token.encode())


def _cookie(header: str) -> str:
    try:
        found = SimpleCookie(header).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found else ""


def _refuse(status: int, why: str, headers: dict[str, str] | None = None) -> Response:
    return PlainTextResponse(f"{why}\n", status, headers)
