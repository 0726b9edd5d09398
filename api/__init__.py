"""The HTTP interface of the service: parse, call `workers`, answer."""

from api.app import create_app

__all__ = ["create_app"]
