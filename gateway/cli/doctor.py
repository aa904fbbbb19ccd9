"""`gateway doctor`: check everything, and say what to do next."""

import click

from gateway.cli.basics import Command, Settings, json_option, pass_settings, print_json
from gateway.cli.failure import EXIT_FAILED


@click.command(cls=Command)
@json_option
@pass_settings
def command(settings: Settings, as_json: bool) -> None:
    """Check everything and say what to do next; works with the gateway down."""
    from gateway.cli import checks, checks_view  # noqa: PLC0415 - not for --help

    findings = []
    for finding in checks.run(settings):
        findings.append(finding)
        if not as_json:
            checks_view.show(finding)  # as they come: a dead line takes its time
    failed = sum(finding.verdict == "fail" for finding in findings)
    if as_json:
        print_json({"ok": not failed, "findings": [finding.as_dict() for finding in findings]})
    else:
        checks_view.show_end(findings)
    if failed:
        raise click.exceptions.Exit(EXIT_FAILED)
