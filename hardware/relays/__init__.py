"""Supply switches on GPIO pins, and the pin factory that holds a relay over a restart.

`spec` reads how a switch is written and opens it; `gpio` and `latching` are the drivers; `pins` is
the gpiozero pin factory, over `lines` (the port to the kernel) and `chardev` (the real kernel).
"""
