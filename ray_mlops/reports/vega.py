"""The chart library as one script, so that a page draws its charts without a network."""

import os
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

from ray_mlops.platform.runtime import home


@lru_cache(maxsize=1)
def library() -> str:
    """Vega, Vega-Lite and vega-embed (about 0.9 MB), safe to stand inside a script element.

    Bundling takes two seconds, so the result is kept for the next process where the home folder can be written.
    """
    import vl_convert

    kept = home() / "cache" / f"vega-{version('vl-convert-python')}.js"
    try:
        return kept.read_text(encoding="utf-8")
    except OSError:
        script = (
            vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
            .replace("</script", "<\\/script")
            .replace("<!--", "<\\!--")
        )
        _keep(kept, script)
        return script


def _keep(path: Path, text: str) -> None:
    """Write for the next process; a cache folder that cannot be written only costs time."""
    part = path.with_suffix(f".{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError:
        return
