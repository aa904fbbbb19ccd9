"""How the running gateway is reached: the local API of the commands."""
