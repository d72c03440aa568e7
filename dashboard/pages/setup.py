"""The first steps on the overview: a checklist, and sample data to try the pages with."""

from __future__ import annotations

import dataclasses
from typing import Any

from django.contrib import messages
from django.db.models import Exists, OuterRef
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_POST

from catalog.models import Product
from closient.accounts.models import ApiKey, ApiKeyRole, Organization
from closient.accounts.permissions import Access
from closient.db.transactions import run_with_retry
from dashboard.demo.sample import PRODUCTS, add_sample, remove_sample, sample_product_count
from dashboard.demo.seeding import AlreadySeeded
from dashboard.models import HiddenChecklist, SampleRow, SampleTable
from dashboard.pages.base import organization_page
from dashboard.pages.resources import read_action
from offers.models import Offer


@dataclasses.dataclass(frozen=True)
class Step:
    """A step of the checklist, with the page on which it is done."""

    name: str
    title: str
    text: str
    link: str
    url: str
    is_done: bool


@dataclasses.dataclass(frozen=True)
class Setup:
    """The first steps of an organization, as far as the member may do them.

    ``sample_products`` is how many sample products there are, and ``has_sample`` whether there is
    anything left of the sample data.
    """

    steps: list[Step]
    is_hidden: bool
    has_sample: bool
    sample_products: int

    @property
    def done(self) -> int:
        """The number of steps that are done."""
        return sum(step.is_done for step in self.steps)

    @property
    def is_open(self) -> bool:
        """Whether a step is left to do."""
        return self.done < len(self.steps)


def setup_of(access: Access) -> Setup:
    """Return the first steps as the database has them; one query, and one more with sample data.

    Rows of the sample data count for nothing.
    """
    organization = access.organization
    found = _find(organization)
    steps = [
        (
            ApiKeyRole.EDITOR,
            Step(
                "import",
                "Import your products",
                "From a file, a workbook, or the address of a feed. You review the changes before "
                "they are saved.",
                "Import a file",
                reverse("page-imports", args=[organization.id]),
                found["has_products"],
            ),
        ),
        (
            ApiKeyRole.MANAGER,
            Step(
                "rule",
                "Set your completeness rule",
                "Decide which facts count, and from which percentage a product is complete.",
                "Set the rule",
                reverse("page-rule", args=[organization.id]),
                getattr(organization, "completeness_rule", None) is not None,
            ),
        ),
        (
            ApiKeyRole.EDITOR,
            Step(
                "offers",
                "Add offers",
                "Say where your products are sold. Online addresses are checked every day.",
                "Add an offer",
                reverse("page-offer-new", args=[organization.id]),
                found["has_offers"],
            ),
        ),
        (
            ApiKeyRole.MANAGER,
            Step(
                "key",
                "Create an API key",
                "Let your own systems send products, offers and certificates.",
                "Create a key",
                reverse("page-keys", args=[organization.id]),
                found["has_key"],
            ),
        ),
    ]
    return Setup(
        steps=[step for role, step in steps if access.may(role)],
        is_hidden=found["is_hidden"],
        has_sample=found["has_sample"],
        sample_products=sample_product_count(organization) if found["has_sample"] else 0,
    )


def _find(organization: Organization) -> dict[str, bool]:
    """Return what an organization has, apart from sample data; one query."""
    of_it: dict[str, Any] = {"organization": OuterRef("pk")}
    sample = SampleRow.objects.filter(organization=organization.pk)
    offers = Offer.objects.filter(**of_it).exclude(pk__in=sample.ids_in(SampleTable.OFFER))
    products = Product.objects.filter(**of_it).exclude(pk__in=sample.ids_in(SampleTable.PRODUCT))
    has = {
        "has_products": products,
        "has_offers": offers,
        "has_key": ApiKey.objects.filter(**of_it),
        "is_hidden": HiddenChecklist.objects.filter(**of_it),
        "has_sample": SampleRow.objects.filter(**of_it),
    }
    found: dict[str, bool] = (
        Organization.objects.filter(pk=organization.pk)
        .annotate(**{name: Exists(rows) for name, rows in has.items()})
        .values(*has)
        .get()
    )
    return found


@require_POST
@organization_page()
def change_checklist(request: HttpRequest, access: Access) -> HttpResponse:
    """Hide the checklist for the organization, or show it again."""
    hidden = HiddenChecklist.objects.filter(organization=access.organization)
    if read_action(request, ["hide", "show"]) == "hide":
        hidden.get_or_create(organization=access.organization)
    else:
        hidden.delete()
    return redirect("page-home", access.organization.id)


@require_POST
@organization_page()
def change_sample(request: HttpRequest, access: Access) -> HttpResponse:
    """Add the sample data to an organization without products, or remove them."""
    organization = access.organization
    if read_action(request, ["add", "remove"]) == "add":
        try:
            run_with_retry(lambda: add_sample(organization))
        except AlreadySeeded:
            messages.warning(
                request, "Nothing was added: sample data is for organizations without products."
            )
        else:
            messages.success(request, f"{PRODUCTS} sample products added.")
        return redirect("page-home", organization.id)
    removal = run_with_retry(lambda: remove_sample(organization))
    sentence = f"Sample data removed: {_products(removal.removed)}."
    if removal.kept:
        sentence += (
            f" {_products(removal.kept)} stayed, with the offers, images, certificates or "
            "attachments that were added."
        )
    messages.success(request, sentence)
    return redirect("page-home", organization.id)


def _products(count: int) -> str:
    return "1 product" if count == 1 else f"{count} products"
