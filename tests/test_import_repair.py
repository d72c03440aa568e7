"""What spreadsheets do to cells: repaired and counted, or refused with the cause and the cure."""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.csv_columns import IMAGE_URL, TEXT_COLUMNS
from catalog.gtin import check_digit
from catalog.models import Product
from certifications.models import CertificationAssignment
from closient.accounts.models import Organization
from dashboard.imports import BadRows, ImportResult
from dashboard.imports.records import Record
from dashboard.imports.repair.conventions import Conventions
from dashboard.imports.repair.gtin import UnusableGtin, read_gtin
from dashboard.imports.repair.html_text import html_to_text, is_html
from dashboard.imports.repair.letters import read_letters
from dashboard.imports.validate import clean_record
from offers.models import Offer
from tests.importing import EAN, EAN_14, UPC, UPC_14, numbers, run, stored, write

pytestmark = pytest.mark.django_db

BLANKS = "blanks and invisible characters removed from GTINs"
ZEROS = "leading zeros put back"
# How Windows shows the bytes 80 to 9F.
SIGNS = {
    byte: sign for byte in range(0x80, 0xA0) if (sign := bytes([byte]).decode("cp1252", "ignore"))
}


def quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"'


def loaded(organization: Organization, folder: Path, header: str, *rows: str) -> ImportResult:
    """Import rows, with the invalid ones rejected."""
    return run(write(folder, "\n".join([header, *rows, ""])), organization, skip_bad_rows=True)


def reasons(result: ImportResult) -> list[str]:
    return [str(problem) for problem in result.problems]


# --- GTINs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "gtin", "repair"),
    [
        (f" {EAN} ", EAN_14, BLANKS),
        (f"\u00a0{EAN}\t", EAN_14, BLANKS),
        ("4 006381 333931", EAN_14, BLANKS),
        (f"\u200b{EAN}\ufeff", EAN_14, BLANKS),
        (f"\u202a{EAN}\u202c", EAN_14, BLANKS),
        ("4006381\u200e333931", EAN_14, BLANKS),
        (f"{EAN}\n", EAN_14, BLANKS),
        ("978-3-16-148410-0", "09783161484100", "hyphens removed from GTINs"),
        ("978\u20133\u201316\u2013148410\u20130", "09783161484100", "hyphens removed from GTINs"),
        (f"'{EAN}", EAN_14, "apostrophes removed from GTINs"),
        (f'="{EAN}"', EAN_14, 'the ="..." around GTINs removed'),
        (f"{EAN}.0", EAN_14, "decimal zeros removed from GTINs"),
        (f"{EAN},00", EAN_14, "decimal zeros removed from GTINs"),
        ("4.006381333931E+12", EAN_14, "GTINs with an exponent written out"),
        ("36000291452", UPC_14, ZEROS),
        ("1234565", "00000001234565", ZEROS),
        ("0001234565", "00000001234565", ZEROS),
    ],
)
def test_gtin_is_repaired_and_the_repair_is_counted(
    organization: Organization, tmp_path: Path, cell: str, gtin: str, repair: str
) -> None:
    result = loaded(organization, tmp_path, "gtin,name", f"{quoted(cell)},x")
    assert [each["gtin"] for each in stored(organization)] == [gtin]
    assert result.repairs == {repair: 1}


NO_CHECK_DIGIT = "A GTIN has 8, 12, 13 or 14 digits; this one has {0}"
CUT = "A spreadsheet has cut the digits: format the column as text and export again"
SEVERAL = "The cell has several numbers: give each product a row with its own GTIN"
ISBN_10 = "This is an ISBN-10: use the ISBN-13, which begins with 978"
NO_DIGITS = "A GTIN consists of the digits 0 to 9 only"


