"""Reads run folders, and makes tables, plots and pages of them."""
