"""A study's work handed out to several processes with Dask: on this machine, or on a cluster that runs.

What is handed out is a *piece*: a stage for some groups, or some shards of a group's attribution. A piece is idempotent
and stores what it makes whole and under its own name in the study's folder, which every worker sees, so that only names
and settings travel, and a piece whose worker was killed is done again elsewhere from where it was.
"""