@pytest.mark.parametrize(
    ("cell", "rule", "reason"),
    [
        ("4.00638E+12", "digits cut by a spreadsheet", CUT),
        ("4,00638E+12", "digits cut by a spreadsheet", CUT),
        ("4E12", "digits cut by a spreadsheet", CUT),
        (f"{EAN},{EAN}", "several numbers in one cell", SEVERAL),
        (f"{EAN} / {EAN}", "several numbers in one cell", SEVERAL),
        (f"{EAN} {EAN}", "several numbers in one cell", SEVERAL),
        ("0306406152", "ISBN-10", ISBN_10),
        ("080442957X", "ISBN-10", ISBN_10),
        ("3-16-148410-X", "ISBN-10", ISBN_10),
        (
            "４００６３８１３３３９３１",  # noqa: RUF001
            "other digits",
            "Write the GTIN with the digits 0 to 9, not with those of a script",
        ),
        (
            "4006381333932",
            "wrong check digit",
            "The check digit is wrong: 400638133393 is followed by 1, not 2",
        ),
        (
            "40063813338",
            "too short",
            "A GTIN has 8, 12, 13 or 14 digits; this one has 11, and with zeros before it the "
            "check digit is wrong",
        ),
        ("123457", "too short", NO_CHECK_DIGIT.format(6)),
        ("000004008400404127", "too long", NO_CHECK_DIGIT.format(18)),
        ("0000000000000", "zeros only", "A GTIN cannot consist of zeros only"),
        ("0000000", "too short", NO_CHECK_DIGIT.format(7)),
        (f"-{EAN}", "not a number", NO_DIGITS),
        (f"(01){EAN_14}", "not a number", NO_DIGITS),
        ("4006381.333931", "not a number", NO_DIGITS),
        ("N/A", "not a number", NO_DIGITS),
        (
            "04252614",
            "UPC-E",
            "This is the short form (UPC-E) of 042100005264: write that, or name the column UPC",
        ),
    ],
)
def test_gtin_without_all_digits_is_rejected_with_cause_and_cure(
    organization: Organization, tmp_path: Path, cell: str, rule: str, reason: str
) -> None:
    result = loaded(organization, tmp_path, "gtin,name", f"{quoted(cell)},x")
    assert stored(organization) == []
    (group,) = result.problem_groups
    assert (group.rule, group.count, group.line) == (f"gtin: {rule}", 1, 2)
    assert group.example.startswith(f"gtin: {reason}")
    assert result.repairs == {}


def test_upc_e_is_expanded_only_in_a_column_of_upcs(
    organization: Organization, tmp_path: Path
) -> None:
    # One of each way to leave out zeros. The fourth would be right as a GTIN-8, which begins with
    # no zero; the last two are GTIN-8s.
    cells = ["04252614", "01234531", "07654349", "01234558", "12345670", "96385074"]
    for cell in cells[:3]:
        with pytest.raises(UnusableGtin):
            read_gtin(cell, "EAN")
    assert read_gtin(cells[3], "EAN").gtin == "00000001234558"
    result = loaded(organization, tmp_path, "UPC,name", *(f"{cell},x" for cell in cells))
    assert sorted(Product.objects.values_list("gtin", flat=True)) == [
        "00000012345670",
        "00000096385074",
        "00012300000451",
        "00012345000058",
        "00042100005264",
        "00076540000039",
    ]
    assert result.repairs == {"UPC-E numbers expanded": 4}


def test_repaired_gtin_counts_as_used(organization: Organization, tmp_path: Path) -> None:
    result = loaded(organization, tmp_path, "gtin,name", "36000291452,a", "036000291452,b")
    assert numbers(result) == (2, 1, 0, 0, 1)
    assert reasons(result) == ["line 3: gtin: comes twice in the file, the first time in line 2"]


@st.composite
def gtins(draw: st.DrawFn) -> str:
    """Valid GTINs of any length, some with zeros before them."""
    length = draw(st.sampled_from([8, 12, 13, 14]))
    zeros = draw(st.integers(0, min(5, length - 7)))
    body = draw(st.text("123456789", min_size=1, max_size=1)) + draw(
        st.text(string.digits, min_size=length - zeros - 2, max_size=length - zeros - 2)
    )
    digits = "0" * zeros + body
    return digits + check_digit(digits)


def _inside(text: str, mark: str, place: int) -> str:
    place = 1 + place % (len(text) - 1)
    return text[:place] + mark + text[place:]


