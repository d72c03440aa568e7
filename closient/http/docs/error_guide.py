"""Causes and solutions of every error, for the pages in the ``type`` of problems."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from django.conf import settings


@dataclasses.dataclass(frozen=True)
class Guide:
    """The causes of an error, and what to do about it; entries of one or two sentences."""

    causes: tuple[str, ...]
    cures: tuple[str, ...]


GUIDES: Mapping[str, Guide] = {
    "bad_request": Guide(
        (
            "The body is not valid JSON in UTF-8, or it is nested too deeply.",
            "An object in the body has the same member twice, or a number is out of range.",
            "A form is damaged, or the connection ended before the whole body arrived.",
        ),
        (
            "Read detail: it names the line and column, or the byte, that could not be read.",
            "Let a JSON library write the body instead of joining strings.",
        ),
    ),
    "unauthorized": Guide(
        (
            "The X-API-Key header is missing or misspelled.",
            "The key is incomplete, unknown, revoked or expired. The response does not say which.",
            "A browser session has ended.",
        ),
        (
            "Send the whole key, as it was shown when it was created, in the X-API-Key header.",
            "Ask an owner or manager whether the key is still active, or create a new one.",
        ),
    ),
    "forbidden": Guide(
        (
            "The key's role, or your role in the organization, does not allow this request.",
            "A write with a browser session came without the CSRF token.",
        ),
        (
            "Call GET /account/api/v1/whoami: it lists your role in every organization.",
            "Use a key with the role editor to write data, manager to change keys and the rule.",
            "With a browser session, send the CSRF token in the X-CSRFToken header.",
        ),
    ),
    "not_found": Guide(
        (
            "The id or GTIN in the path does not exist, or it was deleted.",
            "It belongs to an organization that your key has no access to. "
            "The response is the same in both cases.",
            "The path is misspelled.",
        ),
        (
            "Take ids from lists and from the Location header of the response to a POST.",
            "Call GET /account/api/v1/whoami: it lists the organizations of your key.",
        ),
    ),
    "method_not_allowed": Guide(
        ("The path exists, but it does not support this HTTP method.",),
        (
            "Use one of the methods in the Allow header of the response.",
            "To change a resource, use PATCH. PUT is for the rule and the order of images.",
        ),
    ),
    "not_acceptable": Guide(
        ("The Accept header allows neither application/json nor application/problem+json.",),
        ("Send Accept: application/json, or leave the header out.",),
    ),
    "conflict": Guide(
        (
            "A resource with the same unique fields exists: for example the same GTIN.",
            "An Idempotency-Key was used with another body, or its response contains a secret.",
            "The resource is in a state that does not allow the request.",
            "Another request changed or deleted a resource that this one refers to.",
        ),
        (
            "Read detail: it names the rule. If another resource causes the conflict, Location is "
            "its URL and conflicting_id its id.",
            "Use a new Idempotency-Key for each new resource.",
        ),
    ),
    "precondition_failed": Guide(
        (
            "The resource changed after you read the ETag that you sent in If-Match.",
            "The tag is weak (W/), or a proxy has changed it.",
            "The request is a POST that creates a resource: there is no version to match.",
        ),
        (
            "Get the resource again, apply your change to that version, and send the new ETag.",
            "Leave out If-Match to write to any version.",
        ),
    ),
    "payload_too_large": Guide(
        (
            f"A JSON body is larger than {settings.API_LARGEST_BODY:,} bytes, or a batch larger "
            f"than {settings.API_LARGEST_BATCH:,}.",
            f"A form is larger than {settings.API_LARGEST_UPLOAD:,} bytes.",
            "An image file is larger than the service accepts.",
        ),
        (
            "Send fewer values or items at once, or a smaller image.",
            "Import large catalogs from a file on the import page.",
        ),
    ),
    "uri_too_long": Guide(
        (f"Path and query have more than {settings.API_LONGEST_ADDRESS:,} characters.",),
        ("Shorten the query, or split it into several requests.",),
    ),
    "unsupported_media_type": Guide(
        (
            "The Content-Type header does not name a media type that this endpoint reads.",
            "An uploaded file is not an image of a supported format. SVG is rejected: "
            "it can contain scripts.",
        ),
        (
            "Send JSON with Content-Type: application/json, images as multipart/form-data.",
            "Convert the picture to JPEG, PNG, GIF, WebP, HEIC, AVIF or BMP.",
        ),
    ),
    "validation_error": Guide(
        ("One or more values in the body, the query or a header break a rule.",),
        (
            "Read errors: each entry has a pointer to the value, a code and a sentence.",
            "Correct the values and send the request again. Nothing was changed.",
        ),
    ),
    "rate_limited": Guide(
        (
            "The key or user has used up its requests of a minute or a day.",
            "An address sent too many requests without a valid key.",
        ),
        (
            "Wait for the seconds in the Retry-After header, then send the request again. "
            "window is the limit that is used up.",
            "Read RateLimit-Remaining and RateLimit-Reset, and slow down before the first is 0.",
            "Request larger pages: page_size can be up to 100.",
        ),
    ),
    "internal_error": Guide(
        ("The service has a bug. It has been logged.",),
        (
            "Report the request_id to the operator of the service.",
            "Send an Idempotency-Key with POST, so that a repeated request creates nothing twice.",
        ),
    ),
    "not_implemented": Guide(
        ("The endpoint is documented but not available in this version.",),
        ("Check the documentation of the version that you use.",),
    ),
    "unavailable": Guide(
        (
            "The database is not available, or it is busy.",
            "The service has reached the limit of concurrent expensive requests, "
            "for example image uploads or URL checks of one shop.",
        ),
        (
            "Wait for the seconds in the Retry-After header, then send the request again.",
            "Send an Idempotency-Key with POST, so that a repeated request creates nothing twice.",
        ),
    ),
}

# What `code` in an entry of `errors` can be.
FIELD_CODES: Mapping[str, str] = {
    "above_own": "A key cannot get a higher role, a larger limit or a later expiry than your own.",
    "all_zero": "At least one weight must be above 0.",
    "amount": "The amount must be a number of 0 or more, for example 1.5.",
    "blank": "The string must not be empty.",
    "boolean": "The parameter must be true or false.",
    "choice": "The parameter must be one of the documented values.",
    "control_character": "The string must not contain control characters or line breaks.",
    "country": "The value must be a country: ISO 3166-1 alpha-2, alpha-3 or English name.",
    "currency": "The value must be an ISO 4217 currency code.",
    "cursor": "after must be next_after of a page with the same filters and ordering.",
    "filter_or_ids": "Either filter or ids says which rows are meant.",
    "file": "The file was refused; the detail says why.",
    "damaged": "The image file is damaged or incomplete.",
    "date": "The value must be a date (YYYY-MM-DD), or for a field with a time a date and time.",
    "dates_reversed": "expiry_date must not be before valid_from.",
    "datetime": "The value must be a date without a time.",
    "decimals": "The price has more digits after the point than its currency (ISO 4217).",
    "duplicate": "An earlier item of the batch has the same key.",
    "empty": "The list or file must not be empty.",
    "exclusive": "The parameter cannot be combined with the one that detail names.",
    "expired": "Nothing that old is kept; detail says since when.",
    "gtin_check_digit": "The check digit of the GTIN is wrong.",
    "gtin_digits": "A GTIN has ASCII digits only, without spaces.",
    "gtin_length": "A GTIN has 8, 12, 13 or 14 digits.",
    "gtin_zeros": "A GTIN cannot be all zeros.",
    "id": "An id is a shortuuid of 22 characters or a UUID with hyphens.",
    "idempotency_key": "An Idempotency-Key has 1 to 255 printable ASCII characters.",
    "immutable": "The field cannot be changed after creation.",
    "integer": "The parameter must be an integer.",
    "invalid": "The value has the wrong type or form; detail says what is expected.",
    "invalid_choice": "The value must be one of the documented values.",
    "later": "The old key expires before that date: rotation cannot extend a key.",
    "make_aware": "The date and time do not exist in the time zone.",
    "mapping": "The mapping does not fit the file or the layout; detail says what to change.",
    "max_length": "The value is too long.",
    "max_string_length": "The number has too many characters.",
    "max_value": "The number is too large.",
    "metadata": "Metadata has a value that is not a string, or too many or too long ones.",
    "min_length": "The value is too short.",
    "min_value": "The number is too small.",
    "moment": "The parameter must be a time with an offset, such as 2026-11-24T09:30:00Z.",
    "no_name": "The uploaded file has no name.",
    "not_a_dict": "The value must be an object.",
    "not_a_list": "The value must be a list.",
    "not_settable": "This field cannot be set for many rows at once.",
    "null": "The value must not be null.",
    "null_characters_not_allowed": "The string must not contain NUL characters.",
    "order": "since must not be after until.",
    "origin": "An origin is a scheme, a host and perhaps a port: https, or http for loopback.",
    "other_images": "The list must contain every image of the trade item exactly once.",
    "overflow": "The value is outside the range that can be stored.",
    "past": "The date and time must be in the future.",
    "price": 'The price must be a decimal string of 0 or more, such as "12.50".',
    "primary": "The primary image cannot be unset: make another one primary instead.",
    "range": "The number or date is outside the range in detail.",
    "repeated": "The parameter takes one value and was given several times.",
    "replacement": "A replacement is an object with the texts old and new.",
    "required": "The value is missing.",
    "same": "Both values are the same, so nothing would change.",
    "surrogate_characters_not_allowed": "The string must not contain half a surrogate pair.",
    "text": "The string is too long, too short, or has control characters.",
    "too_many": "There are as many already as are allowed: delete one first.",
    "too_many_pixels": "The image has too many pixels.",
    "type": "The value of a filter must be a text, a number, a boolean or a list of texts.",
    "unknown_fact": "There is no fact with this name.",
    "unknown_field": "The body has a field that the operation does not have.",
    "unknown_gtin": "The organization has no trade item with this GTIN: create it first.",
    "unknown_parameter": "The operation has no query parameter with this name.",
    "url": "The value must be an absolute http or https URL.",
}
