"""What is asked and what is kept. Standard library and msgspec only."""
