"""URLs of the pages, below ``/dashboard/``."""

from __future__ import annotations

from django.urls import path

from dashboard.pages.activity import show_activity, show_explanation, show_product_history
from dashboard.pages.archive import download_archive
from dashboard.pages.breakdown import show_breakdown
from dashboard.pages.bulk_edits import (
    edit_certificates,
    edit_offers,
    edit_products,
    show_bulk_edit,
    undo_change,
)
from dashboard.pages.certificate_attachments import (
    add_attachments,
    delete_attachment,
    download_attachment,
)
from dashboard.pages.certificates import (
    change_certificate_views,
    delete_certificate,
    display_certifications,
    export_certifications,
    new_certificate,
    show_certificate,
    show_certifications,
)
from dashboard.pages.history import show_history
from dashboard.pages.home import show_home, show_numbers, show_panels
from dashboard.pages.import_columns import choose_columns
from dashboard.pages.imports import (
    cancel_import,
    check_import_again,
    confirm_import,
    download_rejects,
    show_import,
    show_imports,
)
from dashboard.pages.keys import (
    change_origins,
    delete_key,
    revoke_key,
    rotate_key,
    show_key,
    show_keys,
)
from dashboard.pages.offers import (
    change_address,
    change_offer_views,
    change_offers,
    check_offer,
    delete_offer,
    display_offers,
    export_offers,
    new_offer,
    show_checks,
    show_offer,
    show_offers,
)
from dashboard.pages.product_images import (
    add_images,
    change_image,
    order_images,
    show_frames,
)
from dashboard.pages.products import (
    change_product_views,
    change_products,
    delete_product,
    display_products,
    export_products,
    new_product,
    show_facts,
    show_product,
    show_products,
)
from dashboard.pages.rule import preview_rule, reset_to_default_rule, show_rule
from dashboard.pages.search import show_search
from dashboard.pages.setup import change_checklist, change_sample
from dashboard.pages.sources import (
    delete_source,
    new_source,
    pause_source,
    run_source,
    show_source,
    show_sources,
)
from dashboard.pages.start import start
from dashboard.pages.suggestions import show_suggestions

