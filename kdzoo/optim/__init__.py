"""Optimisers and learning-rate schedules: timm's, by name, each with its own typed settings."""
