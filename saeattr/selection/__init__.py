"""Which layers are worth an SAE: cheap measurements, one score a site, the best set within a budget."""
