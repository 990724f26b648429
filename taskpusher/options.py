"""Options of the command line, as all of `tasker` has them."""

from collections.abc import Callable
from typing import Any

import click


class Option(click.Option):
    """A long option works with one dash as well; the help names the usual form alone."""

    def add_to_parser(self, parser: Any, ctx: click.Context) -> None:
        shown = self.opts, self.secondary_opts
        self.opts, self.secondary_opts = map(_with_one_dash, shown)
        try:
            super().add_to_parser(parser, ctx)
        finally:
            self.opts, self.secondary_opts = shown


def _with_one_dash(names: list[str]) -> list[str]:
    return [*names, *(name[1:] for name in names if name.startswith("--"))]


def answer(name: str, text: Callable[[click.Context], str], *short: str) -> Option:
    """An option that prints something and ends."""

    def callback(ctx: click.Context, param: click.Parameter, given: bool) -> None:
        if given and not ctx.resilient_parsing:
            click.echo(text(ctx))
            ctx.exit()

    help = f"Show the {name} and exit." if name == "version" else "Show this and exit."
    names = [*short, f"--{name}"]
    return Option(names, is_flag=True, is_eager=True, expose_value=False, callback=callback, help=help)


def help_option() -> Option:
    return answer("help", lambda ctx: ctx.get_help(), "-h")
