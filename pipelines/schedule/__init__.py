"""`perceiver schedule`: runs that begin when their time has come."""
