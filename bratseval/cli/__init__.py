"""The command line: parse, call one function, print. Heavy imports happen inside the commands."""

from bratseval.cli.entry import app, main

__all__ = ["app", "main"]
