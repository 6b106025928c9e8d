"""The audit: published operation and parameter counts beside what is counted, and why they differ.

A verdict is computed from records and the printed number alone; nothing is typed in by hand.
"""
