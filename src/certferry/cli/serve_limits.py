"""How much ``certferry serve`` takes at once: the bounds of its services, as options."""

from typing import Annotated

import typer

from certferry.serve.node import ServeOptions

_MOST = 1_000_000

MostTvs = Annotated[
    int, typer.Option("--max-tvs", min=1, max=_MOST, help="TVS connections at once; further phones wait in the queue.")
]
MostHttp = Annotated[
    int, typer.Option("--max-http", min=1, max=_MOST, help="HTTP connections at once; further ones are told 503.")
]
MostPhones = Annotated[
    int | None,
    typer.Option(
        "--max-phones",
        min=1,
        max=_MOST,
        help="Registered phones of one port; else as open files allow.",
    ),
]
MostFromOne = Annotated[
    int | None,
    typer.Option(
        "--max-from-one-address",
        min=1,
        max=_MOST,
        help="Connections to TVS, HTTP and, until a phone is registered over them, SIP, and TFTP transfers, that one "
        "address may hold; else 6000 of TVS, half of HTTP, three quarters of SIP and TFTP.",
    ),
]


def words_of(options: ServeOptions) -> list[str]:
    """Write options as a worker's command line takes them."""
    numbers = {
        "--max-tvs": options.most_tvs,
        "--max-http": options.most_http,
        "--max-phones": options.most_phones,
        "--max-from-one-address": options.most_from_one_address,
    }
    given = [word for name, number in numbers.items() if number is not None for word in (name, str(number))]
    return [*given, *(["--allow-tls10"] if options.allow_tls10 else [])]
