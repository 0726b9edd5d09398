"""The HTTP interface of the service: parse the request, call `workers`, encode the response."""

from api.app import create_app

__all__ = ["create_app"]
