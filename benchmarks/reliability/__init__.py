"""Kills, power cuts, mutated files, hostile environments, a soak and exact resumption: what a run survives."""