DAMAGES: list[Callable[[str, int], str]] = [
    lambda text, place: text.lstrip("0"),
    lambda text, place: f" {text}\u00a0",
    lambda text, place: f"\u202a{text}\u202c",
    lambda text, place: f"{text}\t",
    lambda text, place: f"\u200b{text}\ufeff",
    lambda text, place: _inside(text, " ", place),
    lambda text, place: _inside(text, "\u2009", place),
    lambda text, place: _inside(text, "\u00ad", place),
    lambda text, place: _inside(text, "-", place),
    lambda text, place: _inside(text, "\u2011", place),
    lambda text, place: f"'{text}",
    lambda text, place: f'="{text}"',
    lambda text, place: f"{text}.0",
    lambda text, place: f"{text},0",
]


@given(gtins(), st.lists(st.tuples(st.sampled_from(DAMAGES), st.integers(0, 13)), max_size=1))
@settings(max_examples=300, deadline=None)
def test_damaged_gtin_is_read_as_the_same_gtin(
    gtin: str, damages: list[tuple[Callable[[str, int], str], int]]
) -> None:
    damaged = gtin
    for damage, place in damages:
        damaged = damage(damaged, place)
    # Zeros lost by a spreadsheet; eight digits and more are left.
    assert read_gtin(damaged).gtin == gtin.zfill(14)
    # A spreadsheet keeps numbers, and adds what it has to them.
    number = gtin.lstrip("0")
    for damage, place in damages:
        number = damage(number, place)
    assert read_gtin(number).gtin == gtin.zfill(14)


@pytest.mark.parametrize("length", [*range(1, 8), *range(9, 12), *range(15, 20)])
def test_digits_of_a_wrong_length_are_read_no_more_often_than_the_check_digit_explains(
    length: int,
) -> None:
    step = 10 ** max(0, length - 4) + 7
    texts = {str(number * step % 10**length).zfill(length) for number in range(1, 3000)}
    texts = {text for text in texts if text.strip("0")}
    read = []
    for text in texts:
        try:
            read.append(read_gtin(text).gtin)
        except UnusableGtin:
            continue
    right = {text for text in texts if check_digit(text[:-1] or "0") == text[-1]}
    assert set(read) <= {text.zfill(14) for text in right}
    if length not in (7, 9, 10, 11):
        assert read == []


# --- Texts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>Rolled <b>oats</b></p>", "Rolled oats"),
        ("<p>One</p>\n<p>Two</p>", "One\nTwo"),
        ("a<br>b<br/>c", "a\nb\nc"),
        ("<ul><li>one</li><li><p>two</p></li></ul>", "• one\n• two"),
        ("Fish &amp; chips &lt;3 &eacute;", "Fish & chips <3 é"),
        ("<script>alert(1)</script><style>p {}</style>Oats", "Oats"),
        ("<!-- <p>old</p> -->Oats<br>", "Oats"),
        ("<table><tr><td>fat</td><td>1 g</td></tr></table>", "fat 1 g"),
        ("<p>less < more, mail <a@b.example></p>", "less < more, mail <a@b.example>"),
        ("<div>no end <b>of it", "no end of it"),
    ],
)
def test_html_in_a_description_becomes_text(
    organization: Organization, tmp_path: Path, html: str, text: str
) -> None:
    path = write(tmp_path, f"gtin,description\n{EAN},{quoted(html)}\n")
    result = run(path, organization)
    assert stored(organization)[0]["description"] == text
    assert result.repairs == {"HTML in descriptions turned into text": 1}
    assert run(path, organization).unchanged == 1


@pytest.mark.parametrize(
    "text",
    [
        "a < b & c",
        "1 <b 2",
        "<3 oats",
        "AT&T; R&D",
        "&unknown;",
        "<oats>",
        "x\ny",
        "if a<p and b>c",
    ],
)
def test_text_that_is_not_html_is_unchanged(
    organization: Organization, tmp_path: Path, text: str
) -> None:
    path = write(tmp_path, f"gtin,description\n{EAN},{quoted(text)}\n")
    assert run(path, organization).repairs == {}
    assert stored(organization)[0]["description"] == text


