"""Which addresses may be reached: a table of notations, and the operator's list."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from efferent.common.net.public_addresses import (
    ENTRIES_MAX,
    PUBLIC_ONLY,
    AddressPolicy,
    BadAllowList,
    ForbiddenAddress,
    check_address,
    check_host,
    is_host_name,
    is_public,
)

PUBLIC = ["8.8.8.8", "93.184.215.14", "2606:4700:4700::1111", "2a00:1450:4001:800::200e", "64:ff9b::808:808"]
NOT_PUBLIC = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "100.100.100.200",  # metadata of a cloud
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",  # metadata of a cloud
    "169.254.169.254",  # metadata of most clouds
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",  # 127.0.0.1, compatible notation
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::7f00:1",  # 127.0.0.1 by NAT64
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",  # Teredo
    "2001:db8::1",
    "2002:7f00:1::",  # 127.0.0.1 by 6to4
    "3fff::1",
    "fc00::1",
    "fd00:ec2::254",  # metadata of a cloud
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
]
NUMBERS_NOT_NAMES = [
    "2130706433",  # 127.0.0.1 in decimal
    "0177.0.0.1",
    "0x7f.0.0.1",
    "0x7f000001",
    "127.1",
    "127.0.1",
    "127.0.0.1.",
    "example.0x1",
]


@pytest.mark.parametrize("text", PUBLIC)
def test_public_addresses_may_be_reached(text: str) -> None:
    assert is_public(ip_address(text))
    check_host(text, PUBLIC_ONLY)


@pytest.mark.parametrize("text", NOT_PUBLIC)
def test_addresses_that_are_not_public_are_refused(text: str) -> None:
    assert not is_public(ip_address(text))
    with pytest.raises(ForbiddenAddress):
        check_host(text, PUBLIC_ONLY)
    with pytest.raises(ForbiddenAddress, match=r"^hooks\.example is not a public address$"):
        check_address(ip_address(text), PUBLIC_ONLY, host="hooks.example")


@pytest.mark.parametrize("host", NUMBERS_NOT_NAMES)
def test_numbers_that_a_socket_would_read_as_an_address_are_refused(host: str) -> None:
    assert not is_host_name(host)
    with pytest.raises(ForbiddenAddress):
        check_host(host, PUBLIC_ONLY)


@pytest.mark.parametrize(
    "host", ["", "a b", "-a.example", "a..b", "a/b", "ä.example", "x" * 64, ".".join(["x" * 60] * 5)]
)
def test_what_is_no_host_name_is_refused(host: str) -> None:
    with pytest.raises(ForbiddenAddress):
        check_host(host, PUBLIC_ONLY)


@pytest.mark.parametrize(
    "host", ["example.com", "EXAMPLE.com", "a_b.example.com.", "xn--bcher-kva.example", "1.example"]
)
def test_a_name_is_judged_by_what_it_resolves_to(host: str) -> None:
    check_host(host, PUBLIC_ONLY)
    with pytest.raises(ForbiddenAddress):
        check_address(ip_address("10.0.0.1"), PUBLIC_ONLY, host=host)


@given(st.integers(0, 2**32 - 1))
def test_an_address_is_judged_alike_in_both_families(number: int) -> None:
    plain = IPv4Address(number)
    assert is_public(IPv6Address(0xFFFF_0000_0000 | number)) == is_public(plain)
    assert is_public(IPv6Address((0x64_FF9B << 96) | number)) == is_public(plain)


@given(st.integers(0, 2**128 - 1).map(IPv6Address) | st.integers(0, 2**32 - 1).map(IPv4Address))
def test_nothing_that_the_registries_call_private_is_public(address: IPv4Address | IPv6Address) -> None:
    if is_public(address):
        refused = (address.is_private, address.is_loopback, address.is_link_local, address.is_multicast)
        assert not any(refused)


def test_the_operator_lists_hosts_wildcards_addresses_and_networks() -> None:
    policy = AddressPolicy.parse("Hooks.Corp.example, *.lab.example 10.1.0.0/16,127.0.0.1, [fd00::1]")
    listed = ["hooks.corp.example", "HOOKS.corp.example.", "a.lab.example", "a.b.lab.example", "10.1.2.3", "[fd00::1]"]
    assert [host for host in listed if not policy.lists(host)] == []
    others = ["corp.example", "lab.example", "badlab.example", "10.2.0.1", "127.0.0.2", "evil-hooks.corp.example"]
    assert [host for host in others if policy.lists(host)] == []


def test_a_listed_host_may_resolve_to_anything_and_a_listed_network_be_reached_by_any_name() -> None:
    policy = AddressPolicy.parse("hooks.corp.example 10.1.0.0/16")
    check_address(ip_address("192.168.0.1"), policy, host="hooks.corp.example")
    check_address(ip_address("10.1.0.1"), policy, host="anything.example")
    check_address(ip_address("::ffff:10.1.0.1"), policy, host="anything.example")
    with pytest.raises(ForbiddenAddress):
        check_address(ip_address("192.168.0.1"), policy, host="anything.example")


@pytest.mark.parametrize("text", ["10.1.0.1/16", "10.0.0.0/33", "*", "*.", "a b/c", "http://a.example", "a.example:80"])
def test_a_list_that_cannot_be_read_is_refused_with_the_entry(text: str) -> None:
    with pytest.raises(BadAllowList, match=r"neither a host nor a network|is not a network"):
        AddressPolicy.parse(text)


def test_the_operators_list_has_a_limit() -> None:
    AddressPolicy.parse(" ".join(f"h{index}.example" for index in range(ENTRIES_MAX)))
    with pytest.raises(BadAllowList, match="more than 256"):
        AddressPolicy.parse(" ".join(f"h{index}.example" for index in range(ENTRIES_MAX + 1)))
