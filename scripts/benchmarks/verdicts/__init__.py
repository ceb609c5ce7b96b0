"""How often are verdicts wrong? On small models whose truth was planted, and where no feature can have an effect."""