# --- Cells that need nothing --------------------------------------------------------------------

_CELLS = (
    st.sampled_from(("Oats", "DE", "deu", "40", "draft", "500 g", "01234567", "1.5", "1,5", ".5"))
    | st.sampled_from(
        ("https://example.com/1,2;3|4", "https://example.com/1.jpg,", "https://a.b/ c")
    )
    | st.just("https://example.com/1.jpg,https://example.com/2.jpg")
    | st.sampled_from(("1.046", "1.046.000", "1,046", "1.046,5"))
    | st.text(alphabet="ae\u0301\u00e9\u00c3\u00a9", min_size=1, max_size=4)
    | st.sampled_from((100, 101, 255, 256)).map("x".__mul__)
    | st.sampled_from((1000, 1001)).map(lambda length: "https://example.com/".ljust(length, "x"))
    | st.text(alphabet='https://example.com/1,;|"\\ ', max_size=30).map(
        "https://example.com".__add__
    )
    | st.text(alphabet="0123456789.,eE+g ", max_size=14)
    | st.text(alphabet="ab<p>&amp;\x00\t\x7f\n\u0301\u00e9", max_size=12)
    | st.text(st.characters(max_codepoint=0x17F), max_size=12)
)


@given(st.sampled_from((*TEXT_COLUMNS, "fat")), _CELLS, st.booleans(), st.sampled_from(("", "1,5")))
@settings(max_examples=1000, deadline=None)
def test_blank_after_a_value_changes_nothing(
    column: str, cell: str, overwrite_blank: bool, other_amount: str
) -> None:
    """Nearly all cells need no repair and are taken as they are; one with a blank is read."""
    other = Record(UPC, nutrients=[("fat", "g", other_amount)])

    def row_of(text: str) -> tuple[object, ...]:
        record = Record(EAN)
        if column == IMAGE_URL:
            record.images = [text]
        elif column == "fat":
            record.nutrients = [("fat", "g", text)]
        else:
            record.texts = {column: text}
        staged = clean_record(
            2,
            record,
            overwrite_blank=overwrite_blank,
            conventions=Conventions(lambda: iter([record, other])),
        )
        return staged.product._replace(image_keys=None, new_key=None), Counter(staged.repairs)

    assert row_of(cell) == row_of(f"{cell} ")


@given(st.text(alphabet="<>/&;!-\"'= pbli#3a\n", max_size=200))
@settings(max_examples=200, deadline=None)
def test_html_leaves_no_tag_behind(text: str) -> None:
    assert "<p>" not in html_to_text("<p>" + text.replace("&", ""))
    if not is_html(text):
        assert "<p>" not in text


# --- Letters -------------------------------------------------------------------------------------


def test_letters_of_a_wrong_encoding_are_read(organization: Organization, tmp_path: Path) -> None:
    twice = "NAVIDEÑAS, jalapeño – l’été 5 €, CAFÉ".encode().decode("latin-1")
    result = loaded(
        organization,
        tmp_path,
        "gtin,name,description,brand",
        f"{EAN},{quoted(twice)},{quoted('<p>Crème Ã la</p>')},Caf\u00c3\u00a9",
        f"{UPC_14},Oats \x96 5 kg,PiÃ±a,Nescaf\u00e9\x99",
    )
    assert [(p["name"], p["description"], p["brand"]) for p in stored(organization)] == [
        ("Oats – 5 kg", "Piña", "Nescafé™"),
        ("NAVIDEÑAS, jalapeño – l’été 5 €, CAFÉ", "Crème Ã la", "Café"),
    ]
    assert result.repairs == {
        "texts that were encoded in UTF-8 twice": 3,
        "signs of Windows-1252 in texts": 2,
        "HTML in descriptions turned into text": 1,
    }


