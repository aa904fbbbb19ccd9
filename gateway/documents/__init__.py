"""What people and head-ends hand to the gateway: configuration, tariffs, policies, signed notes."""
