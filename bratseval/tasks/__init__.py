"""One module per kind of challenge, each with one function ``score_case``."""
