"""Receivers on loopback, and what is sent to them."""
