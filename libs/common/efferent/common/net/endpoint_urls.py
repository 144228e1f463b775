"""URLs that a client wants requests to be sent to: HTTPS on port 443 at a public host, or what the operator listed.

A host that the operator listed may have any port and may be spoken to without TLS: it is the operator's own network.
"""

from typing import Final

from yarl import URL

from efferent.common.net.public_addresses import AddressPolicy, ForbiddenAddress, check_host

HTTPS_PORT: Final = 443


class BadEndpointUrl(ValueError):
    """Nothing may be sent to this URL; the message says why."""


def parse(text: str, policy: AddressPolicy) -> URL:
    """Read and check a URL, without resolving its host. Raises BadEndpointUrl."""
    if not text.isascii() or not text.isprintable() or " " in text:
        raise BadEndpointUrl("must be a URL in ASCII")
    try:
        url = URL(text)
        host, port = url.raw_host or "", url.port
    except ValueError as error:
        raise BadEndpointUrl("must be a valid URL") from error
    if url.scheme not in ("https", "http") or not host:
        raise BadEndpointUrl("must be an https:// URL with a host")
    if url.raw_user is not None or url.raw_password is not None:
        raise BadEndpointUrl("must not hold a user name or password")
    if url.raw_fragment:
        raise BadEndpointUrl("must not have a fragment")
    if policy.lists(host):
        return url
    if url.scheme != "https":
        raise BadEndpointUrl("must be an https:// URL")
    if port != HTTPS_PORT:
        raise BadEndpointUrl(f"must use port {HTTPS_PORT}")
    try:
        check_host(host, policy)
    except ForbiddenAddress as error:
        raise BadEndpointUrl("must have a public host") from error
    if "." not in host and ":" not in host:
        raise BadEndpointUrl("must have a public host")
    return url