def test_blanks_at_the_ends_may_be_parts_of_letters(
    organization: Organization, tmp_path: Path
) -> None:
    rows = ["Â\xa0NavideÃ±as", "NavideÃ±asÂ\xa0", "so on\x85"]
    numbered = [
        f"{gtin},{name},https://img.example.com/Ã±.jpg"
        for gtin, name in zip((EAN, "036000291452", "4006381333962"), rows, strict=True)
    ]
    path = write(tmp_path, "\n".join(["gtin,name,image_url", *numbered]))
    result = run(path, organization)
    assert {each["name"] for each in stored(organization)} == {"Navideñas", "so on…"}
    # Addresses are stored as they are.
    assert result.repairs == {
        "texts that were encoded in UTF-8 twice": 2,
        "signs of Windows-1252 in texts": 1,
    }


@pytest.mark.parametrize("text", ["NESCAFÉ®", "AVELÃ®", "KÄ™", "LÂ«", "Ã", "MAÇÃ 1", "â€", "Ö–3"])
def test_letters_that_only_look_wrong_are_unchanged(text: str) -> None:
    assert read_letters(text, []) == text


@given(st.text(alphabet="aeé ÑÉüß’–€“”œŸÃÂ®", max_size=40))
@settings(max_examples=200, deadline=None)
def test_text_read_in_the_wrong_encoding_is_the_same_text_or_unchanged(text: str) -> None:
    read: list[str] = []
    twice = text.encode().decode("latin-1").translate(SIGNS)
    assert read_letters(twice, read) in (text, twice)


# --- Addresses -----------------------------------------------------------------------------------

ONE, TWO = "https://img.example.com/1.jpg", "https://img.example.com/2.jpg"


@pytest.mark.parametrize(
    ("cell", "addresses"),
    [
        (f"{ONE},{TWO}", [ONE, TWO]),
        (f"{ONE} , {TWO},", [ONE, TWO]),
        (f"{TWO};{ONE}", [TWO, ONE]),
        (f"{ONE}|{TWO}", [ONE, TWO]),
        (f"{ONE} {TWO}", [ONE, TWO]),
        (f"{ONE}\n{TWO}\n", [ONE, TWO]),
        (f"{ONE}, {ONE}", [ONE]),
        (f"{ONE},//img.example.com/2.jpg", [ONE, TWO]),
        ("https://img.example.com/a,b.jpg", ["https://img.example.com/a,b.jpg"]),
        ("https://img.example.com/front view.jpg", ["https://img.example.com/front%20view.jpg"]),
        ("https://img.example.com/a\u00a0b?c d", ["https://img.example.com/a%C2%A0b?c%20d"]),
        ("https://my_shop.example.com/1.jpg", ["https://my_shop.example.com/1.jpg"]),
        (f"\u200e{ONE}\u200b", [ONE]),
    ],
)
def test_addresses_of_a_cell_are_images_in_their_order(
    organization: Organization, tmp_path: Path, cell: str, addresses: list[str]
) -> None:
    path = write(tmp_path, f"gtin,image_url\n{EAN},{quoted(cell)}\n")
    run(path, organization)
    images = Product.objects.get().images.order_by("priority")
    assert list(images.values_list("external_url", flat=True)) == addresses
    assert run(path, organization).unchanged == 1


@pytest.fixture
def oats(organization: Organization, tmp_path: Path) -> Organization:
    loaded(organization, tmp_path, "gtin,name", f"{EAN},Oats")
    return organization


def test_offer_address_is_read_as_a_browser_reads_it(oats: Organization, tmp_path: Path) -> None:
    result = loaded(
        oats,
        tmp_path,
        "gtin,sku,url",
        f"{EAN},1,//my_shop.example.com/oats 500 g",
        f'{EAN},2,"{ONE},{TWO}"',
    )
    assert Offer.objects.get().url == "https://my_shop.example.com/oats%20500%20g"
    assert reasons(result) == ["line 3: offer_url: has 2 addresses; only one fits"]


# --- Numbers -------------------------------------------------------------------------------------


def amounts(organization: Organization) -> list[str]:
    """The amounts of fat by GTIN."""
    return [
        nutrient["amount"]
        for product in stored(organization)
        for nutrient in product["nutrition"].get("nutrients", [])
    ]


