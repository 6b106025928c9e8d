"""Everything that reads records. Imports pandas and matplotlib; runs no model."""
