"""The link to a broker: connections that come and go, and nothing of what travels on them."""
