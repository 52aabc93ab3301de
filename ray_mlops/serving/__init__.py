"""Endpoints: one schema, one validator and one predictor behind HTTP, on Ray Serve."""
