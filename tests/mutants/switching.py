"""Planted bugs in when supply is cut and connected."""

from tests.mutants.mutant import CORE, FAULTS, SPINE, UNWRITABLE, Mutant

POLICY, SUPPLY, SWITCHING = (f"{CORE}/test_{name}.py" for name in ("policy", "supply", "switching"))

MUTANTS = (
    Mutant(
        "a recharge lifts every hold",
        "gateway/services/posting.py",
        "        return frozenset((self.live.holds | placed) - lifted)\n",
        "        return frozenset() if lifted else frozenset(self.live.holds | placed)\n",
        "A recharge energises a line on which a lineman is at work.",
        (SPINE,),
        quick=True,
    ),
    Mutant(
        "any one hold lifted connects",
        "gateway/services/enforcement.py",
        "    return Position.OPEN if live.holds else Position.CLOSED\n",
        "    return Position.OPEN if len(live.holds) == 1 else Position.CLOSED\n",
        "Locked and without credit at once, a house is switched on.",
        (UNWRITABLE,),
    ),
    Mutant(
        "a cut on a stale reading",
        "gateway/services/bookkeeping.py",
        "            case HoldChange.PLACE if self._fresh(live):\n",
        "            case HoldChange.PLACE:\n",
        "A house is cut by what its meter said yesterday.",
        (FAULTS,),
    ),
    Mutant(
        "a cut outside the window",
        "gateway/core/policy.py",
        "    return window is None or window.start <= local.time() < window.end\n",
        "    return window is None or window.start <= local.time()\n",
        "Cut in the evening, when no recharge shop and no office is open.",
        (POLICY,),
    ),
    Mutant(
        "a cut on a holiday",
        "gateway/core/policy.py",
        "    if day in policy.holidays:\n        return False\n",
        "",
        "Cut on the festival the order protects.",
        (POLICY,),
    ),
    Mutant(
        "a cut at a time that nobody vouches for",
        "gateway/core/policy.py",
        "    if not now.proven:\n",
        "    if False:\n",
        "A Pi with a wrong clock cuts at night.",
        (POLICY,),
    ),
    Mutant(
        "a cut with a paisa left",
        "gateway/core/policy.py",
        "    if balance_paise > policy.credit_limit_paise:\n",
        "    if balance_paise > policy.credit_limit_paise + 1:\n",
        "Cut with credit left.",
        (POLICY,),
    ),
    Mutant(
        "a cut that the hour takes back",
        "gateway/core/supply.py",
        "        return HoldChange.LIFT if balance_paise > limit_paise else HoldChange.KEEP\n",
        "        lift = balance_paise > limit_paise or not permission.allowed\n"
        "        return HoldChange.LIFT if lift else HoldChange.KEEP\n",
        "A house without credit is switched on and off every day by the clock; relays wear out.",
        (SUPPLY,),
    ),
    Mutant(
        "the relay before its row",
        "gateway/services/enforcement.py",
        "        while await self._books.transact(partial(_command, live, wanted)):\n",
        "        if station.switch is not None:\n"
        "            closed = wanted is Position.CLOSED\n"
        "            await (station.switch.connect() if closed else station.switch.disconnect())\n"
        "        while await self._books.transact(partial(_command, live, wanted)):\n",
        "Supply moves and no record says who did it, why and when.",
        (UNWRITABLE,),
    ),
    Mutant(
        "retrying a welded relay for ever",
        "gateway/core/switching.py",
        "MAX_ATTEMPTS = 3\n",
        "MAX_ATTEMPTS = 10**9\n",
        "The relay is hammered to death, and no alarm tells anybody.",
        (SWITCHING,),
    ),
    Mutant(
        "no limit to relay operations",
        "gateway/core/switching.py",
        "    if len(recent) >= MAX_OPERATIONS_PER_HOUR:\n        return _alarm(drive)\n",
        "",
        "A balance around nought flips a relay until it welds.",
        (SWITCHING,),
    ),
    Mutant(
        "old evidence proves a new command",
        "gateway/core/switching.py",
        "        settled_s = drive.last_operated_at_s + SETTLE_S\n",
        "        settled_s = drive.last_operated_at_s - 60\n",
        "A reading from before the cut makes a sound relay a welded one.",
        (SWITCHING,),
    ),
    Mutant(
        "a restart forgets the holds",
        "gateway/services/commissioning.py",
        "            live.holds = supply_log.standing_holds(reader, row.name)\n",
        "",
        "After a power cut a line that a lineman locked off is energised.",
        (FAULTS,),
        quick=True,
    ),
    Mutant(
        "unlocking lifts what it did not place",
        "gateway/store/supply_log.py",
        '    return frozenset(Hold(row["hold"]) for row in rows if row["kind"] == "hold_placed")\n',
        '    placed = [Hold(row["hold"]) for row in rows if row["kind"] == "hold_placed"]\n'
        "    return frozenset(placed[:1])\n",
        "Of two locks only one survives a restart.",
        (UNWRITABLE,),
    ),
)
