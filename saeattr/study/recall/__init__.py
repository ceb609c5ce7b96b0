"""Parts of a recall study: each is what its stages measure of all facts, tables derived of that, and claims judged."""
