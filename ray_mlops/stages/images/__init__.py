"""The stages that images need of their own, one file a stage."""
