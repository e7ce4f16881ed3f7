"""The line that makes two numbers comparable, and the sentence that says how teams were ranked."""

from __future__ import annotations

from typing import Any

from bratseval import __version__
from bratseval.challenge import Challenge, Rulebook


def signature(rulebook: Rulebook, cases: int) -> str:
    """One line that makes two numbers comparable."""
    challenge = rulebook.challenge
    return (
        f"bratseval|{challenge.name}@{challenge.version}|config:{rulebook.digest}|{_method(challenge)}"
        f"|cases:{cases}|rank:{challenge.ranking.scheme}|ties:{challenge.ranking.plan.ties}|v{__version__}"
    )


def _method(challenge: Challenge) -> str:
    """What the numbers depend on most: rules of lesions, or the kind of challenge and its main choices."""
    if challenge.task != "segmentation":
        points = f":{challenge.uncertainty.points}points" if challenge.uncertainty else ""
        stated = {
            name: ",".join(f"{key}={value}" for key, value in challenge.metrics[name].parameters.items())
            for name in challenge.ranking.metrics
            if name in challenge.metrics
        }
        return challenge.task + points + "".join(f"|{name}:{how}" for name, how in stated.items() if how)
    rules = challenge.lesions
    merged = f"+dil{rules.dilation_voxels}" if rules.merge else ""
    matched = f"+{rules.matching}" if rules.matching != "contact" else ""
    limit = f"+vol>{rules.min_reference_mm3:g}" if rules.min_reference_mm3 else ""
    distance = next((spec for spec in challenge.metrics.values() if spec.metric.endswith("hd95")), None)
    hd95 = f"|hd95:{distance.surface}" if distance else ""
    return f"lesions:{rules.connectivity}conn{merged}{matched}{limit}{hd95}"


def describe_ranking(rulebook: Rulebook) -> dict[str, Any]:
    """Every choice behind the places, and the ranking in a sentence that says what the score is."""
    spec = rulebook.challenge.ranking
    plan = spec.plan
    missing = (
        spec.missing
        if isinstance(spec.missing, str)
        else ", ".join(f"{k}={v:g}" for k, v in spec.missing.items())
    )
    return {
        "rule": (
            f"{spec.scheme}: teams are {plan.says}; aggregate {spec.aggregate}, ties {plan.ties}, joined by "
            f"{plan.combine}; the smallest of joined ranks wins, any other score by its own direction; "
            f"equal scores (to 12 digits): {plan.final_ties}; missing values: {missing}; "
            "a score left empty because both sides are empty counts as the best one within its case and is "
            "left out of means"
        ),
        "says": f"teams are {plan.says}",
        "scheme": spec.scheme,
        "steps": list(plan.steps),
        "aggregate": spec.aggregate,
        "combine": plan.combine,
        "ties": plan.ties,
        "final_ties": plan.final_ties,
        "missing": spec.missing,
        "per": "institution" if plan.per_institution else "all",
    }
