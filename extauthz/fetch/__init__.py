"""Outbound HTTP: one guarded client for keys, discovery and introspection."""

from extauthz.fetch.fetcher import Answer, FormAnswer, HttpFetcher, Reach

__all__ = ["Answer", "FormAnswer", "HttpFetcher", "Reach"]
