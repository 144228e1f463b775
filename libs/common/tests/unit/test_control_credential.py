"""Credentials: laws that hold whatever is asked in whatever order, and when two servers are the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from efferent.common.domain import timestamp
from efferent.common.domain.control.aggregate import SetFacts
from efferent.common.domain.control.credential import (
    CREDENTIAL,
    CREDENTIALS_MAX,
    RECORDS_MAX,
    ArchiveCredential,
    CreateCredential,
    CredentialCommand,
    DeleteCredential,
    EnvironmentVariablePatch,
    McpOAuthPatch,
    NewSecrets,
    RecordRefresh,
    RecordRefreshFailure,
    SecretsMoved,
    StaticBearerPatch,
    UpdateCredential,
    decide,
)
from efferent.common.domain.control.credential_rules import server_key
from efferent.common.domain.ids import CredentialId, VaultId
from efferent.common.domain.refusals import InvalidRequest, Refused
from efferent.common.domain.resources.vault import McpOAuthAuth, OAuthRefresh, StoredCredential, TokenEndpointAuth
from efferent.common.domain.sealed import Sealed

NOW = timestamp.from_epoch_us(1_800_000_000_000_000)
LATER = timestamp.from_epoch_us(1_900_000_000_000_000)
AUTH = McpOAuthAuth(
    mcp_server_url="https://mcp.example.com",
    refresh=OAuthRefresh(
        client_id="c",
        token_endpoint="https://mcp.example.com/token",
        token_endpoint_auth=TokenEndpointAuth(type="none"),
    ),
)


def sealed(number: int) -> Sealed:
    return Sealed(key_id=str(number), nonce="", ciphertext="")


def created() -> StoredCredential:
    command = CreateCredential(CredentialId("vcrd_a"), VaultId("vlt_a"), AUTH, sealed(0))
    change = decide(None, command, NOW)
    assert change is not None
    return change.data


KEYS = st.integers(min_value=0, max_value=2).map(sealed)
SECRETS = st.builds(NewSecrets, KEYS, KEYS)
COMMANDS = st.one_of(
    st.builds(
        UpdateCredential,
        display_name=st.sampled_from([None, "a", "b"]),
        metadata=st.dictionaries(st.sampled_from("abc"), st.sampled_from([None, "x", "y"])),
        auth=st.sampled_from(
            [
                None,
                McpOAuthPatch(expires_at=LATER),
                McpOAuthPatch(expires_at=NOW),
                McpOAuthPatch(scope="x", touches_refresh=True),
                McpOAuthPatch(touches_refresh=True, touches_client_secret=True),
                StaticBearerPatch(),
                EnvironmentVariablePatch(header=False),
            ]
        ),
        secrets=st.none() | SECRETS,
    ),
    st.builds(RecordRefresh, SECRETS, st.sampled_from([None, LATER])),
    st.sampled_from([RecordRefreshFailure(), ArchiveCredential(), DeleteCredential()]),
)


@given(st.lists(COMMANDS, max_size=10))
def test_what_identifies_a_credential_never_changes_and_an_archived_one_has_no_secret(
    commands: list[CredentialCommand],
) -> None:
    credential = created()
    for command in commands:
        try:
            change = decide(credential, command, NOW)
        except Refused:
            continue
        if change is None:
            continue
        after = change.data
        assert (after.id, after.vault_id, after.created_at) == (credential.id, credential.vault_id, NOW)
        assert CREDENTIAL.unique_name(after) == CREDENTIAL.unique_name(credential)
        assert after.updated_at >= credential.updated_at
        assert (change.deed in ("archived", "deleted") or credential.archived_at is not None) == (after.sealed is None)
        assert "sealed" not in CREDENTIAL.shown(after).decode()
        if change.deed == "deleted":
            return
        credential = after


def test_secrets_that_were_made_from_others_are_refused() -> None:
    credential = created()
    moved = NewSecrets(sealed(2), instead_of=sealed(1))
    for command in (UpdateCredential(secrets=moved), RecordRefresh(moved, None)):
        with pytest.raises(SecretsMoved):
            decide(credential, command, NOW)


@pytest.mark.parametrize(
    ("facts", "is_admitted"),
    [
        (SetFacts(parent="active", members=CREDENTIALS_MAX - 1, total=RECORDS_MAX - 1), True),
        (SetFacts(parent="active", members=CREDENTIALS_MAX), False),
        (SetFacts(parent="active", total=RECORDS_MAX), False),
        (SetFacts(parent="active", holder="vcrd_b"), False),
        (SetFacts(parent="archived"), False),
        (SetFacts(parent="missing"), False),
    ],
)
def test_who_may_join_a_vault(facts: SetFacts, is_admitted: bool) -> None:
    admit = CREDENTIAL.admit
    assert admit is not None
    if is_admitted:
        admit(created(), facts)
        return
    with pytest.raises(Refused):
        admit(created(), facts)


@pytest.mark.parametrize(
    ("url", "other", "is_same"),
    [
        ("https://a.example/x", "HTTPS://A.example:443/x/", True),
        ("http://a.example", "http://a.example:80/", True),
        ("https://a.example/x", "https://a.example/X", False),
        ("https://a.example/x", "https://b.a.example/x", False),
        ("https://a.example/x", "https://a.example:8443/x", False),
        ("https://a.example/x", "http://a.example/x", False),
        ("https://a.example/x?a=1", "https://a.example/x?a=2", False),
    ],
)
def test_when_two_urls_name_one_server(url: str, other: str, is_same: bool) -> None:
    assert (server_key(url) == server_key(other)) is is_same


def test_a_token_that_ends_now_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="must be in the future"):
        decide(created(), UpdateCredential(auth=McpOAuthPatch(expires_at=NOW)), NOW)
