"""extauthz/_pb is what protos/ generates, is no larger than needed, is typed, and lives beside other Envoy code."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from google.protobuf import descriptor_pool, json_format, unknown_fields
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct as ForeignStruct

from extauthz._pb._pool import POOL
from extauthz._pb.envoy.config.core.v3.base_pb2 import HeaderValue, HeaderValueOption
from extauthz._pb.envoy.service.auth.v3.external_auth_pb2 import CheckRequest, CheckResponse
from extauthz._pb.google.protobuf.struct_pb2 import Struct

PROJECT = Path(__file__).resolve().parents[2]
FOREIGN = Path(sys.prefix) / "foreign"
"""Where `make test` puts xds-protos: it can't be installed beside opentelemetry-proto, some of whose files it brings."""

CAPTURES = sorted((PROJECT / "tests" / "captures").glob("*.binpb"))


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    """protos/generate.py as a module."""
    spec = importlib.util.spec_from_file_location("generate", PROJECT / "protos" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def nested(message: Message) -> list[Message]:
    """The message and all messages below it."""
    found = [message]
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        if field.message_type.GetOptions().map_entry:
            values = [item for item in value.values() if isinstance(item, Message)]
        else:
            values = list(value) if field.is_repeated else [value]
        for inner in values:
            found += nested(inner)
    return found


def test_what_is_committed_is_what_the_protos_generate(generator: ModuleType, tmp_path: Path) -> None:
    """The folder is compared byte for byte, files that should not be there included."""
    generator.generate(tmp_path)
    assert generator.differences(tmp_path) == []


def test_a_changed_a_missing_and_an_extra_file_are_all_seen(generator: ModuleType, tmp_path: Path) -> None:
    """The comparison itself works."""
    fresh, committed = tmp_path / "fresh", tmp_path / "committed"
    for folder, names in ((fresh, "same changed missing"), (committed, "same changed extra")):
        folder.mkdir()
        for name in names.split():
            (folder / name).write_text(folder.name if name == "changed" else "")
    assert generator.differences(fresh, committed) == ["changed", "extra", "missing"]


def test_no_proto_is_unused_and_none_is_missing(generator: ModuleType) -> None:
    """protos/ is the closure of external_auth.proto and nothing more."""
    own, known = generator.closure()
    there = sorted(path.relative_to(PROJECT / "protos").as_posix() for path in (PROJECT / "protos").rglob("*.proto"))
    assert there == own
    assert len(own) == 19
    assert all(name.startswith("google/protobuf/") for name in known)


def test_nothing_is_registered_in_the_default_pool() -> None:
    """Another package may bring its own version of the same files."""
    name = "envoy/service/auth/v3/external_auth.proto"
    assert POOL.FindFileByName(name) is CheckRequest.DESCRIPTOR.file
    with pytest.raises(KeyError):
        descriptor_pool.Default().FindFileByName(name)


OURS = "from extauthz._pb.envoy.service.auth.v3 import external_auth_pb2 as ours"
THEIRS = "from envoy.service.auth.v3 import external_auth_pb2 as theirs; from google.rpc import status_pb2"
COMPARE = """
import pathlib, sys
for path in pathlib.Path(sys.argv[1]).glob("*.binpb"):
    raw = path.read_bytes()
    a, b = ours.CheckRequest.FromString(raw), theirs.CheckRequest.FromString(raw)
    assert a.SerializeToString(deterministic=True) == b.SerializeToString(deterministic=True), path.name
answer = ours.CheckResponse(dynamic_metadata={"reason": "allowed"})
assert theirs.CheckResponse.FromString(answer.SerializeToString()).dynamic_metadata["reason"] == "allowed"
print("fine")
"""


@pytest.mark.parametrize("first", ["ours", "theirs"])
def test_it_lives_beside_xds_protos(first: str) -> None:
    """Both parse every capture alike, in one process, whichever is imported first."""
    imports = [OURS, THEIRS] if first == "ours" else [THEIRS, OURS]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join([*imports, COMPARE]), PROJECT / "tests" / "captures"],
        check=False,
        capture_output=True,
        text=True,
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(PROJECT), str(FOREIGN)])},
    )
    assert (done.stdout, done.stderr, done.returncode) == ("fine\n", "", 0)


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.stem)
def test_a_capture_decodes_completely(path: Path) -> None:
    """No field is unknown, and the message says what was written down beside it when it was recorded."""
    request = CheckRequest.FromString(path.read_bytes())
    assert [len(unknown_fields.UnknownFieldSet(message)) for message in nested(request)] == [0] * len(nested(request))
    recorded = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    sent = json_format.MessageToDict(request, preserving_proto_field_name=True, descriptor_pool=POOL)
    assert sent == recorded["check_request"]


