"""Whatever comes from outside: nothing uncaught, nothing charged, nothing switched, soon done."""
