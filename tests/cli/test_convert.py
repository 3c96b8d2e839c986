"""``extauthz convert`` on a command line."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]

ISTIO = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: web, namespace: shop}
spec:
  rules:
  - from: [{source: {principals: ["cluster.local/ns/shop/sa/web"]}}]
    to: [{operation: {methods: [GET], paths: ["/orders"]}}]
"""


@pytest.fixture(autouse=True)
def istio(run: Command) -> None:
    """A file to convert."""
    Path("istio.yaml").write_text(ISTIO, "utf-8")


def test_what_is_converted_is_valid(run: Command) -> None:
    """And says where it comes from."""
    result = run("convert", "--scope", "here", "istio.yaml", "--out", "policies.yaml")
    assert (result.code, result.out, result.err) == (0, "", "")
    text = Path("policies.yaml").read_text("utf-8")
    assert text.startswith(
        "# From AuthorizationPolicy shop/web (istio.yaml:2:1).\napiVersion: security.example.com/v1\n"
    )
    assert run("validate", "policies.yaml").code == 0


def test_what_is_lost_is_told_beside_and_in_it(run: Command) -> None:
    """With its place; the exit code says so."""
    result = run("convert", "istio.yaml")
    assert result.code == 1
    assert "istio.yaml:2:1: lost[asks-for-context]: it is for some workloads" in result.err
    assert "[asks-for-context]" in result.out


def test_programs_get_everything(run: Command) -> None:
    """As JSON."""
    report = json.loads(run("convert", "istio.yaml", "--output", "json").out)
    assert [policy["metadata"]["name"] for policy in report["policies"]] == ["web"]
    assert report["losses"][0]["code"] == "asks-for-context"


def test_the_mesh_is_described_by_options(run: Command) -> None:
    """Its trust domain with the aliases, and the namespace of objects that name none."""
    Path("istio.yaml").write_text(ISTIO.replace(", namespace: shop", ""), "utf-8")
    assert "has no namespace" in run("convert", "istio.yaml").err
    mesh = ("--namespace", "shop", "--trust-domain", "example.org", "--trust-domain-alias", "old.org")
    report = json.loads(run("convert", "istio.yaml", *mesh, "--output", "json").out)
    policy = report["policies"][0]
    assert policy["metadata"]["namespace"] == "shop"
    assert policy["spec"]["rules"][0]["from"] == [
        {"principals": ["spiffe://example.org/ns/shop/sa/web", "spiffe://old.org/ns/shop/sa/web"]}
    ]


def test_nothing_is_overwritten_by_accident(run: Command) -> None:
    """Only if it is meant."""
    Path("there.yaml").write_text("mine", "utf-8")
    assert run("convert", "istio.yaml", "--out", "there.yaml").code == 2
    assert Path("there.yaml").read_text("utf-8") == "mine"
    assert run("convert", "istio.yaml", "--out", "there.yaml", "--force").code == 1
    assert Path("there.yaml").read_text("utf-8") != "mine"


def test_folders_are_read(run: Command) -> None:
    """Every YAML file of them."""
    Path("objects").mkdir()
    Path("objects/a.yaml").write_text(ISTIO, "utf-8")
    Path("objects/b.yml").write_text(ISTIO.replace("web", "other"), "utf-8")
    assert run("convert", "objects").out.count("kind: AuthPolicy") == 2


@pytest.mark.parametrize(
    ("arguments", "told"),
    [([], "nothing to convert"), (["none.yaml"], "none.yaml can't be read"), (["bad.yaml"], "is no Kubernetes object")],
)
def test_what_can_not_be_read_is_wrong_use(run: Command, arguments: list[str], told: str) -> None:
    """With what to mend."""
    Path("bad.yaml").write_text("[]", "utf-8")
    result = run("convert", *arguments)
    assert result.code == 2
    assert told in result.err


def test_standard_input_is_converted(run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """As from kubectl."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(ISTIO.encode())))
    result = run("convert", "--scope", "here", "-")
    assert (result.code, result.err) == (0, "")
    assert "# From AuthorizationPolicy shop/web (<stdin>:2:1)." in result.out


def test_standard_input_that_is_no_text_is_told(run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """And is no crash."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\xff\xfe"), encoding="utf-8"))
    result = run("convert", "-")
    assert (result.code, result.err) == (2, "extauthz: <stdin> can't be read: it is not UTF-8\n")


def test_an_unknown_option_is_no_file(run: Command) -> None:
    """Though - is one."""
    result = run("convert", "--scoop", "istio.yaml")
    assert (result.code, result.err) == (2, "extauthz: unknown option: --scoop (see extauthz convert --help)\n")


def test_a_folder_without_documents_is_told(run: Command) -> None:
    """Nothing converted is no success."""
    Path("empty").mkdir()
    result = run("convert", "empty")
    assert (result.code, result.out) == (2, "")
    assert result.err == "extauthz: nothing to convert: no *.yaml or *.yml in empty\n"
