"""Latents to symbols and contexts. No torch here: a file can be parsed without it."""
