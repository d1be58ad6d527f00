"""Where the static development client may be used. Knows addresses and modes, nothing else of the settings."""

import ipaddress

from domain.errors import HoldfastError

LIVE = "live"


class StaticClientRefused(HoldfastError):
    """The static development client was configured where anybody but its developer could use it."""


def require_development(*, host: str, mode: str) -> None:
    """Raise `StaticClientRefused` unless the API binds to loopback and does not move live money."""
    if mode == LIVE:
        raise StaticClientRefused("the static development client never moves live money: configure credentials")
    if not is_loopback(host):
        raise StaticClientRefused(f"the API binds to {host}, beyond loopback: configure credentials, or bind 127.0.0.1")


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach `host`. A name other than localhost may resolve to anything: no."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:
        return False
