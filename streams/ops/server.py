"""Page, API, metrics and health over HTTP: an aiohttp application of our own, bound to loopback by default."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from importlib import resources
from urllib.parse import quote

import aiohttp
import jinja2
import msgspec
from aiohttp import web
from yarl import URL

from streams.ops import health, view
from streams.ops.metrics import Metrics
from streams.ops.view import ServiceView, UserView

log = logging.getLogger(__name__)

_TEMPLATES = resources.files("streams.ops") / "templates"
_STATIC = {"page.css": "text/css", "page.js": "text/javascript", "icon.svg": "image/svg+xml"}
#: Put on a lookup that was passed on, so that two workers in disagreement never pass it round.
_PASSED_ON = "X-Segments-Passed-On"
_PASS_TIMEOUT = aiohttp.ClientTimeout(total=3.0)

_SECURITY = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}

_json = msgspec.json.Encoder()
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def _json_response(value: object, status: int = 200) -> web.Response:
    return web.Response(body=_json.encode(value), status=status, content_type="application/json")


def _error(status: int, message: str) -> web.Response:
    return _json_response({"error": message}, status)


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("streams.ops", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=view.number,
        duration=view.duration,
        moment=view.moment,
        clock=view.clock,
        plain=view.plain,
        counted=view.counted,
        label=view.label,
        reason_words=view.reason_words,
        origin_words=view.origin_words,
        user_href=view.user_href,
    )
    return environment


class _Told(msgspec.Struct):
    """Another worker's answer that has no user."""

    error: str = ""


@dataclass(frozen=True)
class _Answer:
    """What a lookup came to: the user, or in words why there is none."""

    status: int
    why: str
    owner: view.Owner
    user: UserView | None = None


