"""``extauthz convert``: Istio's policies as ours, never allowing more."""

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from extauthz.cli.terminal import harmless, problem_lines
from extauthz.cli.validate import OutputForm
from extauthz.errors import ExtAuthzError, PolicyError, Problem

__all__ = ["convert"]


def convert(
    *files: Annotated[
        str,
        Parameter(
            help="Files or folders with Istio's objects; - for standard input.",
            allow_leading_hyphen=True,  # for -
        ),
    ],
    scope: Annotated[
        Literal["context", "here"],
        Parameter(
            help="context: policies for some workloads ask for their namespace and labels in the route's context. here: the "
            "files are those of the workload that asks this server."
        ),
    ] = "context",
    host: Annotated[list[str] | None, Parameter(help="A host that the policies are for.", negative="")] = None,
    root_namespace: Annotated[
        str, Parameter(help="The namespace whose policies are for the whole mesh.")
    ] = "istio-system",
    namespace: Annotated[str, Parameter(help="The namespace of objects that name none, as with kubectl.")] = "",
    trust_domain: Annotated[
        str, Parameter(help="The mesh's trust domain: what cluster.local stands for in principals.")
    ] = "cluster.local",
    trust_domain_alias: Annotated[
        list[str] | None,
        Parameter(
            help="One of meshConfig.trustDomainAliases: principals of it count as those of the mesh.", negative=""
        ),
    ] = None,
    this_server: Annotated[
        list[str] | None,
        Parameter(
            help="An extension provider that is extauthz: policies that delegate to it are left out.", negative=""
        ),
    ] = None,
    group: Annotated[str, Parameter(help="The API group of AuthPolicy documents.")] = "security.example.com",
    providers: Annotated[
        bool, Parameter(negative="", help="Write the providers for extauthz.yaml instead of the policies.")
    ] = False,
    out: Annotated[str | None, Parameter(help="Write to this file instead of standard output.")] = None,
    force: Annotated[bool, Parameter(negative="", help="Overwrite that file if it is there.")] = False,
    output: OutputForm = "text",
) -> int:
    """Turn AuthorizationPolicy and RequestAuthentication objects of Istio into AuthPolicy documents.

    What has no equivalent is told on standard error and in comments. It never widens access: what allows then allows
    less, what denies denies more. Exit code 0 if both mean the same, 1 if something was lost, 2 if something can't be read.
    """
    from extauthz.documents import write_document
    from extauthz.workbench.istio import Scope, convert

    asked = Scope(
        tuple(host or ()),
        workloads=scope == "context",
        root=root_namespace,
        namespace=namespace,
        trust_domains=(trust_domain, *(trust_domain_alias or ())),
        this_server=tuple(this_server or ()),
    )
    made = convert(*_texts(files), group=group, scope=asked)
    if made.problems:
        raise PolicyError(made.problems)
    if output == "json":
        text = json.dumps(
            {
                "policies": [policy for _, policy in made.policies],
                "providers": list(made.providers),
                "losses": [
                    {"code": loss.code, "place": str(loss.where), "message": loss.message, "hint": loss.mend}
                    for loss in made.losses
                ],
            },
            indent=2,
        )
    elif providers:
        text = write_document({"providers": list(made.providers)})
    else:
        told = [
            f"# {harmless(comment)}\n"
            + "".join(
                f"# {harmless(loss.message)} [{loss.code}]\n" for loss in made.losses if str(loss.where) in comment
            )
            + write_document(policy)
            for comment, policy in made.policies
        ]
        text = "---\n".join(told)
    _write(text, out, force=force)
    lines = [Problem(loss.where, f"lost[{loss.code}]: {loss.message}", loss.mend) for loss in made.losses]
    sys.stderr.write("".join(f"{line}\n" for line in problem_lines(lines, sys.stderr)))
    return 1 if made.losses else 0


def _texts(files: tuple[str, ...]) -> list[tuple[str, str]]:
    """The texts, each with the name of its file."""
    if not files:
        raise ExtAuthzError("nothing to convert: name files or folders, or - for standard input")
    found: list[tuple[str, str]] = []
    for name in files:
        if name == "-":
            found.append((_decoded("<stdin>", sys.stdin.buffer.read()), "<stdin>"))
            continue
        if name.startswith("-"):
            raise ExtAuthzError(f"unknown option: {name} (see extauthz convert --help)")
        path = Path(name)
        inside = (
            sorted(entry for entry in path.iterdir() if entry.suffix in (".yaml", ".yml")) if path.is_dir() else [path]
        )
        for file in inside:
            try:
                found.append((_decoded(str(file), file.read_bytes()), str(file)))
            except OSError as error:
                raise ExtAuthzError(f"{file} can't be read: {error.strerror}") from None
    if not found:
        raise ExtAuthzError(f"nothing to convert: no *.yaml or *.yml in {', '.join(files)}")
    return found


def _decoded(name: str, content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise ExtAuthzError(f"{name} can't be read: it is not UTF-8") from None


def _write(text: str, out: str | None, *, force: bool) -> None:
    if out is None:
        print(text, end="" if text.endswith("\n") else "\n")
        return
    if os.path.lexists(out) and not force:
        raise ExtAuthzError(f"{out} is there already; --force overwrites it")
    try:
        Path(out).write_text(text if text.endswith("\n") else f"{text}\n", "utf-8")
    except OSError as error:
        raise ExtAuthzError(f"{out} can't be written: {error.strerror}") from None
