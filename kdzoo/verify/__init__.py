"""``kdzoo verify``: a published run is carried out again, and compared."""
