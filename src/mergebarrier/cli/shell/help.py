"""``mergebarrier help VERB``: what ``mergebarrier VERB --help`` prints, for people who type the words in this order."""

import click

__all__ = ["command"]


@click.command()
@click.argument("words", nargs=-1, metavar="[VERB [SUBVERB]]")
def command(words: tuple[str, ...]) -> None:
    """Explain VERB; without one, list the verbs."""
    ctx = click.get_current_context().find_root()
    for word in words:
        group = ctx.command
        if not isinstance(group, click.Group):
            raise click.UsageError(f"{ctx.command_path!r} has no verbs of its own.", ctx)
        _, found, _ = group.resolve_command(ctx, [word])
        assert found is not None, word
        ctx = click.Context(found, parent=ctx, info_name=word)
    click.echo(ctx.get_help())
