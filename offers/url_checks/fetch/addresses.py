"""Which IP addresses the checker may connect to: those where a public shop can be.

:mod:`ipaddress` is not enough. Its ``is_global`` includes multicast (224.0.0.0/4, ff00::/8), 6to4
(2002::/16) and NAT64 (64:ff9b::/96), which can both contain a private IPv4 address, the
IPv4-compatible ::127.0.0.1, site-local fec0::/10, unassigned space (4000::/3 and beyond), 3fff::/20
and 5f00::/16. Its ``is_private`` excludes 100.64.0.0/10, which providers and clouds use internally.
Both change between versions of Python. So the rule here is independent: allowed blocks, minus
special ones inside them.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

# IANA IPv4 Special-Purpose Address Registry (RFC 6890), all of it, and multicast. The few
# blocks there that are "globally reachable" lead to anycast services, not to shops.
NOT_FOR_SHOPS_4 = tuple(
    IPv4Network(block)
    for block in (
        "0.0.0.0/8",  # "this network", RFC 791
        "10.0.0.0/8",  # private use, RFC 1918
        "100.64.0.0/10",  # shared address space, RFC 6598; metadata of Alibaba Cloud
        "127.0.0.0/8",  # loopback, RFC 1122
        "168.63.129.16/32",  # not in the registry: the platform's server inside Azure
        "169.254.0.0/16",  # link-local, RFC 3927; metadata of most clouds
        "172.16.0.0/12",  # private use, RFC 1918
        "192.0.0.0/24",  # IETF protocol assignments, RFC 6890; metadata of Oracle Cloud
        "192.0.2.0/24",  # documentation, RFC 5737
        "192.31.196.0/24",  # AS112, RFC 7535
        "192.52.193.0/24",  # AMT, RFC 7450
        "192.88.99.0/24",  # 6to4 relays, RFC 7526
        "192.168.0.0/16",  # private use, RFC 1918
        "192.175.48.0/24",  # AS112, RFC 7534
        "198.18.0.0/15",  # benchmarking, RFC 2544
        "198.51.100.0/24",  # documentation, RFC 5737
        "203.0.113.0/24",  # documentation, RFC 5737
        "224.0.0.0/4",  # multicast, RFC 5771
        "240.0.0.0/4",  # reserved, RFC 1112; limited broadcast, RFC 919
    )
)

# Global unicast (RFC 4291). Outside it are, among others, ::1, the
# IPv4-mapped ::ffff:0:0/96, NAT64 64:ff9b::/96 and 64:ff9b:1::/48 (RFC 6052, RFC 8215), discard
# 100::/64 (RFC 6666), segment routing 5f00::/16 (RFC 9602), unique local fc00::/7 (RFC 4193),
# link-local fe80::/10, site-local fec0::/10 (RFC 3879) and multicast ff00::/8.
GLOBAL_UNICAST_6 = IPv6Network("2000::/3")
# The entries of the IANA IPv6 Special-Purpose Address Registry inside global unicast.
NOT_FOR_SHOPS_6 = tuple(
    IPv6Network(block)
    for block in (
        # IETF protocol assignments, RFC 2928: Teredo 2001::/32 (RFC 4380), benchmarking
        # 2001:2::/48, AMT, AS112, ORCHID 2001:10::/28 and 2001:20::/28 (RFC 7343), drone tags.
        "2001::/23",
        "2001:db8::/32",  # documentation, RFC 3849
        "2002::/16",  # 6to4, RFC 3056: contains an IPv4 address, maybe a private one
        "2620:4f:8000::/48",  # AS112, RFC 7534
        "3fff::/20",  # documentation, RFC 9637
    )
)


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Return whether an IP address is public; one with a scope (``%eth0``) never is."""
    if isinstance(address, IPv4Address):
        return not any(address in block for block in NOT_FOR_SHOPS_4)
    return (
        address.scope_id is None
        and address in GLOBAL_UNICAST_6
        and not any(address in block for block in NOT_FOR_SHOPS_6)
    )
