"""The admin listener over real sockets."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest

from extauthz.errors import ServingError
from extauthz.serving.admin import AdminServer, admin_app
from extauthz.serving.certificates import Certificates
from extauthz.serving.listener import Listener, TlsFiles, is_private, parse_address
from extauthz.serving.readiness import Readiness

Files = Callable[..., TlsFiles]
Begin = Callable[..., Awaitable[str]]

METRICS = (b"# HELP extauthz_x x\nextauthz_x 1.0\n", "text/plain; version=1.0.0; charset=utf-8")


@pytest.fixture
def readiness() -> Readiness:
    return Readiness()


@pytest.fixture
async def serve_admin(readiness: Readiness) -> AsyncIterator[Begin]:
    """Starts the admin server and gives the address that it got."""
    async with AsyncExitStack() as stack:

        async def begin(address: str = "127.0.0.1:0", certificates: Certificates | None = None) -> str:
            tls = certificates.files if certificates else None
            listener = Listener(parse_address(address), tls=tls)
            server = AdminServer(listener, admin_app(readiness, lambda _: METRICS), certificates)
            stack.push_async_callback(server.stop)
            bound = server.bind()
            await server.start()
            return str(bound)

        yield begin


async def get(url: str, method: str = "GET", **more: Any) -> Any:
    async with httpx2.AsyncClient(**{"verify": False, **more}) as client:
        return await client.request(method, url)


async def test_readyz_follows_readiness_and_livez_does_not(serve_admin: Begin, readiness: Readiness) -> None:
    """/readyz is 503 until ready and again when draining; /livez is 200 all the time."""
    base = f"http://{await serve_admin()}"
    seen = []
    steps: list[Callable[[], object]] = [
        lambda: None,
        lambda: readiness.listening("x"),
        lambda: readiness.policies_loaded(1),
        readiness.drain,
    ]
    for step in steps:
        step()
        seen.append([(await get(f"{base}/{path}")).status_code for path in ("livez", "readyz")])
    assert seen == [[200, 503], [200, 503], [200, 200], [200, 503]]


async def test_verbose_readyz_says_why(serve_admin: Begin, readiness: Readiness) -> None:
    """With ?verbose each part has its line; without, there is the verdict alone."""
    base = f"http://{await serve_admin()}"
    readiness.listening("here")
    readiness.policies_loaded(7)
    readiness.policies_failed(7, "a.yaml:1:1: unknown kind 'AuthzPolicy'")
    assert (await get(f"{base}/readyz")).text == "ready\n"
    assert (await get(f"{base}/readyz?verbose")).text.splitlines() == [
        "[+] listeners: here",
        "[-] policies: generation 7 stays in force; the last load failed: a.yaml:1:1: unknown kind 'AuthzPolicy'",
        "ready",
    ]


async def test_metrics_are_passed_on(serve_admin: Begin) -> None:
    """/metrics gives the bytes and the content type of the telemetry room."""
    answer = await get(f"http://{await serve_admin()}/metrics")
    assert (answer.content, answer.headers["content-type"]) == METRICS


async def test_metrics_know_what_the_client_accepts() -> None:
    """Prometheus asks for OpenMetrics, where there are exemplars."""
    asked: list[str] = []

    def metrics(accept: str) -> tuple[bytes, str]:
        asked.append(accept)
        return METRICS

    transport = httpx2.ASGITransport(app=admin_app(Readiness(), metrics))
    await get("http://admin/metrics", transport=transport, headers={"accept": "application/openmetrics-text"})
    assert asked == ["application/openmetrics-text"]


async def test_activity_is_told_where_it_may_be() -> None:
    """And kept by nobody on the way."""
    app = admin_app(Readiness(), lambda _: METRICS, lambda: b'{"rules": []}')
    answer = await get("http://admin/activity", transport=httpx2.ASGITransport(app=app))
    assert (answer.json(), answer.headers["cache-control"]) == ({"rules": []}, "no-store")


@pytest.mark.parametrize(
    ("base", "status"),
    [
        ("http://127.0.0.1:8081", 200),
        ("http://[::1]:8081", 200),
        ("http://localhost:8081", 200),
        ("http://evil.example:8081", 403),
        ("http://127.0.0.1.evil.example", 403),
        ("http://evil_page.example", 403),
        ("https://admin.example", 200),
    ],
)
async def test_a_page_that_points_its_name_at_us_reads_nothing(base: str, status: int) -> None:
    """DNS rebinding: a browser on this machine would take the answer for that of the page's own site."""
    app = admin_app(Readiness(), lambda _: METRICS, lambda: b"{}")
    answer = await get(f"{base}/activity", transport=httpx2.ASGITransport(app=app))
    assert answer.status_code == status


