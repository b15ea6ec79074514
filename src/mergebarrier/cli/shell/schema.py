"""``mergebarrier schema``: the JSON Schema of a document, for programs that read it."""

import click

__all__ = ["command"]


@click.command()
@click.argument("name", required=False)
def command(name: str | None) -> None:
    """Print the JSON Schema of NAME, the `kind` of a document or one of `manifest`, `result`, `row`; without NAME, list
    them all.
    """
    from mergebarrier import schemas

    click.echo("\n".join(schemas.names()) if name is None else schemas.text(name), nl=name is None)
