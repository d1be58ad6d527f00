"""Who calls: tokens, scopes, merchants, and where the development client may be used."""

import pytest

from domain.ids import ClientId, MerchantId
from identity.clients import Client, Scope, StaticClients
from identity.policy import StaticClientRefused, is_loopback, require_development

CLIENT = Client(id=ClientId("dev"), scopes=frozenset({Scope.PAYMENTS_READ}))


def test_only_the_whole_token_names_the_client() -> None:
    clients = StaticClients("s3cret", CLIENT)
    assert clients.authenticate("s3cret") is CLIENT
    for wrong in ("", "s3cre", "s3crett", "S3CRET", " s3cret", "s3cret\0", "\udcff"):
        assert clients.authenticate(wrong) is None


def test_an_empty_token_is_not_taken_for_a_secret() -> None:
    with pytest.raises(ValueError, match="everybody"):
        StaticClients("", CLIENT)


def test_a_client_acts_for_its_own_merchants_or_for_all() -> None:
    assert CLIENT.may_act_for("m_any")
    mine = Client(id=ClientId("one"), scopes=frozenset(), merchants=frozenset({MerchantId("m_bakery")}))
    assert mine.may_act_for("m_bakery")
    assert not mine.may_act_for("m_bikes")
    assert not mine.may_act_for("")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost"])
def test_the_development_client_is_used_on_loopback(host: str) -> None:
    require_development(host=host, mode="development")
    with pytest.raises(StaticClientRefused, match="live"):
        require_development(host=host, mode="live")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "192.168.1.4", "", "api", "localhost.example.com"])
def test_the_development_client_is_refused_wherever_others_could_reach_it(host: str) -> None:
    assert not is_loopback(host)
    with pytest.raises(StaticClientRefused, match="loopback"):
        require_development(host=host, mode="development")
