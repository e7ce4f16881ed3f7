"""The line that makes two numbers comparable, and the sentence that says how teams were ranked."""

from __future__ import annotations

from bratseval import __version__
from bratseval.challenge import Rulebook


def signature(rulebook: Rulebook, cases: int) -> str:
    """One line that makes two numbers comparable."""
    challenge = rulebook.challenge
    rules = challenge.lesions
    merged = f"+dil{rules.dilation_voxels}" if rules.merge else ""
    matched = f"+{rules.matching}" if rules.matching != "contact" else ""
    limit = f"+vol>{rules.min_reference_mm3:g}" if rules.min_reference_mm3 else ""
    distance = next((spec for spec in challenge.metrics.values() if spec.metric.endswith("hd95")), None)
    hd95 = f"|hd95:{distance.surface}" if distance else ""
    return (
        f"bratseval|{challenge.name}@{challenge.version}|config:{rulebook.digest}"
        f"|lesions:{rules.connectivity}conn{merged}{matched}{limit}{hd95}"
        f"|cases:{cases}|rank:{challenge.ranking.scheme}|ties:{challenge.ranking.ties}|v{__version__}"
    )


def describe_ranking(rulebook: Rulebook) -> str:
    """The ranking in a sentence, so that a leaderboard says what its score is."""
    spec = rulebook.challenge.ranking
    missing = (
        spec.missing
        if isinstance(spec.missing, str)
        else ", ".join(f"{k}={v:g}" for k, v in spec.missing.items())
    )
    return (
        f"{spec.scheme}: ranks per case, region and metric (ties {spec.ties}), mean within the case, then "
        f"over cases; smallest wins; equal scores share the smaller place; missing values: {missing}; "
        "a score left empty because both sides are empty counts as the best one"
    )
