"""Pictures for `mlflow models serve`, which has a flavour of its own for XGBoost only."""

from typing import Any

import mlflow


class Pictures(mlflow.pyfunc.PythonModel):
    """The model."""

    def load_context(self, context: Any) -> None:
        """Load the model, which is there only where it is served."""
        from picture import Model

        self.model = Model()

    def predict(self, context: Any, model_input: Any, params: Any = None) -> list[dict[str, Any]]:
        """One answer a row."""
        return [self.model.told(text) for text in model_input["image"]]


mlflow.models.set_model(Pictures())
