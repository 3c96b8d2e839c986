"""`python -m mesh up`: the mesh, kept running until Ctrl-C, with lines to paste.

Model: the parent process owns everything. It starts the mesh, prints what to try, then watches: a child that dies ends
the whole mesh with its log on the screen, a signal stops all children in order. Tokens in the printed lines
are minted when the line is run, so they are never stale.

Trade-off: the state folder is temporary and goes away with the mesh unless `--state` names one.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from mesh.local import LocalMesh
from mesh.signals import Stop

_TAKEN_OUT = """sed 's/.*"access_token":"\\([^"]*\\)".*/\\1/'"""
"""Takes the token out of the answer, where there is no jq."""


def _lines(mesh: LocalMesh) -> list[tuple[str, str]]:
    mint = f"{mesh.issuer.url}/mint"
    url = mesh.url

    def token(query: str) -> str:
        return f"-H \"authorization: Bearer $(curl -s '{mint}?{query}')\""

    user, admin = token("sub=alice&roles=user"), token("sub=root&roles=admin")
    partner = token("issuer=partner&sub=acme-batch&roles=partner")
    desk = mesh.desk
    secret = f"-u shop:$(cat {desk.secret_file('shop')})"
    return [
        (
            "a token of extauthz' own token service, for the service shop",
            f"TOKEN=$(curl -s {secret} -d grant_type=client_credentials {desk.url}/oauth2/token | {_TAKEN_OUT})",
        ),
        ("shop reads an order", f'curl -i -H "authorization: Bearer $TOKEN" {url}/orders/42'),
        (
            "a fresh token for it, as a sidecar asks for it",
            f"""curl -s -X POST -d '{{"token":"'$TOKEN'"}}' {desk.url}/refresh""",
        ),
        (
            "revoked; then it reads nothing more",
            f'curl -i {secret} -d "token=$TOKEN" {desk.url}/oauth2/revoke',
        ),
        ("a user reads an order", f"curl -i {user} {url}/orders/42"),
        ("a user may not delete it", f"curl -i -X DELETE {user} {url}/orders/42"),
        ("an admin may", f"curl -i -X DELETE {admin} {url}/orders/42"),
        ("nobody without a token", f"curl -i {url}/orders/42"),
        ("anybody reads what is public", f"curl -i {url}/public/news"),
        ("a spoofed identity does not get through", f"curl -i {user} -H 'x-auth-subject: root' {url}/orders/42"),
        ("a partner on the partners' host", f"curl -i {partner} -H 'host: partner.example.com' {url}/catalog/7"),
        (
            "a condition on tenant",
            f"curl -i {token('sub=alice&roles=user&tenant=acme')} -H 'x-tenant: acme' {url}/tenants/acme/bills",
        ),
    ]


def announce(console: Console, mesh: LocalMesh) -> None:
    """Prints where everything is and what to try. Plain text without wrapping: the lines are meant to be copied."""

    def say(line: str = "") -> None:
        console.print(line, soft_wrap=True, markup=False, highlight=False)

    say()
    say("The mesh is up. Try:")
    for what, line in _lines(mesh):
        say(f"\n  # {what}\n  {line}")
    say()
    places = [
        ("Envoy", mesh.url),
        ("Envoy admin", mesh.envoy.admin_url),
        ("extauthz health", f"{mesh.authz.admin_url}/readyz?verbose"),
        ("extauthz metrics", f"{mesh.authz.admin_url}/metrics"),
        ("at a glance", f".venv/bin/extauthz top --admin {mesh.addresses['admin']}"),
        ("token service", f"{mesh.desk.url}/.well-known/openid-configuration"),
        ("its audit log", f".venv/bin/extauthz audit show {mesh.state / 'audit.jsonl'}"),
        ("gRPC", f"{mesh.envoy.options.listen}, service demo.echo.v1.Echo, plaintext"),
        ("traces", "not kept: set OTEL_EXPORTER_OTLP_ENDPOINT" if mesh.collector else "OTEL_EXPORTER_OTLP_ENDPOINT"),
        ("dashboard and alerts", "docker compose up has Prometheus, Grafana and Jaeger; nothing here needs them"),
        ("policies", "mesh/policies/ (what you change there is loaded)"),
        ("why a request was denied", f"tail -f {mesh.access_log}"),
        ("decisions", str(mesh.decisions)),
        ("logs and configurations", str(mesh.state)),
    ]
    for name, place in places:
        say(f"  {name:<26}{place}")
    say("\nCtrl-C stops it.")


def run(stop: Stop, state: Path | None = None) -> int:
    """Runs the mesh until a signal; returns the exit code."""
    console = Console(highlight=False)
    with ExitStack() as stack:
        folder = state or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="extauthz-mesh-")))
        mesh = stack.enter_context(LocalMesh(folder, usual_ports=True, report=lambda line: console.print(f"  {line}")))
        stop.calm()
        announce(console, mesh)
        while not stop.asked.wait(0.5):
            if (dead := mesh.ended()) is not None:
                console.print(f"{dead.name} ended by itself with exit code {dead.returncode}", style="red")
                console.print(dead.log.read_text(errors="replace")[-4000:], markup=False)
                return 1
        console.print("stopping")
    return 0
