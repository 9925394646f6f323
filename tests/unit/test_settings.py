"""What a setting may be, and what is made of it."""

from __future__ import annotations

import pytest

from services.shared.settings import WrongSetting, read_settings

KEY = "the-operators-key"


@pytest.mark.parametrize("secret", [KEY, KEY + "\n", f" {KEY}\r\n", "p@ss!/w0rd+~=|{}<>"])
def test_an_operators_secret_is_what_arrives_of_it_in_a_header(monkeypatch: pytest.MonkeyPatch, secret: str) -> None:
    monkeypatch.setenv("ZOCO_OPERATOR_TOKEN", secret)
    token = read_settings().operator_token
    assert token and token.get_secret_value() == secret.strip()


@pytest.mark.parametrize(
    "secret", ["contraseña-del-operador", "two words of it", "€" * 16, "a\nb" * 6, "short", "", " " * 16]
)
def test_one_that_no_header_carries_is_refused_by_its_name_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    monkeypatch.setenv("ZOCO_OPERATOR_TOKEN", secret)
    with pytest.raises(WrongSetting) as refused:
        read_settings()
    assert str(refused.value).startswith("ZOCO_OPERATOR_TOKEN is wrong: it travels in a header")
    assert len(secret) < 6 or secret not in str(refused.value)


@pytest.mark.parametrize("name", ["public", "compras", "usuarios", "tokens", "transacciones"])
@pytest.mark.parametrize(
    ("told", "url"),
    [
        ("http://10.0.0.1:8000", "http://10.0.0.1:8000"),
        # What Kubernetes makes of http://$(POD_IP):8000.
        ("http://fd00:10:244::7:8000", "http://[fd00:10:244::7]:8000"),
        ("http://::1:8000", "http://[::1]:8000"),
        ("http://[fd00::7]:8000/", "http://[fd00::7]:8000"),
        ("https://shop.example/", "https://shop.example"),
        ("https://shop.example/zoco/", "https://shop.example/zoco"),
    ],
)
def test_an_address_is_one_that_paths_can_follow(
    monkeypatch: pytest.MonkeyPatch, name: str, told: str, url: str
) -> None:
    monkeypatch.setenv(f"ZOCO_{name.upper()}_URL", told)
    assert getattr(read_settings(), f"{name}_url") == (url if name == "public" else (url,))


@pytest.mark.parametrize("name", ["public", "compras", "usuarios", "tokens", "transacciones", "management"])
@pytest.mark.parametrize(
    "told", ["http://one:96208", "http://one:0", "http://one:http", "https://:8000", "http://", "http://[fd00::7"]
)
def test_an_address_that_nobody_has_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, told: str) -> None:
    """A port is taken modulo 65536, and whoever is there is asked."""
    monkeypatch.setenv(f"ZOCO_{name.upper()}_URL", told)
    with pytest.raises(WrongSetting, match=rf"ZOCO_{name.upper()}_URL is wrong: .*http://host:port"):
        read_settings()


def test_a_name_of_the_shop_is_as_browsers_have_it_in_host(monkeypatch: pytest.MonkeyPatch) -> None:
    spain = "xn--espaa-rta.example"
    told = f"Shop.Example, shop.example., tienda_1.example, españa.example, {spain}, 10.0.0.5, [::1], localhost"
    monkeypatch.setenv("ZOCO_PUBLIC_HOSTS", told)
    names = ("shop.example", "shop.example", "tienda_1.example", spain, spain, "10.0.0.5", "[::1]", "localhost")
    assert read_settings().public_hosts == names


@pytest.mark.parametrize(
    "told",
    [
        "shop.example:8443",
        "https://shop.example",
        "shop.example/",
        "*.shop.example",
        ".shop.example",
        "shop..example",
        "my shop",
        "-shop.example",
        # Two readers make two names of it.
        "straße.example",
        "shop.example\x7f",
    ],
)
def test_a_name_that_no_request_could_have_is_refused_with_the_cure(monkeypatch: pytest.MonkeyPatch, told: str) -> None:
    monkeypatch.setenv("ZOCO_PUBLIC_HOSTS", f"localhost, {told}")
    with pytest.raises(
        WrongSetting, match=r"ZOCO_PUBLIC_HOSTS is wrong: .* give it as shop\.example \(or xn--…\), without"
    ):
        read_settings()


def test_a_service_may_answer_at_several_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOCO_TOKENS_URL", "http://127.0.0.1:8002/, http://::1:8012")
    assert read_settings().tokens_url == ("http://127.0.0.1:8002", "http://[::1]:8012")
    for wrong in ("", ",", "http://127.0.0.1:8002,127.0.0.1:8012"):
        monkeypatch.setenv("ZOCO_TOKENS_URL", wrong)
        with pytest.raises(WrongSetting, match="ZOCO_TOKENS_URL is wrong"):
            read_settings()
