"""What is shown of a foreign server's answer: none of the secrets that it was sent, whatever way it writes them."""

import base64
import json
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from efferent.common.vaults.http_seen import scrub

SECRETS = st.text(st.characters(codec="utf-8", exclude_characters="[]redact"), min_size=8, max_size=60)
AROUND = st.text(st.characters(codec="ascii"), max_size=20)

ENCODINGS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "JSON": json.dumps,
    "JSON in JSON letters": lambda text: json.dumps(text, ensure_ascii=False),
    "URL": lambda text: quote(text, safe=""),
    "form": quote_plus,
    "hexadecimal": lambda text: text.encode().hex(),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 for URLs": lambda text: base64.urlsafe_b64encode(text.encode()).decode(),
    "base64 of a form": lambda text: base64.b64encode(quote_plus(text).encode()).decode(),
}


def core(secret: str) -> str:
    """What must not be left: all but the letters that share a base64 group with what stands around the secret."""
    return secret.encode()[2:-2].decode("utf-8", "ignore")


@pytest.mark.parametrize("encoding", ENCODINGS)
@given(secret=SECRETS, before=AROUND, after=AROUND)
def test_no_encoding_of_a_longer_text_shows_a_secret_in_it(encoding: str, secret: str, before: str, after: str) -> None:
    written = ENCODINGS[encoding](f"{before}{secret}{after}")
    assert scrub(written, [secret]) != written


@given(secret=SECRETS)
def test_a_basic_authorization_does_not_show_the_password(secret: str) -> None:
    for client in ("c", "id", "the client"):
        sent = base64.b64encode(f"{quote_plus(client)}:{quote_plus(secret)}".encode()).decode()
        shown = scrub(f'{{"authorization": "Basic {sent}"}}', [secret])
        assert sent not in shown
        kept = shown.replace("[redacted]", "").removeprefix('{"authorization": "Basic ').removesuffix('"}')
        assert len(kept) <= len(sent) - len(core(quote_plus(secret)))


def test_what_is_too_short_to_be_a_secret_stays() -> None:
    assert scrub("abc abc", ["abc", ""]) == "abc abc"


def test_of_secrets_that_hold_each_other_the_longest_goes_first() -> None:
    assert scrub("token-1-more", ["token-1", "token-1-more"]) == "[redacted]"
