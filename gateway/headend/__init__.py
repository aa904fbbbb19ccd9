"""A reference head-end: enough to issue signed recharges and to collect what the gateways report.

It shows the other side of the contract in `deploy/asyncapi.yaml` and is what the tests and the demo
talk to. A utility will have its own.
"""
