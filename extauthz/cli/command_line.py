"""``extauthz`` itself: its commands, and the one place where an error becomes a message and an exit code."""

import os
import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError, MissingArgumentError, Parameter, UnusedCliTokensError

from extauthz import __version__
from extauthz.cli.agent import AGENT_VARIABLES, agent
from extauthz.cli.audit import audit_app
from extauthz.cli.bench import bench
from extauthz.cli.convert import convert
from extauthz.cli.envoy_config import envoy_config
from extauthz.cli.explain import explain
from extauthz.cli.keys import keys_app
from extauthz.cli.replay import replay
from extauthz.cli.serve import serve
from extauthz.cli.terminal import complain, problem_lines
from extauthz.cli.test import test
from extauthz.cli.token import token_app
from extauthz.cli.top import top
from extauthz.cli.validate import validate
from extauthz.cli.version import version
from extauthz.errors import ExtAuthzError, ProblemsError

__all__ = ["INTERRUPTED", "READER_GONE", "WRONG_USE", "main"]

WRONG_USE = 2
INTERRUPTED = 130
"""What shells report of a program that SIGINT ended: 128 + 2."""
READER_GONE = 141
"""The same for SIGPIPE: 128 + 13."""

_HELP = """Authenticates and authorises every request of an Envoy or Istio mesh, and says why.

Denies everything that no policy allows. Begin with a configuration (`extauthz.yaml`) and a policy, check them with
`validate`, and `serve`. Exit codes: 0 fine, 1 the answer is no, 2 wrong use.
"""


def _app() -> App:
    app = App(
        name="extauthz",
        help=_HELP,
        help_format="markdown",
        help_epilogue="Example: extauthz validate && extauthz serve",
        version=__version__,
        # What is off or empty unless it is given needs no word, and variables have one for all options.
        default_parameter=Parameter(show_default=_shown, show_env_var=False),
        # Errors come back here, and Ctrl-C is handled below, as those of the commands are.
        print_error=False,
        exit_on_error=False,
        suppress_keyboard_interrupt=False,
        result_action="return_value",
    )
    app.command(serve, help_epilogue="Example: extauthz serve --config /etc/extauthz/extauthz.yaml")
    app.command(validate, help_epilogue="Example: extauthz validate --config extauthz.yaml new-policy.yaml")
    app.command(
        explain,
        help_epilogue="Example: extauthz explain GET https://orders.example.com/orders -H 'x-tenant: a' --role user",
    )
    app.command(replay, help_epilogue="Example: extauthz replay decisions.log --policies new/")
    app.command(top, help_epilogue="Example: extauthz top --admin 127.0.0.1:8081")
    app.command(test, help_epilogue="Example: extauthz test --coverage policies/orders.test.yaml")
    app.command(
        bench, help_epilogue="Example: extauthz bench GET https://orders.example.com/orders -H 'x-api-key: ...'"
    )
    app.command(convert, help_epilogue="Example: extauthz convert istio-policies.yaml > policies/converted.yaml")
    app.command(
        envoy_config,
        name="envoy-config",
        help_epilogue="Example: extauthz envoy-config filter --authz extauthz:9000 > filter.yaml",
    )
    app.command(keys_app())
    app.command(token_app())
    app.command(audit_app())
    app.command(
        agent,
        config=AGENT_VARIABLES,
        help_epilogue="Example: extauthz agent --service https://tokens.example.com --client-id billing "
        "--client-secret-file /etc/billing/secret --token-file /run/token/token",
    )
    app.command(version, help_epilogue="Example: extauthz version --output json")
    return app


def _shown(default: object) -> str | None:
    """A default as help shows it; None: not at all."""
    return None if default is None or default is False or default == "" else str(default)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command, with the arguments of the process unless others are given, and return its exit code."""
    try:
        code = _app()(sys.argv[1:] if argv is None else list(argv))
        sys.stdout.flush()
    except CycloptsError as error:
        complain(_wrong_use(error), hint=" ".join(["extauthz", *(error.command_chain or ()), "--help"]))
        return WRONG_USE
    except ProblemsError as error:
        sys.stderr.write("".join(f"{line}\n" for line in problem_lines(error.problems, sys.stderr)))
        count = len(error.problems)
        complain(f"{count} {'problem' if count == 1 else 'problems'} to mend first", hint="extauthz validate")
        return WRONG_USE
    except ExtAuthzError as error:
        complain(str(error))
        return WRONG_USE
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader, `head` for example, has what it wanted; what is left must not be complained about at exit. Nobody
        # can say that all was fine, though: the answer may have been no.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return READER_GONE
    return code if isinstance(code, int) else 0


def _wrong_use(error: CycloptsError) -> str:
    """What is wrong with the arguments, in a sentence."""
    if isinstance(error, UnusedCliTokensError) and error.unused_tokens:
        return f"there is no place for {' '.join(error.unused_tokens)!r}"
    if isinstance(error, MissingArgumentError) and error.argument is not None:
        if error.keyword:
            return f"{error.keyword} needs a value"
        name = error.argument.name
        return f"{name if name.startswith('-') else name.upper()} is missing"
    return str(error)
