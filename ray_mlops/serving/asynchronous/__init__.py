"""Asynchronous inference: submitted at once, worked in the background of the replicas, the result kept in the run root."""