GTINS = [f"{EAN}", "4012345678901", "5449000000996"]
COMMAS, GROUPS = "decimal commas read", "thousands separators removed"
PLAIN = "must be a number of 0 or more, for example 1.5"
MIXED = "must be written with a decimal point, as 1.5: other numbers of the file have one"
UNCLEAR = "has a comma that may be a decimal sign or separate thousands: write 1.046 or 1046"


@pytest.mark.parametrize(
    ("cells", "read", "repairs"),
    [
        (["1,5", "2", "0,125"], ["1.5", "2", "0.125"], {COMMAS: 2}),
        # With decimal commas elsewhere, a point separates thousands.
        (["1.046", "1,5", "1.046,50"], ["1046", "1.5", "1046.5"], {COMMAS: 2, GROUPS: 2}),
        (["1,046", "1,5", "3"], ["1.046", "1.5", "3"], {COMMAS: 2}),
        (["1.046", "2", "3"], ["1.046", "2", "3"], {}),
        (["1,046.5", "1.5", "1,234,567"], ["1046.5", "1.5", "1234567"], {GROUPS: 2}),
        (["1 046", "1\u202f046,5", "1'046"], ["1046", "1046.5", "1046"], {GROUPS: 3, COMMAS: 1}),
        ([".5", "5e-1", "+1"], ["0.5", "0.5", "1"], {}),
        (["0,1 g", "2g", "3"], ["0.1", "2", "3"], {COMMAS: 1, "units removed from amounts": 2}),
    ],
)
def test_amounts_are_read_as_the_file_writes_them(
    organization: Organization,
    tmp_path: Path,
    cells: list[str],
    read: list[str],
    repairs: dict[str, int],
) -> None:
    rows = [f"{gtin};{cell}" for gtin, cell in zip(GTINS, cells, strict=True)]
    result = loaded(organization, tmp_path, "gtin;nutrient:fat:g", *rows)
    assert (reasons(result), amounts(organization)) == ([], read)
    assert result.repairs == repairs


@pytest.mark.parametrize(
    ("cells", "read", "problems"),
    [
        # One number proves the point, even if it comes last.
        (["1,5", "1,046", "1.5"], ["1.5"], [MIXED, UNCLEAR]),
        (["1,046", "2", "3"], ["2", "3"], [UNCLEAR]),
        (["<0,5", "traces", "1 mg"], [], [PLAIN, PLAIN, "must be a number of 0 or more in g"]),
        (["-1", "1.2.3", "1,2,3"], [], [PLAIN, PLAIN, PLAIN]),
    ],
)
def test_amounts_that_are_not_clear_are_rejected(
    organization: Organization,
    tmp_path: Path,
    cells: list[str],
    read: list[str],
    problems: list[str],
) -> None:
    rows = [f"{gtin};{cell}" for gtin, cell in zip(GTINS, cells, strict=True)]
    result = loaded(organization, tmp_path, "gtin;nutrient:fat:g", *rows)
    assert amounts(organization) == read
    found = [problem.reason.removeprefix("nutrient 'fat': ") for problem in result.problems]
    assert len(found) == len(problems)
    assert all(map(str.startswith, found, problems))


@pytest.mark.parametrize(
    ("price", "currency", "shown"),
    [
        ("15.00 USD", "", "15.00 USD"),
        ("USD 15.00", "", "15.00 USD"),
        ("15.00", "usd", "15.00 USD"),
        ("15.00USD", "USD", "15.00 USD"),
        ("€15", "", "15.00 EUR"),
        ("15.99 €", "", "15.99 EUR"),
        ("£15", "", "15.00 GBP"),
        ("US$ 15", "", "15.00 USD"),
        ("$15.50", "CAD", "15.50 CAD"),
        ("1,234.50 EUR", "", "1234.50 EUR"),
        ("1.234,50 EUR", "", "1234.50 EUR"),
        ("15,00 €", "", "15.00 EUR"),
        ("1'234.50 CHF", "", "1234.50 CHF"),
        ("1500 JPY", "", "1500 JPY"),
        ("1500.00 JPY", "", "1500 JPY"),
        ("1.234", "KWD", "1.234 KWD"),
    ],
)
def test_price_is_read_with_its_currency(
    oats: Organization, tmp_path: Path, price: str, currency: str, shown: str
) -> None:
    row = f"{EAN};https://shop.example.com/1;{price};{currency}"
    assert loaded(oats, tmp_path, "gtin;url;price;currency", row).problems == ()
    offer = Offer.objects.get()
    assert f"{offer.shown_price} {offer.currency}" == shown


