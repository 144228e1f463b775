"""Which addresses a request that a client caused may go to: public ones, and those that the operator listed.

Used for webhooks, OAuth, MCP, fetches and egress alike. Pure: nothing here resolves or connects.

    policy = AddressPolicy.parse("mcp.corp.example, *.lab.example, 10.1.0.0/16")    # raises BadAllowList
    check_host("93.184.215.14", policy)          # a URL's host, before anything is asked: raises ForbiddenAddress
    check_address(ip_address, policy, host=...)  # what the host resolved to, right before connecting: the same
    policy.lists("mcp.corp.example")             # whether the operator named the host (or the literal's network)

HTTP that obeys the policy is in ``efferent.common.net.checked_http``. Who speaks HTTP through another library resolves
by ``checked_http.resolve`` and connects to exactly the addresses that it returns.
"""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

ENTRIES_MAX: Final = 256
"""Hosts and networks that an operator may list."""

_REFUSED_V4: Final = (
    IPv4Network("168.63.129.16/32"),  # a cloud's own service to each of its machines, at a public-looking address
    IPv4Network("192.0.0.0/24"),  # protocol assignments, DS-Lite and NAT64 discovery among them
    IPv4Network("192.88.99.0/24"),  # relays of 6to4
)
_UNICAST_V6: Final = IPv6Network("2000::/3")
_REFUSED_V6: Final = (
    IPv6Network("2001::/23"),  # Teredo and other protocol assignments: they hold IPv4 addresses
    IPv6Network("2002::/16"),  # 6to4: holds an IPv4 address
    IPv6Network("3fff::/20"),  # documentation
)
_NAT64: Final = IPv6Network("64:ff9b::/96")
_NAME: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(\.(?!-)[a-z0-9_-]{1,63}(?<!-))*")
_NUMBER: Final = re.compile(r"\d+|0x[0-9a-f]*")
_NAME_LENGTH_MAX: Final = 253


class ForbiddenAddress(Exception):
    """The host is, or resolves to, an address that may not be reached. The message names the host, not the address."""

    def __init__(self, host: str) -> None:
        super().__init__(f"{host} is not a public address")
        self.host = host


class BadAllowList(ValueError):
    """An operator's list of allowed hosts and networks cannot be read."""


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """What may be reached beside public addresses."""

    hosts: frozenset[str] = frozenset()
    """Names (``mcp.corp.example``) and names with all that is below them (``*.lab.example``), in lower case."""
    networks: tuple[Network, ...] = ()

    @classmethod
    def parse(cls, text: str) -> "AddressPolicy":
        """Read a list of hosts, addresses and networks, separated by commas or blanks. Raises BadAllowList."""
        hosts: set[str] = set()
        networks: list[Network] = []
        entries = text.replace(",", " ").split()
        if len(entries) > ENTRIES_MAX:
            raise BadAllowList(f"more than {ENTRIES_MAX} hosts and networks")
        for entry in entries:
            network = _network(entry)
            if network is not None:
                networks.append(network)
            elif is_host_name(entry.removeprefix("*.")):
                hosts.add(_normal(entry))
            else:
                raise BadAllowList(f"{entry!r} is neither a host nor a network (an address, or one with /bits)")
        return cls(frozenset(hosts), tuple(networks))

    def lists(self, host: str) -> bool:
        """Whether the operator named this host, or a network that this literal address is in."""
        literal = literal_address(host)
        if literal is not None:
            return self.has(literal)
        name = _normal(host)
        parts = name.split(".")
        above = (".".join(parts[start:]) for start in range(1, len(parts)))
        return name in self.hosts or any(f"*.{parent}" in self.hosts for parent in above)

    def has(self, address: Address) -> bool:
        """Whether the address is in a listed network."""
        plain = _unmapped(address)
        return any(plain in network for network in self.networks)


PUBLIC_ONLY: Final = AddressPolicy()


def is_public(address: Address) -> bool:
    """Whether the address is one of the public Internet, whatever way it is written in."""
    match _unmapped(address):
        case IPv4Address() as plain:
            return plain.is_global and not plain.is_multicast and not any(plain in network for network in _REFUSED_V4)
        case plain if plain in _NAT64:
            return is_public(IPv4Address(int(plain) & 0xFFFF_FFFF))
        case plain:
            return plain in _UNICAST_V6 and plain.is_global and not any(plain in network for network in _REFUSED_V6)


def check_address(address: Address, policy: AddressPolicy, *, host: str) -> None:
    """Refuse to connect to an address that ``host`` gave. Raises ForbiddenAddress."""
    if not (is_public(address) or policy.has(address) or policy.lists(host)):
        raise ForbiddenAddress(host)


def check_host(host: str, policy: AddressPolicy) -> None:
    """Refuse what can be refused without resolving: literal addresses in any notation. Raises ForbiddenAddress."""
    literal = literal_address(host)
    if literal is not None:
        check_address(literal, policy, host=host)
    elif not is_host_name(host) and not policy.lists(host):
        raise ForbiddenAddress(host)


def literal_address(host: str) -> Address | None:
    """The address that a URL's host is, in its one canonical notation; None for everything else."""
    try:
        return ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return None


def is_host_name(host: str) -> bool:
    """Whether this is a name that DNS may know.

    A name whose last label is a number would be read as an IPv4 address (``127.1``, ``0x7f.1``, ``2130706433``).
    """
    name = _normal(host)
    if len(name) > _NAME_LENGTH_MAX or _NAME.fullmatch(name) is None:
        return False
    return _NUMBER.fullmatch(name.rsplit(".", 1)[-1]) is None


def _normal(host: str) -> str:
    return host.lower().removesuffix(".")


def _unmapped(address: Address) -> Address:
    """The IPv4 address that an IPv6 address stands for; else the address itself without its zone."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        return IPv6Address(int(address))
    return address


def _network(entry: str) -> Network | None:
    try:
        return ip_network(entry.removeprefix("[").removesuffix("]"))
    except ValueError:
        if literal_address(entry.partition("/")[0]) is not None:
            raise BadAllowList(f"{entry!r} is not a network: bits outside of its mask, or no mask") from None
        return None
