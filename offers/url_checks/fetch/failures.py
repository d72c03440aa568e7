"""What goes wrong on the way to a page, as a failure and a sentence for a person.

The sentences name nothing of this machine's network: no addresses, ports or errors of libraries.
"""

from __future__ import annotations

import errno

import pycurl

from offers.url_checks.fetch.connections import TransferResult
from offers.url_checks.fetch.responses import Failure

# Codes of OpenSSL (x509_vfy.h): why a certificate is not trusted.
_AUTHORITY = "The shop's certificate comes from an authority that is not trusted."
_CERTIFICATE = {
    9: "The shop's certificate is not valid yet.",
    10: "The shop's certificate has expired.",
    18: "The shop's certificate is self-signed.",
    19: _AUTHORITY,
    # Browsers often know what a server leaves out between its certificate and the authority.
    20: "The shop's certificate comes from an unknown authority, or with a gap in its chain.",
    21: "The shop's certificate comes from an unknown authority, or with a gap in its chain.",
}
_OTHER_HOST = "The shop's certificate is for another host name."
NO_HOST_NAMES = "The shop's certificate names no host (it has no subjectAltName)."
_NO_TLS = "The shop's server makes no secure connection: it does not speak TLS as it should."
_NO_CONNECTION = "No connection to the shop's server can be made."
_REFUSED = "The shop's server refuses the connection."
_NO_ANSWER = "The shop's server closes the connection without an answer."
UNREADABLE = "The shop's server answers with a first line that the checker cannot read."
NOT_HTTP = "The shop's server does not answer as the HTTP standard says."
GARBLED = "The shop's page breaks off, or is garbled on its way."

# By libcurl's codes (https://curl.se/libcurl/c/libcurl-errors.html).
_BY_CODE = {
    pycurl.E_SSL_CONNECT_ERROR: (Failure.TLS, _NO_TLS),
    pycurl.E_SSL_CIPHER: (Failure.TLS, _NO_TLS),
    pycurl.E_USE_SSL_FAILED: (Failure.TLS, _NO_TLS),
    # Something in a first line that begins with HTTP. The second is CURLE_WEIRD_SERVER_REPLY.
    pycurl.E_UNSUPPORTED_PROTOCOL: (Failure.UNREADABLE, UNREADABLE),
    pycurl.E_FTP_WEIRD_SERVER_REPLY: (Failure.UNREADABLE, UNREADABLE),
    pycurl.E_COULDNT_CONNECT: (Failure.CONNECTION, _NO_CONNECTION),
    pycurl.E_GOT_NOTHING: (Failure.CONNECTION, _NO_ANSWER),
    pycurl.E_RECV_ERROR: (Failure.CONNECTION, _NO_ANSWER),
    pycurl.E_SEND_ERROR: (Failure.CONNECTION, _NO_ANSWER),
}


def no_answer(
    outcome: TransferResult, *, os_errno: int, verify_result: int, connect_seconds: float
) -> tuple[Failure, str]:
    """Return which failure an error of libcurl before any status is, and a sentence.

    ``os_errno`` is the system's last error of the connection, ``verify_result`` OpenSSL's verdict
    on the certificate. Raises ``RuntimeError`` when it is this machine's fault.
    """
    code = outcome.code
    if code == pycurl.E_SSL_CACERT_BADFILE:
        raise RuntimeError("The file of certificate authorities cannot be read.")
    if code == pycurl.E_OPERATION_TIMEDOUT:
        unreached = f"The shop's server could not be reached within {connect_seconds:g} seconds."
        return Failure.TIMEOUT, unreached
    if code == pycurl.E_PEER_FAILED_VERIFICATION:
        # libcurl compares the names itself, and OpenSSL knows nothing of it.
        is_other_host = "subject name" in outcome.message
        other = "The shop's certificate is not trusted."
        why = _OTHER_HOST if is_other_host else _CERTIFICATE.get(verify_result, other)
        return Failure.TLS, why
    if code == pycurl.E_COULDNT_CONNECT and os_errno == errno.ECONNREFUSED:
        return Failure.CONNECTION, _REFUSED
    return _BY_CODE.get(code, (Failure.PROTOCOL, NOT_HTTP))


def out_of_time(*, has_answered: bool, seconds: float) -> tuple[Failure, str]:
    """Return the failure of a check that took longer than it may, and a sentence."""
    what = "The shop's page did not end" if has_answered else "The shop did not answer"
    return Failure.TIMEOUT, f"{what} within {seconds:g} seconds."
