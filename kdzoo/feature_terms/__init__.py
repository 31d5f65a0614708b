"""Losses that compare a student's feature maps with those of its trained teacher."""
