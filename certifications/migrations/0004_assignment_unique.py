from __future__ import annotations

from typing import Any

from django.db import migrations, models
from django.db.models import F
from django.db.models.functions import Now

LOCK = """
    LOCK TABLE public.certifications_certificationassignment IN SHARE ROW EXCLUSIVE MODE
"""
# Of rows that are the same in all that a person can see, the first one stays.
DELETE_COPIES = """
    DELETE FROM public.certifications_certificationassignment AS assignment
    USING (
        SELECT id, row_number() OVER (
            PARTITION BY organization_id, product_id, certification_id, certificate_number,
                issuing_body, valid_from, expiry_date, verification_status, verification_url,
                metadata
            ORDER BY created_at, id
        ) AS place
        FROM public.certifications_certificationassignment
    ) AS copy
    WHERE copy.id = assignment.id AND copy.place > 1
"""
NUMBER_LENGTH = 100
UNIQUE = ("organization_id", "product_id", "certification_id", "certificate_number")


def make_unique(apps: Any, schema_editor: Any) -> None:
    """Delete copies, and give assignments that differ distinct certificate numbers.

    Of those that differ, the one that holds longest keeps the number; the others get " (2)",
    " (3)" and so on after it. No dates, links or metadata are lost.
    """
    assignments = apps.get_model("certifications", "CertificationAssignment").objects
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(LOCK)
        cursor.execute(DELETE_COPIES)
    shared = (
        assignments.order_by().values(*UNIQUE).annotate(rows=models.Count("pk")).filter(rows__gt=1)
    )
    for group in list(shared.values(*UNIQUE)):
        number = group.pop("certificate_number")
        taken = set(assignments.filter(**group).values_list("certificate_number", flat=True))
        same = assignments.filter(**group, certificate_number=number)
        longest_first = same.order_by(F("expiry_date").desc(nulls_first=True), "-updated_at", "pk")
        for assignment in list(longest_first)[1:]:
            new = next(new for new in _numbers_like(number) if new not in taken)
            taken.add(new)
            assignments.filter(pk=assignment.pk).update(certificate_number=new, updated_at=Now())
    with schema_editor.connection.cursor() as cursor:
        # A table with checks that wait for the commit cannot be altered.
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")


def _numbers_like(number: str) -> Any:
    """Yield a certificate number with 2, 3 and so on after it."""
    place = 2
    while True:
        suffix = f"({place})"
        kept = number[: NUMBER_LENGTH - len(suffix) - 1].rstrip()
        yield f"{kept} {suffix}" if kept else suffix
        place += 1


class Migration(migrations.Migration):

    dependencies = [
        ("accounts", "0002_ratelimit"),
        ("catalog", "0002_product_words"),
        ("certifications", "0003_assignment_lists"),
    ]

    operations = [
        migrations.RunPython(make_unique, migrations.RunPython.noop, elidable=True),
        migrations.AddConstraint(
            model_name="certificationassignment",
            constraint=models.UniqueConstraint(
                fields=("organization", "product", "certification", "certificate_number"),
                name="certifications_assignment_unique",
                violation_error_message="The product has this certification with this certificate number already.",
            ),
        ),
        migrations.RemoveIndex(
            model_name="certificationassignment",
            name="certifications_assignment_prod",
        ),
    ]
