"""Whom the API lets in: the development client where it may be used, operators anywhere, and nobody by default."""

import pytest

from identity.clients import NoClients, StaticClients
from identity.operators import OperatorScope
from identity.policy import StaticClientRefused
from workers.server import clients_of
from workers.settings import Settings

TOKEN = "a development token"


def settings(**values: object) -> Settings:
    """Settings of these values, whatever the environment says."""
    return Settings(**{"development_token": TOKEN, "mode": "development", "api_host": "127.0.0.1", **values})  # pyright: ignore[reportArgumentType]


def test_the_development_client_moves_money_and_decides_nothing() -> None:
    clients = clients_of(settings())
    assert isinstance(clients, StaticClients)
    client = clients.authenticate(TOKEN)
    assert client is not None
    assert not {str(scope) for scope in client.scopes} & set(OperatorScope)


@pytest.mark.parametrize(
    "value",
    [{"api_host": "0.0.0.0"}, {"mode": "live", "simulator_secret": "one", "webhook_secret": "two"}],
    ids=["beyond loopback", "live"],
)
def test_it_is_refused_where_others_could_use_it(value: dict[str, str]) -> None:
    with pytest.raises(StaticClientRefused):
        clients_of(settings(**value))


def test_without_one_no_token_is_an_initiators() -> None:
    clients = clients_of(settings(development_token=None, api_host="0.0.0.0"))
    assert isinstance(clients, NoClients)
    for token in ("", TOKEN):
        assert clients.authenticate(token) is None
