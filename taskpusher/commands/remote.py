"""What the subcommands that ask a running tasker over HTTP have in common: where it is, and who asks."""

import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

import click

from ..client import SERVER, TIMEOUT, Client, parse_server
from ..errors import InvalidField
from ..options import Option, help_option
from ..values import parse_credentials
from . import COMMANDS

FAILED = 1


def remote(
    *params: click.Parameter, timeout: float = TIMEOUT
) -> Callable[[Callable[..., int | None]], click.Command]:
    """Makes a subcommand of a function, which gets a Client and its own options and gives the exit code.

    RequestFailed goes to who runs the command; Ctrl-C and a reader that went away end it without a word.
    `timeout` in seconds.
    """

    def made(function: Callable[..., int | None]) -> click.Command:
        def callback(server: str | None, basicauth: str | None, **options: Any) -> int:
            try:
                with connected(server, basicauth, timeout) as client:
                    code = function(client, **options) or 0
                sys.stdout.flush()  # here, where a pipe that was closed can still be told
            except KeyboardInterrupt:
                return FAILED
            except UnicodeEncodeError:
                raise click.UsageError("an argument holds what is no UTF-8") from None
            except BrokenPipeError:
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                return FAILED
            return code

        name = function.__name__
        shared = [_server(), _basicauth(), help_option()]
        return click.Command(
            name,
            callback=callback,
            params=[*params, *shared],
            add_help_option=False,
            help="\n\n".join(filter(None, [COMMANDS[name].help, function.__doc__])),
        )

    return made


def json_option() -> Option:
    return Option(["--json", "as_json"], is_flag=True, help="Print the API's JSON, for scripts.")


def connected(
    server: str | None,
    basicauth: str | None,
    timeout: float = TIMEOUT,
    environ: Mapping[str, str] = os.environ,
) -> Client:
    """A client for what the options say, or else the environment. Raises InvalidField."""
    where = "--server" if server else "TASKER_SERVER"
    server = server or environ.get("TASKER_SERVER") or SERVER
    try:
        address, credentials = parse_server(server)
    except InvalidField as error:
        raise InvalidField(where, error.detail) from None
    if basicauth:
        credentials = _credentials(basicauth, "--basicauth")
    elif credentials is None and (variable := environ.get("TASKER_BASICAUTH", "").strip()):
        credentials = _credentials(variable.splitlines()[0], "TASKER_BASICAUTH")
    return Client(address, credentials, timeout=timeout)


def _credentials(text: str, where: str) -> tuple[str, str]:
    """The first user of the text or of its @FILE, which may be the tasker's own."""
    try:
        first = parse_credentials(text)[0]
    except ValueError as error:
        raise InvalidField(where, str(error)) from None
    return first.name, first.password


def _server() -> Option:
    help = f"Where the tasker is, or TASKER_SERVER. [{SERVER}]"
    return Option(["--server"], metavar="URL", help=help)


def _basicauth() -> Option:
    help = "Who asks, or TASKER_BASICAUTH. @FILE reads such a line from a file."
    return Option(["--basicauth"], metavar="USER:PASSWORD", help=help)
