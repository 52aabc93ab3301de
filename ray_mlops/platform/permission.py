"""The one check that stands before the search and the training: does the decision ask for a model?"""

from ray_mlops.contract import Decision, Run
from ray_mlops.errors import DecisionError
from ray_mlops.platform import files

OVERRIDE = "override.json"


def require_model(decision: Decision, run: Run) -> None:
    """Return when the verdict is `use_ml`, or when the run overrides it, which is recorded in the stage's folder.

    Raises `DecisionError` with the reasons of the decision and the way round it.
    """
    if decision.verdict == "use_ml":
        return
    reasons = "; ".join(decision.reasons) or "no reasons were given"
    if not run.override.strip():
        raise DecisionError(
            f"the decision is {decision.verdict}, so no model is trained: {reasons}. "
            'To train nevertheless, say why: --override "reason"'
        )
    record = {"verdict": decision.verdict, "reasons": list(decision.reasons), "override": run.override}
    files.write_json(files.join(run.uri, OVERRIDE), record)