@pytest.mark.parametrize(
    ("price", "currency", "reason"),
    [
        (
            "$15.50",
            "",
            "$ is the sign of several currencies: write the code, as 15.00 USD, or add a column "
            "currency",
        ),
        ("15", "", "A price needs a currency."),
        ("15 EUR", "USD", "is in EUR, but the column currency says USD"),
        ("15.001", "EUR", "A price in EUR has at most 2 digits after the point."),
        ("15.5", "JPY", "A price in JPY has no digits after the point."),
        ("15 XYZ", "", "XYZ is not an ISO 4217 currency code."),
        ("1,234 EUR", "", "has a comma that may be a decimal sign or separate thousands: write"),
        ("-1 EUR", "", "must be a number with its currency, such as 15.00 USD (found '-1 EUR')"),
        ("from 1 EUR to 2 EUR", "", "must be a number with its currency, such as 15.00 USD"),
    ],
)
def test_price_that_is_not_clear_is_rejected(
    oats: Organization, tmp_path: Path, price: str, currency: str, reason: str
) -> None:
    row = f"{EAN};https://shop.example.com/1;{price};{currency}"
    (problem,) = loaded(oats, tmp_path, "gtin;url;price;currency", row).problems
    assert problem.reason.startswith(f"offer_price: {reason}")


def test_decimal_commas_are_decided_for_the_whole_file(oats: Organization, tmp_path: Path) -> None:
    url = "https://shop.example.com/"
    rows = [f"{EAN};{n};{url}{n};{price};EUR" for n, price in enumerate(["1.046", "9,99", "2"])]
    result = loaded(oats, tmp_path, "gtin;sku;url;price;currency", *rows)
    assert [offer.shown_price for offer in Offer.objects.order_by("sku")] == [
        "1046.00",
        "9.99",
        "2.00",
    ]
    assert result.repairs == {COMMAS: 1, GROUPS: 1}


# --- Countries -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "code"),
    [
        ("DEU", "DE"),
        ("276", "DE"),
        ("40", "AT"),
        ("Deutschland", "DE"),
        ("Allemagne", "DE"),
        ("España", "ES"),
        ("ESPANA", "ES"),
        ("日本", "JP"),
        ("Россия", "RU"),
        ("Ελλάδα", "GR"),
        ("U.K.", "GB"),
        ("U.S.A.", "US"),
        ("EL", "GR"),
        ("England", "GB"),
    ],
)
def test_country_has_codes_and_names(
    organization: Organization, tmp_path: Path, cell: str, code: str
) -> None:
    loaded(organization, tmp_path, "gtin,country_of_origin", f"{EAN},{cell}")
    assert stored(organization)[0]["country_of_origin"] == code


@pytest.mark.parametrize("cell", ["Europe", "EU", "France; Spain", "999", "XK", "unknown", "01"])
def test_what_is_not_one_country_is_rejected(
    organization: Organization, tmp_path: Path, cell: str
) -> None:
    result = loaded(organization, tmp_path, "gtin,country_of_origin", f"{EAN},{cell}")
    assert reasons(result) == [
        "line 2: country_of_origin: must be a country: its ISO 3166-1 code, such as DE, or its "
        f"name (found '{cell}')"
    ]


# --- Dates and words of certificates -------------------------------------------------------------


