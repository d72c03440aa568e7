"""What goes wrong on the way to a page, as a failure and a sentence for a person.

The sentences name nothing of this machine's network: no addresses, ports or errors of libraries.
"""

from __future__ import annotations

import errno
import ssl

import aiohttp

from offers.checking.answers import Failure
from offers.checking.resolver import LookupFailed

# Codes of OpenSSL (x509_vfy.h): why a certificate is not trusted.
_AUTHORITY = "The shop's certificate comes from an authority that is not trusted."
_CERTIFICATE = {
    9: "The shop's certificate is not valid yet.",
    10: "The shop's certificate has expired.",
    18: "The shop's certificate is signed by nobody but the shop itself.",
    19: _AUTHORITY,
    # Browsers often know what a server leaves out between its certificate and the authority.
    20: "The shop's certificate comes from an unknown authority, or with a gap in its chain.",
    21: "The shop's certificate comes from an unknown authority, or with a gap in its chain.",
    62: "The shop's certificate is for another host name.",
    64: "The shop's certificate is for another address.",
}
_NO_TLS = "The shop's server makes no secure connection: it does not speak TLS as it should."
_NO_CONNECTION = "No connection to the shop's server can be made."
_NO_ANSWER = "The shop's server closes the connection without an answer."
_CONNECTION = {
    errno.ECONNREFUSED: "The shop's server refuses the connection.",
    errno.ECONNRESET: _NO_ANSWER,
}
_NOT_HTTP = "The shop's server does not answer as the HTTP standard says."
_GARBLED = "The shop's page breaks off, or is garbled on its way."


def explain(
    error: Exception, *, answered: bool, connect_seconds: float, total_seconds: float
) -> tuple[Failure, str]:
    """Return which failure an error of the client is, and a sentence.

    ``answered`` says whether a status had come before.
    """
    if isinstance(error, LookupFailed):
        return Failure.DNS, error.detail
    if isinstance(error, TimeoutError):
        if isinstance(error, aiohttp.ConnectionTimeoutError):
            what, seconds = "The shop's server could not be reached", connect_seconds
        elif answered:
            what, seconds = "The shop's page did not come to an end", total_seconds
        else:
            what, seconds = "The shop did not answer", total_seconds
        return Failure.TIMEOUT, f"{what} within {seconds:g} seconds."
    if answered:
        return Failure.PROTOCOL, _GARBLED
    if isinstance(error, ssl.SSLError):
        cause = getattr(error, "certificate_error", None)
        return Failure.TLS, _NO_TLS if cause is None else _untrusted(cause)
    if isinstance(error, OSError | aiohttp.ClientConnectionError):
        is_connected = not isinstance(error, aiohttp.ClientConnectorError)
        other = _NO_ANSWER if is_connected else _NO_CONNECTION
        return Failure.CONNECTION, _CONNECTION.get(getattr(error, "errno", None) or 0, other)
    return Failure.PROTOCOL, _NOT_HTTP


def _untrusted(error: Exception) -> str:
    code = error.verify_code if isinstance(error, ssl.SSLCertVerificationError) else 0
    return _CERTIFICATE.get(code, "The shop's certificate is not trusted.")
