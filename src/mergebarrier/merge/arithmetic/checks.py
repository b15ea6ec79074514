"""How every merge method refuses a bad hyper-parameter, and how one value is spread over all experts."""

from mergebarrier.errors import BadMergeParameter


def refuse(method: str, parameter: str, value: object, allowed: str) -> BadMergeParameter:
    """Compose the error for one parameter; the caller raises it."""
    return BadMergeParameter(f"{parameter} is {value!r}", where=method, remedy=f"give {parameter} as {allowed}")


def per_expert(
    method: str, parameter: str, values: float | tuple[float, ...], count: int, default: float
) -> tuple[float, ...]:
    """Spread ``values`` over ``count`` experts: none gives ``default`` to each, a single one counts for all."""
    values = values if isinstance(values, tuple) else (values,)
    if len(values) == count:
        return values
    if len(values) <= 1:
        return (values or (default,)) * count
    raise BadMergeParameter(
        f"{len(values)} values of {parameter} for {count} experts",
        where=method,
        remedy=f"give {parameter} once for all, or once per expert",
    )
