"""Which transport serves the Checks."""

import sys

import pytest

from extauthz.errors import ServingError
from extauthz.serving.grpc_server import GrpcOptions
from extauthz.serving.listener import Listener, TlsFiles, parse_address
from extauthz.serving.transports import chosen

PLAIN = Listener(parse_address("127.0.0.1:0"))
UNIX = Listener(parse_address("unix:/run/extauthz/check.sock"))
TLS = Listener(parse_address("127.0.0.1:0"), tls=TlsFiles("tls.crt", "tls.key"))


@pytest.mark.parametrize("listener", [PLAIN, UNIX])
def test_auto_takes_native_where_nothing_is_asked_that_it_lacks(listener: Listener) -> None:
    """It takes a fraction of the CPU."""
    assert chosen("auto", listener, GrpcOptions()) == "native"
    assert chosen("native", listener, GrpcOptions()) == "native"
    assert chosen("grpcio", listener, GrpcOptions()) == "grpcio"


@pytest.mark.parametrize(
    ("listener", "options", "word"),
    [
        (TLS, GrpcOptions(), "listen.check.tls"),
        (PLAIN, GrpcOptions(reflection=True), "listen.check.reflection"),
        (PLAIN, GrpcOptions(max_connection_age=60), "listen.check.maxConnectionAge"),
    ],
)
def test_what_native_lacks_is_served_by_grpcio(listener: Listener, options: GrpcOptions, word: str) -> None:
    """Who asked for native by name is told why it can't be."""
    assert chosen("auto", listener, options) == "grpcio"
    with pytest.raises(ServingError, match=f"native can't be taken: .*{word}"):
        chosen("native", listener, options)


def test_without_its_package_there_is_grpcio(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an extra."""
    monkeypatch.setitem(sys.modules, "pygrpc_native", None)
    monkeypatch.setattr("extauthz.serving.transports.find_spec", lambda name: None)
    assert chosen("auto", PLAIN, GrpcOptions()) == "grpcio"
    with pytest.raises(ServingError, match=r"pip install 'extauthz\[native\]'"):
        chosen("native", PLAIN, GrpcOptions())
