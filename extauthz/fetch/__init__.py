"""Outbound HTTP: one guarded client for keys and discovery."""

from extauthz.fetch.fetcher import Answer, HttpFetcher, Reach

__all__ = ["Answer", "HttpFetcher", "Reach"]