class _Site:
    """The handlers, with what they need."""

    def __init__(self, service: ServiceView, metrics: Metrics, clock: Callable[[], float]) -> None:
        self._view = service
        self._metrics = metrics
        self._clock = clock
        self._templates = _environment()
        self._static = {name: (_TEMPLATES / name).read_bytes() for name in _STATIC}
        self._client: aiohttp.ClientSession | None = None

    async def client(self, _app: web.Application) -> AsyncIterator[None]:
        """The client for lookups that are passed on; lives as long as the application."""
        async with aiohttp.ClientSession(timeout=_PASS_TIMEOUT) as session:
            self._client = session
            yield
        self._client = None

    def _page(self, template: str, status: int = 200, **values: object) -> web.Response:
        text = self._templates.get_template(template).render(now=self._clock(), **values)
        return web.Response(text=text, status=status, content_type="text/html")

    async def index(self, _request: web.Request) -> web.Response:
        status = self._view.status()
        return self._page("index.html", status=200, worker=status, ready=health.readyz(self._view))

    async def user_page(self, request: web.Request) -> web.Response:
        user_id = request.match_info.get("id")
        if user_id is None:
            user_id = request.query.get("id", "").strip()
            if not user_id:
                raise web.HTTPSeeOther("/")
            if (href := view.user_href(user_id)).startswith("/user/"):
                raise web.HTTPSeeOther(href)
        answer = await self._lookup(request, user_id)
        return self._page("user.html", status=answer.status, user_id=user_id, user=answer.user, why=answer.why)

    async def api_status(self, _request: web.Request) -> web.Response:
        return _json_response(self._view.status())

    async def api_user(self, request: web.Request) -> web.Response:
        answer = await self._lookup(request, request.match_info["id"])
        if answer.user is not None:
            return _json_response(answer.user)
        owner = {"worker": answer.owner.worker, "url": answer.owner.url} if answer.owner.worker else None
        return _json_response({"error": answer.why, "owner": owner} if owner else {"error": answer.why}, answer.status)

    async def _lookup(self, request: web.Request, user_id: str) -> _Answer:
        """The user from whoever looks after it: only the owner says that there is no such user."""
        owner = self._view.owner(user_id)
        if owner.here:
            return await self._look(user_id, owner)
        if not owner.worker:
            why = f"No worker is known to look after partition {owner.partition}, which has this user; try again soon."
            return _Answer(503, why, owner)
        if _PASSED_ON in request.headers:  # two workers in disagreement, while partitions move: one hop, no more
            return _Answer(503, "This worker does not look after the user any more; try again in a moment.", owner)
        if not owner.url:
            why = f"Worker {owner.worker} looks after this user, and cannot be reached from here; ask there."
            return _Answer(421, why, owner)
        return await self._pass_on(owner, user_id)

    async def _look(self, user_id: str, owner: view.Owner) -> _Answer:
        try:
            found = await self._view.user(user_id)
        except view.NotHereError as error:
            return _Answer(503, f"{str(error)[:1].upper()}{str(error)[1:]}; try again in a moment.", owner)
        if found is not None:
            return _Answer(200, "", owner, found)
        ready = health.readyz(self._view)
        if ready.status != "ok":
            return _Answer(503, f"This worker is not ready ({ready.reason}), so the user may still turn up.", owner)
        return _Answer(404, "No event of this user has been counted.", owner)

    async def _pass_on(self, owner: view.Owner, user_id: str) -> _Answer:
        assert self._client is not None
        name = quote(user_id, safe="").replace(".", "%2E")
        url = URL(f"{owner.url}/api/users/{name}", encoded=True)
        try:
            async with self._client.get(url, headers={_PASSED_ON: "1"}, allow_redirects=False) as answer:
                body = await answer.read()
                if answer.status == 200:
                    return _Answer(200, "", owner, msgspec.json.decode(body, type=UserView))
                told = msgspec.json.decode(body, type=_Told).error
                return _Answer(answer.status, told or f"Worker {owner.worker} gave no answer.", owner)
        except (aiohttp.ClientError, TimeoutError, msgspec.MsgspecError) as error:
            log.warning("lookup passed on to %s failed: %s", owner.url, type(error).__name__)
            why = f"Worker {owner.worker} ({owner.url}), which looks after this user, did not answer; try again soon."
            return _Answer(502, why, owner)

    async def metrics(self, _request: web.Request) -> web.Response:
        self._metrics.ready.set(health.readyz(self._view).status == "ok")
        body, content_type = self._metrics.render()
        return web.Response(body=body, headers={"Content-Type": content_type})

    def probe(self, ask: Callable[[ServiceView], health.Health]) -> Handler:
        async def answer(_request: web.Request) -> web.Response:
            result = ask(self._view)
            return _json_response(result, result.http_status)

        return answer

    async def static(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in self._static:
            return _error(404, "no such file")
        return web.Response(body=self._static[name], content_type=_STATIC[name], charset="utf-8")


@web.middleware
async def _plain_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Errors as JSON, with nothing of the inside in them."""
    try:
        return await handler(request)
    except web.HTTPRedirection:
        raise
    except web.HTTPException as error:
        return _error(error.status, error.reason)
    except Exception:
        resource = request.match_info.route.resource  # its pattern: the path may name a user
        log.exception("%s %s failed", request.method, resource.canonical if resource else "?")
        return _error(500, "internal error; see the worker's log")


async def _secure(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(_SECURITY)
    response.headers.pop("Server", None)


def build_web(service: ServiceView, metrics: Metrics, clock: Callable[[], float] = time.time) -> web.Application:
    """The application: page, API, metrics, health. ``clock`` gives seconds since the epoch."""
    site = _Site(service, metrics, clock)
    app = web.Application(middlewares=[_plain_errors])
    app.on_response_prepare.append(_secure)
    app.cleanup_ctx.append(site.client)
    app.add_routes(
        [
            web.get("/", site.index),
            web.get("/user", site.user_page),
            web.get("/user/{id:.+}", site.user_page),
            web.get("/api/status", site.api_status),
            web.get("/api/users/{id:.+}", site.api_user),
            web.get("/metrics", site.metrics),
            web.get("/livez", site.probe(health.livez)),
            web.get("/startupz", site.probe(health.startupz)),
            web.get("/readyz", site.probe(health.readyz)),
            web.get("/static/{name}", site.static),
        ]
    )
    return app


class ListenError(RuntimeError):
    """The page's address cannot be had; the message says which and why."""


class WebServer:
    """The application on a socket."""

    def __init__(self, app: web.Application) -> None:
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=2.0)

    async def start(self, host: str, port: int) -> None:
        """Listen; port 0 takes a free one. Raises ListenError when the address is taken."""
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError as error:
            why = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
            raise ListenError(
                f"the page cannot listen at {host}:{port} ({why.lower()}): let SEGMENTS_WEB_PORT name another port"
            ) from error

    @property
    def port(self) -> int:
        """The port that is listened on. Raises RuntimeError before ``start``."""
        if not self._runner.addresses:
            raise RuntimeError("the web server is not started")
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Finish open answers and close the socket."""
        await self._runner.cleanup()
