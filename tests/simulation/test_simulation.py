"""Seeds that must pass: a few fixed ones, those that found something, and fresh ones each time."""

import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.core import account, policy
from gateway.core.supply import Hold
from gateway.services import bookkeeping, enforcement
from gateway.store import ledger
from tests.simulation import clock
from tests.simulation.campaign import Wish, play
from tests.simulation.scenario import Kind, make

ROOT = Path(__file__).parents[2]

# What each seed once broke, with the days it takes.
FOUND = (
    (508, 6.0, "a restored card lost recharges: nobody sent them again, for receipts had come"),
    (511, 6.0, "the same, and a reversal of a recharge that the card had forgotten"),
    (523, 6.0, "the head-end kept the entries of a history that a restored card had replaced"),
)


def no_violation(wish: Wish) -> None:
    result = play(wish)
    told = "\n".join(f"{at_s:.0f} s: {name}: {text}" for at_s, name, text in result.violations)
    assert not result.violations, f"{told}\n{wish.command()}\n" + "\n".join(result.lines)


@pytest.mark.parametrize("seed", [1, 3, 4])
def test_a_fixed_seed_passes(seed):
    no_violation(Wish(seed, 1.0))


@pytest.mark.parametrize(("seed", "days", "what"), FOUND)
def test_a_seed_that_found_something_passes(seed, days, what):
    no_violation(Wish(seed, days))


def test_fresh_seeds_pass():
    for _ in range(3):
        no_violation(Wish(secrets.randbelow(10**9), 1.0, quiet_poll_s=900.0))


def test_the_same_seed_gives_the_same_trace_in_other_processes():
    command = [sys.executable, "-m", "tests.simulation", "--seed", "12", "--days", "1"]
    told = set()
    for hash_seed in ("0", "4711"):
        environment = {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT), "PATH": ""}
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True
        )
        told.add(done.stdout.splitlines()[0])
    told.add(f"trace {play(Wish(12, 1.0)).digest}")
    assert len(told) == 1


def test_a_kind_of_fault_left_out_shifts_no_other():
    whole = make(77, 20.0)
    fewer = whole.without([Kind.CRASH])
    assert [fault for fault in whole.faults if fault.kind is not Kind.CRASH] == list(fewer.faults)
    assert whole.consumers == fewer.consumers


# --- the simulation itself can fail ---------------------------------------------------------------


def found_by(wishes: list[Wish]) -> set[str]:
    return {name for wish in wishes for _, name, _ in play(wish).violations}


def test_a_cut_with_credit_left_is_noticed(monkeypatch):
    real = policy.may_cut

    def eager(rules, balance_paise, now, zone):
        return real(rules, balance_paise - 3000, now, zone)

    monkeypatch.setattr(bookkeeping, "may_cut", eager)
    assert "no_hold_for_want_of_credit_with_credit_left" in found_by([Wish(3, 1.0)])


def test_energy_that_is_charged_twice_is_noticed(monkeypatch):
    real = ledger.append_charges

    def lossy(tx, book, charges, now):
        return real(
            tx, book, [account.replace(each, quantity=each.quantity * 2) for each in charges], now
        )

    monkeypatch.setattr(ledger, "append_charges", lossy)
    assert "charged_energy_is_the_registers" in found_by([Wish(3, 1.0)])


def test_a_lock_that_does_not_hold_is_noticed(monkeypatch):
    def forgetful(live):
        others = live.holds - {Hold.LINEMAN_LOCK}
        return enforcement.Position.OPEN if others else enforcement.Position.CLOSED

    monkeypatch.setattr(enforcement, "wanted_position", forgetful)
    wishes = [Wish(seed, 3.0, 3) for seed in range(40) if _locks(seed)][:3]
    assert "a_hold_is_enforced" in found_by(wishes)


def _locks(seed: int) -> bool:
    return any(fault.kind is Kind.LOCK for fault in make(seed, 3.0, meters=3).faults)


def test_a_program_that_waits_for_nothing_is_noticed():
    async def wait_for_nothing() -> None:
        await clock.asyncio.get_running_loop().create_future()

    with pytest.raises(clock.Stuck):
        clock.run(wait_for_nothing(), clock.VirtualLoop())


def test_a_program_that_spins_is_noticed():
    async def spin() -> None:
        while True:
            await clock.asyncio.sleep(0)

    with pytest.raises(clock.Spinning):
        clock.run(spin(), clock.VirtualLoop())
