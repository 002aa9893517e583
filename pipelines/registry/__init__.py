"""`perceiver promote`, `rollback` and `lineage`: models of the registry."""
