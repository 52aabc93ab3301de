"""Clusters of several nodes: endpoints exported to them, jobs submitted, what is wrong found before money is spent."""
