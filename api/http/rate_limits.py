"""What is left to a visitor, in the header fields of draft-ietf-httpapi-ratelimit-headers-11."""

import math

from flows.jobs.quotas import HOUR, Quota, Use

# Not of jobs that run: beyond those, submissions are taken.
_PARAMETERS = {
    "queued": "",
    "bytes": ';qu="content-bytes"',
    "submissions": f";w={HOUR.total_seconds():.0f}",
}


def rate_limits(quota: Quota, use: Use) -> dict[str, str]:
    """Return the header fields of an answer to a submission; none where there is no quota for it."""
    limits = {name: most for name, most in quota.limits() if name in _PARAMETERS}
    if not limits:
        return {}
    left = {name: max(0, most - getattr(use, name)) for name, most in limits.items()}
    resets = {"submissions": f";t={math.ceil(use.hour_left)}"} if use.submissions else {}
    return {
        "RateLimit-Policy": ", ".join(
            f'"{name}";q={most}{_PARAMETERS[name]}' for name, most in limits.items()
        ),
        "RateLimit": ", ".join(f'"{name}";r={number}{resets.get(name, "")}' for name, number in left.items()),
    }
