"""One entry of a configuration at any depth, named with dots: what its outermost key holds once it has changed."""

from collections.abc import Mapping


def entry_at(config: Mapping[str, object], place: str, value: object) -> dict[str, object]:
    """Return {outermost key: what it holds with ``value`` at ``place``}; tables on the way that lack are made."""
    name, _, rest = place.partition(".")
    inner = config.get(name, {})
    return {name: {**inner, **entry_at(inner, rest, value)} if rest and isinstance(inner, Mapping) else value}
