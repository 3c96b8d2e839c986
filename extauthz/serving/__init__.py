"""Serving: listeners, the gRPC transports, health, the http and the admin listener, reload of files, an orderly stop.

The room knows how bytes come in and go out, when to answer and when to leave. What an answer means is none of its
business: that comes in as a ``Handler``.
"""

from typing import TYPE_CHECKING

from extauthz.face import face

if TYPE_CHECKING:
    from extauthz.serving.admin_client import ask_admin
    from extauthz.serving.back_pressure import PatientHandler
    from extauthz.serving.background import keep_running
    from extauthz.serving.certificates import Certificates
    from extauthz.serving.client import ask_once
    from extauthz.serving.grpc_server import GrpcOptions
    from extauthz.serving.handler import CheckHandler, Observer
    from extauthz.serving.heap import unobtrusive
    from extauthz.serving.listener import (
        Address,
        Listener,
        TcpAddress,
        TlsFiles,
        UnixAddress,
        check_listener,
        is_private,
        parse_address,
    )
    from extauthz.serving.policy_files import read_policy_texts
    from extauthz.serving.readiness import Readiness
    from extauthz.serving.reload import PolicyReloader
    from extauthz.serving.server import HttpParts, Server, ServerParts, serve
    from extauthz.serving.signals import heard
    from extauthz.serving.supervisor import SupervisorParts, run_workers, worker_command
    from extauthz.serving.token_page import PageServer, probe_app, token_app
    from extauthz.serving.transport import CHECK_METHOD, CHECK_SERVICE, Call, Handler
    from extauthz.serving.transports import check_server
    from extauthz.serving.worker import WorkerPlace

__all__ = [
    "CHECK_METHOD",
    "CHECK_SERVICE",
    "Address",
    "Call",
    "Certificates",
    "CheckHandler",
    "GrpcOptions",
    "Handler",
    "HttpParts",
    "Listener",
    "Observer",
    "PageServer",
    "PatientHandler",
    "PolicyReloader",
    "Readiness",
    "Server",
    "ServerParts",
    "SupervisorParts",
    "TcpAddress",
    "TlsFiles",
    "UnixAddress",
    "WorkerPlace",
    "ask_admin",
    "ask_once",
    "check_listener",
    "check_server",
    "heard",
    "is_private",
    "keep_running",
    "parse_address",
    "probe_app",
    "read_policy_texts",
    "run_workers",
    "serve",
    "token_app",
    "unobtrusive",
    "worker_command",
]

if not TYPE_CHECKING:
    __getattr__ = face(
        __name__,
        {
            "admin_client": "ask_admin",
            "back_pressure": "PatientHandler",
            "background": "keep_running",
            "certificates": "Certificates",
            "client": "ask_once",
            "grpc_server": "GrpcOptions",
            "handler": "CheckHandler Observer",
            "heap": "unobtrusive",
            "listener": "Address Listener TcpAddress TlsFiles UnixAddress check_listener is_private parse_address",
            "policy_files": "read_policy_texts",
            "readiness": "Readiness",
            "reload": "PolicyReloader",
            "server": "HttpParts Server ServerParts serve",
            "signals": "heard",
            "supervisor": "SupervisorParts run_workers worker_command",
            "token_page": "PageServer probe_app token_app",
            "transport": "CHECK_METHOD CHECK_SERVICE Call Handler",
            "transports": "check_server",
            "worker": "WorkerPlace",
        },
    )
