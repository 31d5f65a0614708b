"""A student as a folder of timm's, with a model card, and on the Hugging Face hub."""
