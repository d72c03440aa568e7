"""The images on a product page: add, describe, order and delete them."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from django.contrib import messages
from django.core.files.uploadedfile import UploadedFile
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_GET, require_POST

from catalog.images import editing
from catalog.images.problems import image_problems
from catalog.images.serializers import ImageChangeSerializer
from catalog.images.storage import stored
from catalog.images.upload_lock import decode_for
from catalog.models import Product, ProductImage
from closient.accounts.permissions import Access
from closient.db.transactions import run_with_retry
from closient.http.problems import FieldError, Problem
from closient.http.serializers import values_of
from closient.text.validators import InvalidField
from dashboard.pages.base import is_fragment, organization_page, render_page
from dashboard.pages.products import PRODUCT, images_context, with_change_event
from dashboard.pages.resources import parse_ids
from dashboard.thumbnails.schedule import try_again

# Files in one request: each is decoded in the request, and together they fit the body limit.
MAX_FILES = 6


@require_POST
@organization_page()
def add_images(request: HttpRequest, access: Access, gtin: str | None) -> HttpResponse:
    """Store the uploaded images after the existing ones, and report rejected files."""
    product = PRODUCT.find(access, gtin)
    files = request.FILES.getlist("image")
    if not files:
        return _render_images(request, access, product, rejected=["Choose an image first."])
    if len(files) > MAX_FILES:
        rejected = [f"You chose {len(files)} images: add at most {MAX_FILES} at a time."]
        return _render_images(request, access, product, rejected=rejected)
    rejected = []
    added: list[UUID] = []
    for file in files:
        try:
            added.append(_add(product, file))
        except Problem as problem:
            detail = problem.errors[0].detail if problem.errors else problem.detail
            rejected.append(f"{file.name}: {detail}")
    with image_problems():
        run_with_retry(lambda: _put_last(product, added))
    count = len(added)
    sentence = "" if not count else f"{count} {'image' if count == 1 else 'images'} added."
    return _render_images(request, access, product, sentence=sentence, rejected=rejected)


def _add(product: Product, file: UploadedFile) -> UUID:
    """Store an image and return its id. Raises :class:`Problem`."""
    with image_problems(), stored(decode_for(product.organization_id, file)) as stored_image:
        image = run_with_retry(
            lambda: editing.add_image(product, stored_image, title="", is_primary=False)
        )
    return image.pk


def _put_last(product: Product, added: Sequence[UUID]) -> None:
    """Move new images after the others, in their order; skips deleted ones."""
    keys = list(ProductImage.objects.of_product(product).values_list("pk", flat=True))
    new = [key for key in added if key in keys]
    if new:
        editing.put_in_order(product, [*(key for key in keys if key not in new), *new])


@require_POST
@organization_page()
def change_image(
    request: HttpRequest, access: Access, gtin: str | None, image_id: UUID | None
) -> HttpResponse:
    """Change an image by an action: primary, earlier, later, title, retry or delete."""
    product = PRODUCT.find(access, gtin)
    if image_id is None or not ProductImage.objects.of_product(product).filter(pk=image_id):
        raise Http404

    def image() -> ProductImage:
        return editing.locked_image(product, image_id)

    action = request.POST.get("action", "")
    with image_problems():
        if action == "primary":
            run_with_retry(lambda: editing.change_image(image(), is_primary=True))
            sentence = "Main image changed."
        elif action == "title":
            body = {"title": request.POST.get("title", "")}
            values = values_of(ImageChangeSerializer(data=body, partial=True))
            run_with_retry(lambda: editing.change_image(image(), title=values["title"]))
            sentence = "Description saved."
        elif action == "delete":
            run_with_retry(lambda: editing.remove_image(image()))
            sentence = "Image deleted."
        elif action in ("earlier", "later"):
            place, count = run_with_retry(
                lambda: _move(product, image_id, 1 if action == "later" else -1)
            )
            sentence = f"The image is number {place} of {count} now."
        elif action == "retry":
            is_due = run_with_retry(lambda: try_again(image()))
            # Without a problem there is nothing to repeat: it was made meanwhile.
            sentence = "The image will be fetched again." if is_due else ""
        else:
            detail = "Must be primary, earlier, later, title, retry or delete."
            raise Problem("validation_error", errors=[FieldError("#/action", "choice", detail)])
    return _render_images(request, access, product, sentence=sentence)


@require_POST
@organization_page()
def order_images(request: HttpRequest, access: Access, gtin: str | None) -> HttpResponse:
    """Put the images in the given order; the first becomes the main one."""
    product = PRODUCT.find(access, gtin)
    keys = parse_ids(request.POST.getlist("image"))
    try:
        with image_problems():
            run_with_retry(lambda: editing.put_in_order(product, keys))
    except InvalidField:
        sentence = (
            "The images were added or deleted by someone else meanwhile, so they were not moved: "
            "move them again."
        )
        return _render_images(request, access, product, rejected=[sentence])
    return _render_images(request, access, product, sentence="Images moved.")


@require_GET
@organization_page()
def show_frames(request: HttpRequest, access: Access, gtin: str | None) -> HttpResponse:
    """Return the frames of images whose first thumbnail is made or failed; otherwise a 204.

    The page polls this with the ids of all images that it waits for.
    """
    product = PRODUCT.find(access, gtin)
    keys = parse_ids(request.GET.getlist("image"))
    images = list(ProductImage.objects.of_product(product))
    finished = [one for one in images if one.pk in keys and not one.is_thumbnail_expected]
    if not finished:
        return HttpResponse(status=204)
    context = {"product": product, "images": images, "finished": finished, "is_swapped": True}
    return render_page(request, "dashboard/product_image_frames.html", context)


def _move(product: Product, image_id: UUID | None, step: int) -> tuple[int, int]:
    """Swap an image with the one before or after it; the first image is the primary one.

    Returns its new place, from 1, and the number of images.
    """
    keys = list(ProductImage.objects.of_product(product).values_list("pk", flat=True))
    if image_id not in keys:
        raise editing.NoSuchImage
    index = keys.index(image_id)
    other = index + step
    if not 0 <= other < len(keys):
        return index + 1, len(keys)
    keys[index], keys[other] = keys[other], keys[index]
    editing.put_in_order(product, keys)
    return other + 1, len(keys)


def _render_images(
    request: HttpRequest,
    access: Access,
    product: Product,
    *,
    sentence: str = "",
    rejected: list[str] | None = None,
) -> HttpResponse:
    """Return the current images, with a message and the reasons of rejected files."""
    if not is_fragment(request):
        if sentence:
            messages.success(request, sentence)
        for reason in rejected or []:
            messages.error(request, reason)
        return redirect("page-product", access.organization.id, product.gtin)
    context = {**images_context(product), "rejected": rejected, "is_swapped": True}
    response = render_page(request, "dashboard/product_images.html", context)
    return with_change_event(response, sentence) if sentence else response
