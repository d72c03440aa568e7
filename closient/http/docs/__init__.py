"""The documentation of the API that the service publishes: OpenAPI document, error pages, links."""
