"""How long it takes from the moment when an event was due to be sent until a subscriber has the change it causes."""
