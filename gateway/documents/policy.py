"""Policy files: `core.policy.Policy` is the schema; read, written and named by content here."""

from pathlib import Path

from gateway.core.errors import PolicyError
from gateway.core.policy import Policy
from gateway.documents import canonical
from gateway.documents.files import parse, read

_HINT = "deploy/policies has commented examples."


def load_policy(path: Path) -> Policy:
    """Read a policy file. Raises `PolicyError`, which names the file, the place and the fault."""
    return parse_policy(read(path, PolicyError), name=str(path))


def parse_policy(text: str, *, name: str) -> Policy:
    """Read a policy's TOML text; `name` is what errors call it. Raises `PolicyError`."""
    return parse(text, Policy, PolicyError, name=name, hint=_HINT)


def policy_text(policy: Policy) -> str:
    """The policy as TOML, which `parse_policy` reads back as the same."""
    return canonical.to_toml(policy)


def policy_digest(policy: Policy) -> str:
    """SHA-256 (hex) of the content: the same for every file that says the same."""
    return canonical.digest(policy)
