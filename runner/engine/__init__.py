"""Runs a plan against a cloud and a lab, and records what happened.

Nothing in here prints, reads the environment, looks at a real clock or draws a random number: all of that is passed
in, so that the whole engine runs in a deterministic simulation.
"""
