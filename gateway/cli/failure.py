"""How a command ends: exit statuses, and the failure that carries one."""

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_HARDWARE = 3


class Failure(Exception):
    """A command that did not do what was asked; `hint` says what to try, `exit_code` how it ends.

    `kind` is the class of the error in the gateway, if it was the gateway that said no.
    """

    def __init__(
        self, message: str, *, hint: str = "", exit_code: int = EXIT_FAILED, kind: str = ""
    ) -> None:
        super().__init__(message)
        self.hint = hint
        self.exit_code = exit_code
        self.kind = kind
