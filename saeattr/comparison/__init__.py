"""Two models on the same pairs with the same SAEs: which features' effects changed, and where the change begins."""
