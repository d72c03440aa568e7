"""The IP addresses and the URLs that the URL checker may contact."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offers.url_checks.fetch.addresses import is_public
from offers.url_checks.fetch.urls import NotAllowed, redirected, target_of

# The IANA registries, with multicast and unassigned space: repeated here, so that an error in the
# list of the code shows.
SPECIAL = """
0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 168.63.129.16/32 169.254.0.0/16 172.16.0.0/12
192.0.0.0/24 192.0.2.0/24 192.31.196.0/24 192.52.193.0/24 192.88.99.0/24 192.168.0.0/16
192.175.48.0/24 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4
255.255.255.255/32
::/128 ::1/128 ::/96 ::ffff:0:0/96 64:ff9b::/96 64:ff9b:1::/48 100::/64 100:0:0:1::/64 2001::/23
2001::/32 2001:1::/32 2001:2::/48 2001:3::/32 2001:4:112::/48 2001:10::/28 2001:20::/28 2001:30::/28
2001:db8::/32 2002::/16 2620:4f:8000::/48 3fff::/20 4000::/3 5f00::/16 6000::/3 8000::/3 a000::/3
c000::/3 e000::/4 f000::/5 f800::/6 fc00::/7 fe00::/9 fe80::/10 fec0::/10 ff00::/8
"""
# Right before and after the special blocks, and some well-known ones.
PUBLIC = """
1.0.0.0 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0 168.63.129.15
168.63.129.17 169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 191.255.255.255 192.0.1.0
192.0.1.255 192.0.3.0 192.31.195.255 192.31.197.0 192.88.98.255 192.88.100.0 192.167.255.255
192.169.0.0 198.17.255.255 198.20.0.0 198.51.99.255 198.51.101.0 203.0.112.255 203.0.114.0
223.255.255.255 8.8.8.8 93.184.215.14
2000:: 2001:200:: 2001:db7:ffff:ffff:ffff:ffff:ffff:ffff 2001:db9:: 2003:: 2600:1f18::1
2620:4f:7fff:ffff:ffff:ffff:ffff:ffff 2620:4f:8001:: 2a00:1450:4001:830::200e 3fff:1000::
3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff
"""


@pytest.mark.parametrize("block", SPECIAL.split())
def test_special_purpose_addresses_are_not_public(block: str) -> None:
    network = ip_network(block)
    for address in (network[0], network[-1], network[network.num_addresses // 2]):
        assert is_public(address) is False


@pytest.mark.parametrize("address", PUBLIC.split())
def test_other_addresses_are_public(address: str) -> None:
    assert is_public(ip_address(address)) is True


def test_address_with_a_scope_is_not_public() -> None:
    assert is_public(ip_address("2600::1")) is True
    assert is_public(ip_address("2600::1%eth0")) is False


@pytest.mark.parametrize(
    ("url", "canonical", "host", "port"),
    [
        ("http://shop.example", "http://shop.example/", "shop.example", 80),
        ("HTTPS://Shop.Example/A?B#c", "https://shop.example/A?B", "shop.example", 443),
        ("https://shop.example:443/", "https://shop.example/", "shop.example", 443),
        ("http://shop.example:0080", "http://shop.example/", "shop.example", 80),
        ("http://shop.example:/a", "http://shop.example/a", "shop.example", 80),
        ("http://shop.example:443/", "http://shop.example:443/", "shop.example", 443),
        ("https://shop.example.:8443/", "https://shop.example:8443/", "shop.example", 8443),
        ("\x01 http://shop.example/a\tb\n ", "http://shop.example/ab", "shop.example", 80),
        ("http:\\\\shop.example\\a?\\", "http://shop.example/a?\\", "shop.example", 80),
        ("http://shop.example\\@evil.example/", "http://shop.example/@evil.example/", None, 80),
        ("http://a_b-.shop.example/", "http://a_b-.shop.example/", "a_b-.shop.example", 80),
        ("http://bücher.example/ü", "http://xn--bcher-kva.example/%C3%BC", None, 80),
        ("http://BÜCHER。example/", "http://xn--bcher-kva.example/", None, 80),
        ("http://shop.example/ \"<>`{}'|^", None, "shop.example", 80),
        ("http://shop.example/%7e%2F%zz?q=%41", "http://shop.example/%7e%2F%zz?q=%41", None, 80),
        ("http://93.184.215.14/", "http://93.184.215.14/", "93.184.215.14", 80),
        ("http://\uff19\uff13.184.215.14/", "http://93.184.215.14/", "93.184.215.14", 80),
        ("http://93.184.0xd70e/", "http://93.184.215.14/", "93.184.215.14", 80),
        ("http:///shop.example/a", "http://shop.example/a", "shop.example", 80),
        ("http://shop%2eexample/", "http://shop.example/", "shop.example", 80),
        ("https://i\u2764.ws/x", "https://xn--i-7iq.ws/x", "xn--i-7iq.ws", 443),
        ("http://my_shop.example/A/../b/./c", "http://my_shop.example/b/c", None, 80),
        ("http://shop.example/A/%2e%2E/b", "http://shop.example/b", "shop.example", 80),
        ("http://[2A00:1450::0:E]:8080/", "http://[2a00:1450::e]:8080/", "2a00:1450::e", 8080),
    ],
)
def test_url_is_parsed_as_in_browsers(
    url: str, canonical: str | None, host: str | None, port: int
) -> None:
    target = target_of(url)
    assert target.url == (canonical or "http://shop.example/%20%22%3C%3E%60%7B%7D'|%5E")
    assert target.port == port
    assert host in {None, target.host}


SCHEME = "Only URLs that start with http:// or https:// are checked."
USER = "The URL contains a user name or password, which is not allowed."
INVALID = "The URL is not valid."


@pytest.mark.parametrize(
    ("url", "detail"),
    [
        ("", SCHEME),
        ("shop.example/page", SCHEME),
        ("//shop.example/page", SCHEME),
        ("ftp://shop.example/", SCHEME),
        ("file:/etc/passwd", SCHEME),
        ("gopher://shop.example:80/", SCHEME),
        ("javascript:alert(1)", SCHEME),
        ("http://", INVALID),
        ("http://shop..example/", INVALID),
        ("http://shop.example../", INVALID),
        ("http://.shop.example/", INVALID),
        ("http://sh op.example/", INVALID),
        ("http://sh%6fp ex.example/", INVALID),
        ("http://sh\x00op.example/", INVALID),
        ("http://" + "a" * 64 + ".example/", INVALID),
        ("http://" + "a." * 127 + "example/", INVALID),
        ("http://shop.example:80:80/", INVALID),
        ("http://shop.example:8o/", INVALID),
        ("http://shop.example:\uff18\uff10/", INVALID),
        ("http://shop.example:-80/", INVALID),
        ("http://1.2.3.4.5/", INVALID),
        ("http://256.1.1.1/", INVALID),
        ("http://user@shop.example/", USER),
        ("http://user:secret@shop.example/", USER),
        ("http://[2600::1%25eth0]/", INVALID),
        ("http://[2600::1::1]/", INVALID),
        ("http://[93.184.215.14]/", INVALID),
        ("http://[2600::1/", INVALID),
        ("http://[2600::1]x/", INVALID),
        ("http://shop.example\uff0f.evil.example/", INVALID),
        (
            "http://shop.example:22/",
            "The URL has port 22; only 80, 443, 8080 and 8443 are allowed.",
        ),
        (
            "http://shop.example:0/",
            "The URL has port 0; only 80, 443, 8080 and 8443 are allowed.",
        ),
        ("http://shop.example/" + "a" * 8000, "The URL has more than 8,000 characters."),
    ],
)
def test_url_not_allowed_has_a_reason(url: str, detail: str) -> None:
    with pytest.raises(NotAllowed) as refusal:
        target_of(url)
    assert refusal.value.detail == detail


@pytest.mark.parametrize(
    ("location", "onward"),
    [
        ("/b", "https://shop.example/b"),
        ("b", "https://shop.example/a/b"),
        ("../b#c", "https://shop.example/b"),
        ("?q", "https://shop.example/a/page?q"),
        ("//other.example/b", "https://other.example/b"),
        ("http://shop.example:8080/b", "http://shop.example:8080/b"),
        ("/ä b", "https://shop.example/%C3%A4%20b"),
        ("/caf\udce9", "https://shop.example/caf%E9"),
        ("https://shöp.example/", "https://xn--shp-tna.example/"),
    ],
)
def test_redirect_is_resolved_as_in_browsers(location: str, onward: str) -> None:
    assert redirected(target_of("https://shop.example/a/page?p#f"), location).url == onward


@pytest.mark.parametrize("location", ["ftp://a.example/", "//[", "//u@a.example/", "//\udce9.a/"])
def test_redirect_is_parsed_as_strictly_as_a_url(location: str) -> None:
    with pytest.raises(NotAllowed):
        redirected(target_of("https://shop.example/"), location)


parts = st.sampled_from(
    ["http://", "https:", "//", "@", "[", "]", ":80", "::1", "a.b", "127.1", "\uff0e"]
)


@given(st.lists(parts | st.text(max_size=6), max_size=8).map("".join))
def test_parsing_is_idempotent_for_random_text(text: str) -> None:
    for url in (text, f"http://{text}", f"http://shop.example/{text}"):
        try:
            target = target_of(url)
        except NotAllowed:
            continue
        assert target_of(target.url) == target
        assert target.url.isascii()
        assert target.url.isprintable()
