"""Planted bugs in what is charged and credited."""

from tests.mutants.mutant import CORE, FAULTS, SERVICES, SPINE, TEST_STORE, UNWRITABLE, Mutant

ACCOUNT, TARIFF = f"{CORE}/test_account.py", f"{CORE}/test_tariff.py"
REGISTER, RECHARGE = f"{CORE}/test_register.py", f"{CORE}/test_recharge.py"

MUTANTS = (
    Mutant(
        "charging by deltas in memory",
        "gateway/services/live.py",
        "        self.accepted_at_s, self.accepted_at = reading.read_at_s, now\n",
        "        if self.accepted_at_s is None:\n"
        "            from dataclasses import replace\n"
        "            self.book = replace(self.book, register_wh=self.gate.accepted_wh)\n"
        "        self.accepted_at_s, self.accepted_at = reading.read_at_s, now\n",
        "After each restart what was used since the last posting is given away; whoever can cut "
        "the gateway's power pays nothing.",
        (FAULTS,),
        quick=True,
    ),
    Mutant(
        "money as float",
        "gateway/core/units.py",
        "    doubled = 2 * abs(exact.numerator) + exact.denominator\n"
        "    magnitude = doubled // (2 * exact.denominator)\n",
        "    magnitude = round(abs(float(exact)))\n",
        "Halves are rounded to even and large sums lose paise: the bill differs from the order.",
        (f"{CORE}/test_units.py", TARIFF),
        quick=True,
    ),
    Mutant(
        "each line rounded alone",
        "gateway/core/tariff.py",
        "            running += amount\n",
        "            running, rounded_before = amount, 0\n",
        "A bill's lines no longer add up to its total; a paisa a line, every month.",
        (TARIFF,),
    ),
    Mutant(
        "each posting billed alone",
        "gateway/core/account.py",
        "    same_month = (day.year, day.month) == (book.day.year, book.day.month)\n",
        "    same_month = False\n",
        "Each day starts in the cheapest slab and is rounded by itself: the utility loses the "
        "slabs, the consumer up to 15 paise a month.",
        (ACCOUNT,),
    ),
    Mutant(
        "slab position lost when rates change",
        "gateway/core/tariff.py",
        "        position_wh += run.energy_wh\n",
        "        position_wh = 0\n",
        "In a month with a new order everybody begins in the first slab twice.",
        (TARIFF,),
        simulated=False,
    ),
    Mutant(
        "duty on the rounded charge",
        "gateway/core/tariff.py",
        'exact.append((key, 0, f"{percent}%", base_paise * Fraction(percent) / 100))',
        'exact.append((key, 0, f"{percent}%", '
        "Fraction(round_half_up(base_paise)) * Fraction(percent) / 100))",
        "A duty that differs from the order by a paisa now and then.",
        (TARIFF,),
        simulated=False,
    ),
    Mutant(
        "fixed charge a day early",
        "gateway/core/account.py",
        "    book, posted = _post(book, tariff, today, register_wh, "
        "fixed_due=closing and now.proven)\n",
        "    book, posted = _post(book, tariff, today, register_wh, fixed_due=now.proven)\n",
        "A fixed charge is taken for a day that has only begun, and may end unproven.",
        (ACCOUNT, SPINE),
    ),
    Mutant(
        "fixed charge again after a clock that stepped back",
        "gateway/core/account.py",
        "    if today <= book.day or (today - book.day).days > MAX_GAP_DAYS:\n",
        "    if (today - book.day).days > MAX_GAP_DAYS:\n",
        "A clock that is set back over a month's end brings the month's fixed charges twice.",
        (ACCOUNT,),
    ),
    Mutant(
        "a date far ahead is believed",
        "gateway/core/account.py",
        "    if today <= book.day or (today - book.day).days > MAX_GAP_DAYS:\n",
        "    if today <= book.day:\n",
        "A clock battery that dies into the year 2099 posts 73 years of fixed charges at once.",
        (ACCOUNT,),
    ),
    Mutant(
        "unproven time closes a day",
        "gateway/core/account.py",
        "    if not now.proven:\n        return book.day\n    today = now.day(zone)\n",
        "    today = now.day(zone)\n",
        "A Pi that starts without time charges days that never were.",
        (ACCOUNT,),
    ),
    Mutant(
        "backward register accepted",
        "gateway/core/register.py",
        "    if register_wh < gate.accepted_wh:\n",
        "    if register_wh < 0:\n",
        "A meter that answers 0 while it reboots stops the gateway, or is charged its whole "
        "register when it is back.",
        (REGISTER,),
        quick=True,
    ),
    Mutant(
        "a spike is believed at once",
        "gateway/core/register.py",
        "        if risen_wh <= at_once_wh or seen_before:\n",
        "        if True:\n",
        "One garbled reading after an outage empties a wallet and cuts a house.",
        (REGISTER,),
    ),
    Mutant(
        "a jump needs no confirmation",
        "gateway/core/register.py",
        "CONFIRMATIONS = 3\n",
        "CONFIRMATIONS = 0\n",
        "A register that is read wrong twice is billed: hundreds of kWh nobody used.",
        (REGISTER,),
    ),
    Mutant(
        "not a number is nought",
        "hardware/meters/registers.py",
        "    return Fraction(value) if math.isfinite(value) else None\n",
        "    return Fraction(value) if math.isfinite(value) else Fraction(0)\n",
        "A meter without a reading shows 0 W and 0 Wh as good: a welded relay looks open.",
        ("tests/hardware/test_meter_registers.py",),
    ),
    Mutant(
        "an implausible reading is good",
        "hardware/meters/registers.py",
        "        if not _exact(self.min) <= value <= _exact(self.max):\n            return None\n",
        "",
        "A wrong model file or a broken meter bills whatever bits it sends.",
        ("tests/hardware/test_meter_registers.py",),
    ),
    Mutant(
        "late replies are not drained",
        "hardware/buses/line.py",
        "            rest_s = gap_s if answered else LATE_REPLY_S\n",
        "            rest_s = gap_s\n",
        "A reply that comes late is taken for the answer to the next question: voltage is billed "
        "as energy.",
        ("tests/hardware/test_bus_noise.py",),
    ),
    Mutant(
        "recharge_id not unique",
        "gateway/store/schema.py",
        "CREATE UNIQUE INDEX recharges_once",
        "CREATE INDEX recharges_once",
        "The last line of defence against crediting a recharge twice is gone.",
        (TEST_STORE,),
        quick=True,
        simulated=False,
    ),
    Mutant(
        "a recharge applied again",
        "gateway/core/recharge.py",
        "        return Outcome.ALREADY_CREDITED if same else Outcome.CONFLICT\n",
        "        return Outcome.CREDITED if same else Outcome.CONFLICT\n",
        "The head-end sends until a receipt comes; each copy would be money, or a crash.",
        (RECHARGE, SPINE),
    ),
    Mutant(
        "recharge refused by its time",
        "gateway/services/recharging.py",
        "        if outcome is Outcome.CREDITED and live is not None:\n",
        "        if (recharge.issued_at or now.iso())[:10] != now.iso()[:10]:\n"
        "            outcome = Outcome.CONFLICT\n"
        "        if outcome is Outcome.CREDITED and live is not None:\n",
        "A house that has paid stays dark because a Pi woke up in the wrong year.",
        (UNWRITABLE,),
    ),
    Mutant(
        "a signature that is not checked",
        "gateway/documents/signed.py",
        "            return jws.deserialize_compact(note, key, registry=_REGISTRY).payload\n",
        "            return jws.extract_compact(note.encode()).payload\n",
        "Anybody who can reach the broker prints money.",
        ("tests/gateway/documents/test_signed.py", "tests/fuzz/test_fuzz.py -k signed-notes"),
        simulated=False,
    ),
    Mutant(
        "a reversal of more than was given",
        "gateway/core/recharge.py",
        "        if -recharge.amount_paise > left_paise:\n",
        "        if -recharge.amount_paise > reversed_entry.amount_paise:\n",
        "Taken back twice: a consumer's other money goes with it.",
        (RECHARGE, SPINE),
    ),
    Mutant(
        "a reversal from another account",
        "gateway/core/recharge.py",
        "        if reversed_entry is None or reversed_entry.account != recharge.account:\n",
        "        if reversed_entry is None:\n",
        "One neighbour's mistaken recharge is taken back from another.",
        (RECHARGE,),
        simulated=False,
    ),
    Mutant(
        "a tariff order takes back what was paid",
        "gateway/core/account.py",
        "        amount_paise = line.amount_paise - before.amount_paise\n",
        "        amount_paise = max(0, line.amount_paise - before.amount_paise)\n",
        "A corrected order that lowers a rate gives nothing back.",
        (ACCOUNT, f"{SERVICES}/test_spine.py"),
    ),
)