def test_there_are_captures() -> None:
    """A glob that finds nothing must not pass for success."""
    assert len(CAPTURES) == 25


def test_a_timestamp_reads_as_usual() -> None:
    """Well-known types of the private pool keep their comforts."""
    request = CheckRequest()
    request.attributes.request.time.FromNanoseconds(1_500_000_000)
    assert (request.attributes.request.time.seconds, request.attributes.request.time.nanos) == (1, 500_000_000)


def test_metadata_is_filled_as_a_struct() -> None:
    """In all the ways that protobuf offers for a Struct."""
    response = CheckResponse(dynamic_metadata=Struct())
    response.dynamic_metadata.update({"reason": "allowed", "roles": ["user"], "inner": {"deep": True}})
    response.dynamic_metadata["policy"] = "orders"
    response.dynamic_metadata.fields["rule"].string_value = "read"
    again = CheckResponse.FromString(response.SerializeToString())
    assert json_format.MessageToDict(again.dynamic_metadata) == {
        "reason": "allowed",
        "roles": ["user"],
        "inner": {"deep": True},
        "policy": "orders",
        "rule": "read",
    }


def test_wrappers_and_enums_are_filled() -> None:
    """BoolValue by its value, an enum by its name on the message class."""
    option = HeaderValueOption(
        header=HeaderValue(key="x-auth-subject", value="alice"),
        append_action=HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
    )
    assert not option.HasField("append")
    option.append.value = False
    assert option.HasField("append")


def test_a_struct_of_the_default_pool_is_refused() -> None:
    """It looks alike, but it is another class: a mistake shows at once."""
    with pytest.raises(TypeError):
        CheckResponse().dynamic_metadata.CopyFrom(ForeignStruct())  # type: ignore[arg-type]


TYPED = """
from extauthz._pb.envoy.service.auth.v3.external_auth_pb2 import CheckRequest, CheckResponse

request = CheckRequest.FromString(b"")
reveal_type(request.attributes.request.time.seconds)
reveal_type(request.attributes.request.http.headers)
response = CheckResponse()
response.dynamic_metadata.update({"reason": "allowed"})
CheckResponse(ok_response=1)
response.no_such_field
"""

WRONG_TYPE = (
    'error: Argument "ok_response" to "CheckResponse" has incompatible type "int"; '
    'expected "OkHttpResponse | None"  [arg-type]'
)


def test_the_stubs_are_read_by_mypy(tmp_path: Path) -> None:
    """Under strict, from another module: right use passes, a wrong name and a wrong type do not."""
    module = tmp_path / "uses_pb.py"
    module.write_text(TYPED, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", PROJECT / "pyproject.toml", "--no-error-summary", module],
        check=False,
        capture_output=True,
        text=True,
        cwd=PROJECT,
    )
    lines = [line.split(":", 2)[2].strip() for line in done.stdout.splitlines()]
    assert lines == [
        'note: Revealed type is "int"',
        'note: Revealed type is "google.protobuf.internal.containers.ScalarMap[str, str]"',
        WRONG_TYPE,
        'error: "CheckResponse" has no attribute "no_such_field"  [attr-defined]',
    ], done.stdout + done.stderr