@pytest.mark.parametrize(
    "host", ["", "evil_page.example", "127.0.0.1@evil.example", "a b", "[::1", "[zz]", "127.0.0.1:x"]
)
async def test_a_host_that_is_none_is_not_taken_for_ours(host: str) -> None:
    """What libraries can't read they replace by the server's own address, which would let it in."""
    app = admin_app(Readiness(), lambda _: METRICS, lambda: b"{}")
    transport = httpx2.ASGITransport(app=app)
    answer = await get("http://127.0.0.1:8081/activity", transport=transport, headers={"host": host})
    assert answer.status_code == 403


@pytest.mark.parametrize(
    ("address", "tls", "private"),
    [
        ("127.0.0.1:1", None, True),
        ("[::1]:1", None, True),
        ("unix:/x", None, True),
        ("0.0.0.0:1", None, False),
        ("10.0.0.1:1", None, False),
        ("10.0.0.1:1", TlsFiles("a", "b"), False),
        ("10.0.0.1:1", TlsFiles("a", "b", "ca"), True),
    ],
)
def test_who_may_see_what_goes_on(address: str, tls: TlsFiles | None, private: bool) -> None:
    """Those on this machine, and those who show a certificate: paths and subjects are in it."""
    assert is_private(Listener(parse_address(address), tls=tls)) is private


async def test_there_is_nothing_else(serve_admin: Begin) -> None:
    """Only GET and HEAD, only the three paths, and no header that names the server."""
    base = f"http://{await serve_admin()}"
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert (await get(f"{base}/livez", method)).status_code == 405
    for path in ("", "docs", "openapi.json", "livez/", "metrics/x", "activity", "%2e%2e/livez"):
        assert (await get(f"{base}/{path}")).status_code == 404
    head = await get(f"{base}/livez", "HEAD")
    assert (head.status_code, head.content) == (200, b"")
    assert "server" not in head.headers


async def test_it_listens_on_a_unix_socket(serve_admin: Begin, tmp_path: Path) -> None:
    """A unix socket serves the same, with its mode, and is removed at the end."""
    path = tmp_path / "admin.sock"
    await serve_admin(f"unix:{path}")
    assert path.stat().st_mode & 0o777 == 0o660
    answer = await get("http://admin/livez", transport=httpx2.AsyncHTTPTransport(uds=str(path)))
    assert answer.text == "ok\n"


async def test_a_port_in_use_fails_the_start(serve_admin: Begin) -> None:
    """Two admin servers on one port: the second fails with the name of the setting."""
    bound = await serve_admin()
    with pytest.raises(ServingError, match=r"listen\.admin\.address: .* is in use"):
        await serve_admin(bound)


async def test_certificates_are_replaced_for_new_connections(
    serve_admin: Begin, tls_files: Files, authority: Any
) -> None:
    """With tls the listener speaks https, and follows its certificates."""
    certificates = Certificates("listen.admin", tls_files())
    bound = await serve_admin(certificates=certificates)
    context = ssl.create_default_context(cadata=authority.pem.decode())
    assert (await get(f"https://{bound}/livez", verify=context)).text == "ok\n"

    async def serial() -> str:
        host, _, port = bound.rpartition(":")
        _, writer = await asyncio.open_connection(host, int(port), ssl=context)
        shown = writer.get_extra_info("peercert")["serialNumber"]
        writer.close()
        await writer.wait_closed()
        return str(shown)

    before = await serial()
    tls_files()
    certificates.reload()
    assert await serial() != before


@pytest.mark.parametrize(("name", "served"), [("spiffe://a/prometheus", True), ("spiffe://a/other", False)])
async def test_client_principals_hold_here_too(
    serve_admin: Begin, tls_files: Files, authority: Any, tmp_path: Path, name: str, *, served: bool
) -> None:
    """A client whose certificate carries none of the names gets no answer."""
    files = tls_files(mutual=True, principals=("spiffe://a/prometheus",))
    bound = await serve_admin(certificates=Certificates("listen.admin", files))
    key, chain = authority.issue(name)
    (tmp_path / "client.pem").write_bytes(key + chain)
    context = ssl.create_default_context(cadata=authority.pem.decode())
    context.load_cert_chain(tmp_path / "client.pem")
    if served:
        assert (await get(f"https://{bound}/livez", verify=context)).text == "ok\n"
    else:
        with pytest.raises(httpx2.TransportError):
            await get(f"https://{bound}/livez", verify=context)