def expiry_dates(organization: Organization, folder: Path, *cells: str) -> list[str]:
    """Import certificates with these expiry dates; the stored dates, or why they are rejected."""
    rows = [f'{EAN},organic,N{n},"{cell}"' for n, cell in enumerate(cells)]
    result = loaded(
        organization, folder, "gtin,certification,certificate_number,expiry_date", *rows
    )
    stored_dates = {
        each.certificate_number: str(each.expiry_date)
        for each in CertificationAssignment.objects.of(organization)
    }
    rejected = {problem.line: problem.reason for problem in result.problems}
    return [stored_dates.get(f"N{n}") or rejected[n + 2] for n in range(len(cells))]


UNCLEAR_DATE = (
    "expiry_date: may be a day before a month or a month before a day: write it as 2026-12-31 "
    "(found '03/04/2026')"
)


@pytest.mark.parametrize(
    ("cells", "dates"),
    [
        (["2026-12-31", "2026/12/31", "31 Dec 2026", "December 31, 2026"], ["2026-12-31"] * 4),
        (["2026-12-31 00:00:00", "2026-12-31T23:59:59Z"], ["2026-12-31"] * 2),
        (["31.12.2026", "31/12/2026", "31-12-2026"], ["2026-12-31"] * 3),
        (["12/31/2026"], ["2026-12-31"]),
        (["03.04.2026"], ["2026-04-03"]),
        (["03/03/2026"], ["2026-03-03"]),
        # Decided by the other dates of the file.
        (["03/04/2026", "31/12/2026"], ["2026-04-03", "2026-12-31"]),
        (["03/04/2026", "12/31/2026"], ["2026-03-04", "2026-12-31"]),
        (["03/04/2026"], [UNCLEAR_DATE]),
        (
            ["03/04/2026", "31/12/2026", "12/31/2026"],
            [UNCLEAR_DATE, "2026-12-31", "2026-12-31"],
        ),
        # Serial numbers of a spreadsheet, and what no calendar has.
        (
            ["46387", "31.02.2026", "31/12/26"],
            [
                f"expiry_date: must be a date such as 2026-12-31 (found '{cell}')"
                for cell in ("46387", "31.02.2026", "31/12/26")
            ],
        ),
    ],
)
def test_dates_are_read_in_the_order_of_the_file(
    oats: Organization, tmp_path: Path, cells: list[str], dates: list[str]
) -> None:
    assert expiry_dates(oats, tmp_path, *cells) == dates


def test_verification_is_read_from_words(oats: Organization, tmp_path: Path) -> None:
    rows = [f"{EAN},organic,{n},{word}" for n, word in enumerate(["Yes", "no", "Verified"])]
    header = "gtin,certification,certificate_number,verification_status"
    loaded(oats, tmp_path, header, *rows)
    found = CertificationAssignment.objects.order_by("certificate_number")
    assert [each.verification_status for each in found] == ["verified", "unverified", "verified"]


# --- What an import says -------------------------------------------------------------------------


def test_rejected_rows_are_grouped_by_the_broken_rule(
    organization: Organization, tmp_path: Path
) -> None:
    result = loaded(
        organization,
        tmp_path,
        "gtin,status",
        f"{EAN},sold",
        "4006381333932,sold",
        "4006381333933,active",
        "1234567890123456,active",
    )
    assert [(g.rule, g.count, g.line, g.example) for g in result.problem_groups] == [
        (
            "status: not one of the values",
            2,
            2,
            "status: is none of draft, active, discontinued",
        ),
        (
            "gtin: wrong check digit",
            2,
            3,
            "gtin: The check digit is wrong: 400638133393 is followed by 1, not 2 "
            "(found '4006381333932')",
        ),
        (
            "gtin: too long",
            1,
            5,
            "gtin: A GTIN has 8, 12, 13 or 14 digits; this one has 16 (found '1234567890123456')",
        ),
    ]


def test_a_repair_that_is_rejected_is_not_counted(
    organization: Organization, tmp_path: Path
) -> None:
    path = write(tmp_path, "gtin,status\n36000291452,sold\n")
    with pytest.raises(BadRows):
        run(path, organization)
    assert run(path, organization, skip_bad_rows=True).repairs == {}
