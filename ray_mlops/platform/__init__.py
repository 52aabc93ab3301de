"""What the lifecycle stands on: files, the artifact store, versioned tables, Ray, MLflow and the model bundle."""
