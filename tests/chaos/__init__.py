"""The campaign: load from several producers, seeded disturbances, then the independent verifier."""
