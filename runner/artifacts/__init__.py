"""Trained models: taken apart safely, and asked in a process of their own."""
