"""Losses that compare what a student sees with what its trained teacher sees."""
