"""Which URLs an endpoint may have."""

import pytest

from efferent.common.net.endpoint_urls import BadEndpointUrl, parse
from efferent.common.net.public_addresses import PUBLIC_ONLY, AddressPolicy

BAD = [
    ("hooks.example.com", "must be an https:// URL with a host"),
    ("https://", "must be an https:// URL with a host"),
    ("ftp://hooks.example.com", "must be an https:// URL with a host"),
    ("file:///etc/passwd", "must be an https:// URL with a host"),
    ("http://hooks.example.com", "must be an https:// URL"),
    ("https://hooks.example.com:8443", "must use port 443"),
    ("https://hooks.example.com:99999", "must be a valid URL"),
    ("https://user:secret@hooks.example.com", "must not hold a user name or password"),
    ("https://user@hooks.example.com", "must not hold a user name or password"),
    ("https://hooks.example.com/#part", "must not have a fragment"),
    ("https://hooks.example.com/ä", "must be a URL in ASCII"),
    ("https://hooks.example.com/a b", "must be a URL in ASCII"),
    ("https://hooks.example.com/a\nb", "must be a URL in ASCII"),
    ("https://localhost/", "must have a public host"),
    ("https://127.0.0.1/", "must have a public host"),
    ("https://2130706433/", "must have a public host"),
    ("https://0177.0.0.1/", "must have a public host"),
    ("https://0x7f.1/", "must have a public host"),
    ("https://[::1]/", "must have a public host"),
    ("https://[::ffff:127.0.0.1]/", "must have a public host"),
    ("https://169.254.169.254/latest", "must have a public host"),
    ("https://10.0.0.1/", "must have a public host"),
    ("https://intranet/", "must have a public host"),
]


@pytest.mark.parametrize(("text", "reason"), BAD)
def test_a_url_that_nothing_may_be_sent_to_is_refused_with_its_reason(text: str, reason: str) -> None:
    with pytest.raises(BadEndpointUrl) as refused:
        parse(text, PUBLIC_ONLY)
    assert str(refused.value) == reason


@pytest.mark.parametrize(
    "text",
    ["https://hooks.example.com", "https://hooks.example.com:443/a?b=c", "https://8.8.8.8/x", "HTTPS://A.EXAMPLE/"],
)
def test_https_at_a_public_host_is_accepted(text: str) -> None:
    assert parse(text, PUBLIC_ONLY).scheme == "https"


def test_a_listed_host_may_have_any_port_and_no_tls() -> None:
    policy = AddressPolicy.parse("127.0.0.0/8 hooks.corp.example")
    assert parse("http://127.0.0.1:8080/x", policy).port == 8080
    assert parse("http://hooks.corp.example:9000/", policy).port == 9000
    with pytest.raises(BadEndpointUrl):
        parse("http://other.corp.example/", policy)
    with pytest.raises(BadEndpointUrl, match="user name"):
        parse("http://a:b@127.0.0.1/", policy)
