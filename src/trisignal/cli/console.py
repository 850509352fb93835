"""``trisignal console``: pages, REST and live tail over what was recorded."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Any

import click

from trisignal.errors import ConfigError, MissingExtraError

PORT = 4319
_NEEDED = ("starlette", "uvicorn", "jinja2")


@click.command(name="console", short_help="Look at what was recorded, in a browser.")
@click.argument("source")
@click.option("--port", type=click.IntRange(0, 65_535), default=PORT, show_default=True, help="0 takes a free one.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; others need --token.")
@click.option("--token", default="", envvar="TRISIGNAL_CONSOLE_TOKEN", help="What callers have to present.")
@click.option("--content", is_flag=True, help="Keep messages that other programs send.")
@click.option(
    "--allow-host", "hosts", multiple=True, metavar="NAME", help="A further name that the console is reached by."
)
@click.option(
    "--metrics", default="", metavar="URL", help="prometheus+http://HOST: totals of all calls beside the spans."
)
def command(
    source: str, port: int, host: str, token: str, content: bool, hosts: tuple[str, ...], metrics: str
) -> None:  # fmt: skip
    """Serve pages and REST over SOURCE: a store folder, or the URL of a trace backend.

    Over a folder it takes OTLP too: point OTEL_EXPORTER_OTLP_ENDPOINT of any program at it. Nobody else on the network
    reaches it: it listens on this machine only, unless --host and --token say more.
    """
    show(source, port=port, host=host, token=token, content=content, hosts=hosts, metrics=metrics)


def show(
    source: str,
    *,
    port: int = PORT,
    host: str = "127.0.0.1",
    token: str = "",
    content: bool = False,
    hosts: tuple[str, ...] = (),
    metrics: str = "",
) -> None:
    """Serve the console over a source until Ctrl-C; the arguments are those of the command.

    Raises:
        MissingExtraError: What serves pages is not installed.
        ConfigError: The address cannot be listened on, or needs a token.
        SourceError: The source cannot be opened.
    """
    if any(find_spec(name) is None for name in _NEEDED):
        raise MissingExtraError("trisignal console", "console")
    from trisignal.analysis.analyzer import TraceAnalyzer
    from trisignal.console import security
    from trisignal.console.app import console_app

    names = {*security.LOOPBACK, *hosts}
    if host not in security.LOOPBACK:
        if not token:
            raise ConfigError("--host", host, "127.0.0.1, ::1 or localhost; any other address with --token")
        names.add(host.lower())
    if "://" in source:
        _serve(console_app(TraceAnalyzer(source, metrics=metrics), hosts=names, token=token), host, port, source, token)
        return
    parent = os.path.dirname(os.path.abspath(source))
    if not os.path.isdir(source) and (os.path.exists(source) or not os.path.isdir(parent)):
        allowed = "a store's folder, a new name in a folder that is there, or the URL of a trace backend"
        raise ConfigError("SOURCE", source, allowed)
    from trisignal.console import intake
    from trisignal.console.receiver import Receiver
    from trisignal.store.reader import StoreSource
    from trisignal.watch.alert_history import History
    from trisignal.watch.store_alerts import StoreAlerts

    receiver = Receiver(source, capture_content=content)
    analyzer = TraceAnalyzer(source, metrics=metrics)
    if isinstance(analyzer.source, StoreSource):
        analyzer.source.keep_text_index()
    try:
        app = console_app(
            analyzer,
            hosts=names,
            token=token,
            routes=intake.routes(receiver),
            history=History(source),
        )
        with StoreAlerts(source, handlers=()):
            _serve(app, host, port, source, token)
    finally:
        receiver.close()


def _serve(app: Any, host: str, port: int, source: str, token: str) -> None:
    """Serve an application until Ctrl-C, and say where."""
    import socket

    import uvicorn

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen()  # whoever reads the address below may call at once
    except OSError as error:
        listening.close()
        raise ConfigError("--port", port, f"a free port ({error.strerror or error})") from None
    shown = f"[{host}]" if ":" in host else host
    url = f"http://{shown}:{listening.getsockname()[1]}/"
    click.echo(f"{source} is shown at {url}{f'?token={token}' if token else ''}  (Ctrl-C ends it)")
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=2
    )
    uvicorn.Server(config).run(sockets=[listening])
