"""The demonstration: the real gateway on a simulated street, and the proof that nothing was lost.

Everything on the way is the product's own code: serial port, Modbus, ledger, gpiozero, MQTT. What
is simulated is the street itself, and the speed of its day.
"""
