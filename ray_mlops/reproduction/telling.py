"""What the terminal says of a verification: a line a stage as it ends, and a last word."""

from collections.abc import Sequence

from ray_mlops.reproduction.verification import Finding, first_difference, verdict


def tell(finding: Finding) -> None:
    """Print what came of a stage, with what differs and which of its inputs are not what they were."""
    print(f"{finding.stage:<9} {finding.comparison.verdict}", flush=True)
    for reason in finding.comparison.reasons:
        print(f"          {reason}")
    for name in finding.inputs:
        print(f"          changed since: {name}", flush=True)


def conclude(findings: Sequence[Finding]) -> None:
    """Print the verdict on the whole, and where it begins to differ."""
    print(f"\n{len(findings)} stages: {verdict(findings)}")
    first = first_difference(findings)
    if first is None:
        return
    why = f"changed since the run: {'; '.join(first.inputs)}" if first.inputs else "none of its inputs has changed"
    print(f"first to differ: {first.stage}; {why}")
