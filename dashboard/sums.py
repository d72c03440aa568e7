"""How entries of the tally add up to the seven numbers: each sum written once, for every statement.

The statements differ in what they group by: nothing for the numbers of one day, days for a
forecast, organizations for snapshots. All read an index of the tally and nothing else.
"""

from __future__ import annotations

from catalog.completeness import FACT_BY_NAME
from closient.tally.declarations import BUCKET_SEPARATOR
from offers.models import FAILING, Channel, OfferStatus

_FAILING = ", ".join(f"'{status.value}'" for status in FAILING)

# Of the account "offers": active, broken.
OFFERS = f"""
    sum(amount) FILTER (
        WHERE split_part(bucket, '{BUCKET_SEPARATOR}', 2) = '{OfferStatus.ACTIVE.value}'
    ) AS active,
    sum(amount) FILTER (
        WHERE split_part(bucket, '{BUCKET_SEPARATOR}', 1) = '{Channel.ONLINE.value}'
            AND split_part(bucket, '{BUCKET_SEPARATOR}', 3) IN ({_FAILING})
    ) AS broken
"""

# Of the account "certification_expiry", on the days that are asked about: expiring.
CERTIFICATES = "sum(amount) AS expiring"

# The numbers in the order of ``dashboard.stats.Stats``, as they follow from the sums. The average
# is rounded half up; all of them are 0 where there is nothing to add up.
NUMBERS = """
    coalesce(total, 0),
    coalesce(complete, 0),
    coalesce((2 * percentages + total) / nullif(2 * total, 0), 0),
    coalesce(active, 0),
    coalesce(broken, 0),
    coalesce(expiring, 0),
    coalesce(missing_images, 0)
"""


def products(*, percentages: str, threshold: str) -> str:
    """Return the sums of the account "products": total, complete, percentages, missing_images.

    The arguments are SQL: the rule's 512 percentages as a bytea, of which a mask's is the byte at
    its place, and its threshold. So a rule is applied to a catalogue of any size.
    """
    percentage = f"get_byte({percentages}, bucket::integer)"
    return f"""
        sum(amount) AS total,
        sum(amount) FILTER (WHERE {percentage} >= {threshold}) AS complete,
        sum(amount * {percentage}) AS percentages,
        sum(amount) FILTER (
            WHERE bucket::integer & {FACT_BY_NAME["images"].bit} = 0
        ) AS missing_images
    """