urlpatterns = [
    path("", start, name="page-start"),
    path("<id:organization_id>/", show_home, name="page-home"),
    path("<id:organization_id>/numbers", show_numbers, name="page-numbers"),
    path("<id:organization_id>/panels", show_panels, name="page-panels"),
    path("<id:organization_id>/history", show_history, name="page-history"),
    path("<id:organization_id>/setup", change_checklist, name="page-setup"),
    path("<id:organization_id>/sample", change_sample, name="page-sample"),
    path("<id:organization_id>/breakdown", show_breakdown, name="page-breakdown"),
    path("<id:organization_id>/search", show_search, name="page-search"),
    path("<id:organization_id>/suggestions", show_suggestions, name="page-suggestions"),
    path("<id:organization_id>/products", show_products, name="page-products"),
    path("<id:organization_id>/products/display", display_products, name="page-products-display"),
    path("<id:organization_id>/products/views", change_product_views, name="page-products-views"),
    path("<id:organization_id>/products/export", export_products, name="page-products-export"),
    path("<id:organization_id>/products/bulk", change_products, name="page-products-bulk"),
    path("<id:organization_id>/products/edit", edit_products, name="page-products-edit"),
    path("<id:organization_id>/products/new", new_product, name="page-product-new"),
    path("<id:organization_id>/products/<gtin:gtin>", show_product, name="page-product"),
    path("<id:organization_id>/products/<gtin:gtin>/facts", show_facts, name="page-product-facts"),
    path(
        "<id:organization_id>/products/<gtin:gtin>/delete",
        delete_product,
        name="page-product-delete",
    ),
    path(
        "<id:organization_id>/products/<gtin:gtin>/images", add_images, name="page-product-images"
    ),
    path(
        "<id:organization_id>/products/<gtin:gtin>/images/frames",
        show_frames,
        name="page-product-frames",
    ),
    path(
        "<id:organization_id>/products/<gtin:gtin>/images/order",
        order_images,
        name="page-product-image-order",
    ),
    path(
        "<id:organization_id>/products/<gtin:gtin>/images/<id:image_id>",
        change_image,
        name="page-product-image",
    ),
    path("<id:organization_id>/offers", show_offers, name="page-offers"),
    path("<id:organization_id>/offers/display", display_offers, name="page-offers-display"),
    path("<id:organization_id>/offers/views", change_offer_views, name="page-offers-views"),
    path("<id:organization_id>/offers/export", export_offers, name="page-offers-export"),
    path("<id:organization_id>/offers/bulk", change_offers, name="page-offers-bulk"),
    path("<id:organization_id>/offers/edit", edit_offers, name="page-offers-edit"),
    path("<id:organization_id>/offers/checks", show_checks, name="page-offer-checks"),
    path("<id:organization_id>/offers/new", new_offer, name="page-offer-new"),
    path("<id:organization_id>/offers/<id:offer_id>", show_offer, name="page-offer"),
    path("<id:organization_id>/offers/<id:offer_id>/check", check_offer, name="page-offer-check"),
    path(
        "<id:organization_id>/offers/<id:offer_id>/address",
        change_address,
        name="page-offer-address",
    ),
    path(
        "<id:organization_id>/offers/<id:offer_id>/delete", delete_offer, name="page-offer-delete"
    ),
    path("<id:organization_id>/certifications", show_certifications, name="page-certifications"),
    path(
        "<id:organization_id>/certifications/display",
        display_certifications,
        name="page-certifications-display",
    ),
    path(
        "<id:organization_id>/certifications/views",
        change_certificate_views,
        name="page-certifications-views",
    ),
    path(
        "<id:organization_id>/certifications/export",
        export_certifications,
        name="page-certifications-export",
    ),
    path(
        "<id:organization_id>/certifications/edit",
        edit_certificates,
        name="page-certifications-edit",
    ),
    path("<id:organization_id>/certifications/new", new_certificate, name="page-certificate-new"),
    path(
        "<id:organization_id>/certifications/<id:assignment_id>",
        show_certificate,
        name="page-certificate",
    ),
    path(
        "<id:organization_id>/certifications/<id:assignment_id>/attachments",
        add_attachments,
        name="page-certificate-attachments",
    ),
    path(
        "<id:organization_id>/certifications/<id:assignment_id>/attachments/<id:attachment_id>",
        download_attachment,
        name="page-certificate-attachment",
    ),
    path(
        "<id:organization_id>/certifications/<id:assignment_id>/attachments/<id:attachment_id>"
        "/delete",
        delete_attachment,
        name="page-certificate-attachment-delete",
    ),
    path(
        "<id:organization_id>/certifications/<id:assignment_id>/delete",
        delete_certificate,
        name="page-certificate-delete",
    ),
    path("<id:organization_id>/activity", show_activity, name="page-activity"),
    path("<id:organization_id>/activity/explain", show_explanation, name="page-explain"),
    path("<id:organization_id>/activity/<id:change_id>/undo", undo_change, name="page-undo"),
    path("<id:organization_id>/bulk-edits/<id:edit_id>", show_bulk_edit, name="page-bulk-edit"),
    path(
        "<id:organization_id>/products/<gtin:gtin>/history",
        show_product_history,
        name="page-product-history",
    ),
    path("<id:organization_id>/imports", show_imports, name="page-imports"),
    path("<id:organization_id>/imports/<id:run_id>", show_import, name="page-import"),
    path(
        "<id:organization_id>/imports/<id:run_id>/columns",
        choose_columns,
        name="page-import-columns",
    ),
    path(
        "<id:organization_id>/imports/<id:run_id>/confirm",
        confirm_import,
        name="page-import-confirm",
    ),
    path(
        "<id:organization_id>/imports/<id:run_id>/check",
        check_import_again,
        name="page-import-check",
    ),
    path(
        "<id:organization_id>/imports/<id:run_id>/cancel", cancel_import, name="page-import-cancel"
    ),
    path(
        "<id:organization_id>/imports/<id:run_id>/rejects",
        download_rejects,
        name="page-import-rejects",
    ),
    path("<id:organization_id>/export", download_archive, name="page-archive"),
    path("<id:organization_id>/sources", show_sources, name="page-sources"),
    path("<id:organization_id>/sources/new", new_source, name="page-source-new"),
    path("<id:organization_id>/sources/<id:source_id>", show_source, name="page-source"),
    path(
        "<id:organization_id>/sources/<id:source_id>/delete",
        delete_source,
        name="page-source-delete",
    ),
    path("<id:organization_id>/sources/<id:source_id>/run", run_source, name="page-source-run"),
    path(
        "<id:organization_id>/sources/<id:source_id>/pause",
        pause_source,
        name="page-source-pause",
    ),
    path("<id:organization_id>/rule", show_rule, name="page-rule"),
    path("<id:organization_id>/rule/preview", preview_rule, name="page-rule-preview"),
    path("<id:organization_id>/rule/published", reset_to_default_rule, name="page-rule-reset"),
    path("<id:organization_id>/keys", show_keys, name="page-keys"),
    path("<id:organization_id>/origins", change_origins, name="page-origins"),
    path("<id:organization_id>/keys/<id:key_id>", show_key, name="page-key"),
    path("<id:organization_id>/keys/<id:key_id>/rotate", rotate_key, name="page-key-rotate"),
    path("<id:organization_id>/keys/<id:key_id>/revoke", revoke_key, name="page-key-revoke"),
    path("<id:organization_id>/keys/<id:key_id>/delete", delete_key, name="page-key-delete"),
]
