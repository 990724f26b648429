"""What a client would rather have, JSON or a page: its Accept header (RFC 9110, 12.5.1)."""

HTML, JSON = "text/html", "application/json"


def wants_json(accept: str) -> bool:
    """Whether it is a script's: it likes JSON better than a page, or as well, and names it.

    One that takes anything (`*/*`, no header) gets the page: browsers say so too.
    """
    weights = _weights(accept)
    json, html = (_weight(weights, media) for media in (JSON, HTML))
    return json > html or (JSON in weights and json == html > 0)


def wants_html(accept: str) -> bool:
    """Whether a person reads the answer, even of a refusal: pages are named, not only taken with the rest."""
    weights = _weights(accept)
    return not wants_json(accept) and (weights.get(HTML) or weights.get("text/*") or 0.0) > 0


def _weights(accept: str) -> dict[str, float]:
    """Each range with its q; one that can't be read counts for nothing."""
    found: dict[str, float] = {}
    for part in accept.lower().split(","):
        media, *parameters = (one.strip() for one in part.split(";"))
        given = next((one.removeprefix("q=") for one in parameters if one.startswith("q=")), "1")
        try:
            weight = float(given)
        except ValueError:
            weight = 0.0
        if media:
            found[media] = weight if 0 <= weight <= 1 else 0.0
    return found


def _weight(weights: dict[str, float], media: str) -> float:
    """Of the range that says most of that type."""
    for one in (media, f"{media.partition('/')[0]}/*", "*/*"):
        if one in weights:
            return weights[one]
    return 0.0
