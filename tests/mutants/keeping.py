"""Planted bugs in what is kept, and in what is told to the head-end."""

from tests.mutants.mutant import CUTS, SERVICES, SPINE, TEST_STORE, UNWRITABLE, Mutant

SYNC, WINDOW = f"{SERVICES}/test_sync_service.py", f"{SERVICES}/test_sync_window.py"
_TRANSACTION = """            self._writer.execute("BEGIN IMMEDIATE")
            try:
                result = work(self._writer)
                self._writer.execute("COMMIT")
"""

MUTANTS = (
    Mutant(
        "synchronous NORMAL",
        "gateway/store/database.py",
        '                "synchronous=FULL",\n',
        '                "synchronous=NORMAL",\n',
        "A power cut loses the last recharges although their receipts are out: paid, receipted, "
        "gone.",
        (f"{CUTS}[living-0.15-2-400]", f"{TEST_STORE}::test_durability_is_set_as_promised"),
        simulated=False,
    ),
    Mutant(
        "a receipt before the commit",
        "gateway/store/database.py",
        _TRANSACTION,
        """            if self._writer.in_transaction:
                self._writer.execute("COMMIT")
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                result = work(self._writer)
""",
        "The answer says credited while the credit is only in memory: any crash takes it away.",
        (f"{CUTS}[living-0.15-2-400]", SPINE),
    ),
    Mutant(
        "no transaction",
        "gateway/store/database.py",
        _TRANSACTION,
        """            try:
                result = work(self._writer)
""",
        "A crash between two statements leaves a charge without its event, or a receipt without "
        "its credit.",
        (f"{CUTS}[living-0.15-2-400]", TEST_STORE),
    ),
    Mutant(
        "an old database is emptied when it is upgraded",
        "gateway/store/schema.py",
        "    _run(db, SYNC)\n",
        '    db.conn.execute("DROP TRIGGER entries_are_kept")\n'
        '    db.conn.execute("DELETE FROM entries WHERE seq > 5")\n'
        "    _run(db, SYNC)\n",
        "An update of the program loses balances.",
        (f"{CUTS}[upgrade-1-9-150]",),
        simulated=False,
    ),
    Mutant(
        "the outbox is emptied when the broker has it",
        "gateway/services/sync.py",
        "                self._batches_sent += 1\n",
        "                self._batches_sent += 1\n"
        "                await self._outbox.acknowledge(batch.last)\n",
        "A broker that loses its memory loses receipts for ever: the office shows a payment that "
        "never arrived.",
        (SYNC,),
    ),
    Mutant(
        "an ack of what was never sent is believed",
        "gateway/services/outgoing.py",
        "        return self.acknowledged < through <= self.highest_sent\n",
        "        return self.acknowledged < through\n",
        "One wrong number from the head-end deletes events it has never seen.",
        (SYNC, WINDOW),
    ),
    Mutant(
        "the head-end acknowledges beyond a gap",
        "gateway/headend/copy.py",
        "        return min(through, last)\n",
        "        return last\n",
        "Events that were lost on the way are deleted at the gateway: the copy is short for ever.",
        ("tests/gateway/headend/test_headend_copy.py",),
    ),
    Mutant(
        "the schema lets unacknowledged events go",
        "gateway/store/schema.py",
        "WHEN OLD.sequence > (SELECT through FROM outbox_acknowledged)\n",
        "WHEN 0\n",
        "Nothing stops a later bug from deleting receipts.",
        (TEST_STORE,),
        simulated=False,
    ),
    Mutant(
        "sequences are used again",
        "gateway/store/schema.py",
        "    sequence INTEGER PRIMARY KEY AUTOINCREMENT,\n",
        "    sequence INTEGER PRIMARY KEY,\n",
        "After the outbox was empty a new event bears an old number: the head-end takes it for "
        "known.",
        (TEST_STORE,),
    ),
    Mutant(
        "a balance that does not follow is stored",
        "gateway/store/schema.py",
        "WHEN NEW.balance_paise <> NEW.amount_paise + coalesce(\n",
        "WHEN NULL <> NEW.amount_paise + coalesce(\n",
        "A wrong sum becomes a balance, and nobody can say since when.",
        (TEST_STORE,),
        simulated=False,
    ),
    Mutant(
        "a restart forgets the fixed charges of the month",
        "gateway/store/ledger.py",
        """        f" sum(quantity) FILTER (WHERE component = 'fixed') > 0 AS fixed {charges}"\n""",
        """        f" 0 AS fixed {charges}"\n""",
        "After a restart the month's fixed charges are given back, and the utility is short.",
        (TEST_STORE, SPINE),
    ),
    Mutant(
        "a failed write is taken for done",
        "gateway/services/bookkeeping.py",
        "            result = await self.db.write(write)\n",
        "            try:\n"
        "                result = await self.db.write(write)\n"
        "            except StoreError:\n"
        "                result = None\n",
        "On a full card credit and charges live in memory only, until the power fails.",
        (UNWRITABLE,),
    ),
)
