"""The loop that closes: look at what an endpoint answers, say why there is an alarm, and do what is allowed about it.

A look is the monitor stage on the endpoint of a recipe. What is done is what people do by hand, by the same functions: the
recipe runs until a challenger is registered, which comes beside the champion and is promoted or rejected by its rollout; or
the version before is brought back. All state is in the run root: whoever comes after a watch that was killed goes on with it.
"""

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

from ray_mlops import commands, console, crontab, recipes, rollout_commands
from ray_mlops.contract import Endpoint, ModelVersion, Verdict
from ray_mlops.errors import ConfigError, DecisionError, EndpointError, GateError
from ray_mlops.monitoring.attempts import Attempt, Attempts, Ongoing, cooled_down
from ray_mlops.monitoring.cause_files import CauseFiles
from ray_mlops.monitoring.causes import CauseReport
from ray_mlops.monitoring.history import History
from ray_mlops.monitoring.proposals import moment
from ray_mlops.platform import processes, registry, runtime, store
from ray_mlops.platform.cluster_guard import ClusterGuard
from ray_mlops.serving.rollouts import replicas
from ray_mlops.serving.rollouts.records import Records
from ray_mlops.stages import deploy as deploy_stage
from ray_mlops.stages import monitor
from ray_mlops.watch_config import Act

BY = "watch"
_ALLOWED_BY: dict[str, Act] = {"retrain": "retrain", "roll back": "rollback"}


def run(
    recipe: str, root: str, assignments: Sequence[str], *, once: bool = False, override: str = "", verbose: bool = False
) -> int:
    """Look again and again, or `once`; the exit code of a single look is 1 where it, or what it did, failed."""
    watch = Watch(recipe, root, assignments, override=override, verbose=verbose, apart=not once)
    while True:
        began = time.monotonic()
        fine = watch.look()
        if once:
            return 0 if fine else 1
        time.sleep(max(0.0, watch.settings.every_s - (time.monotonic() - began)))


class Watch:
    """Watches the endpoint of a recipe; `override` is the reason for training against the decision, as in a run. What is done is
    done in a process of its own where it is to be kept `apart`: the one that looks has no connection to Ray that could break."""

    def __init__(
        self,
        recipe: str,
        root: str,
        assignments: Sequence[str],
        *,
        override: str = "",
        verbose: bool = False,
        apart: bool = False,
    ) -> None:
        config, name = recipes.load(recipe, assignments)
        self.settings, self._config = config.watch, config
        self._recipe, self._assignments, self._override, self._verbose = recipe, assignments, override, verbose
        run = commands.administration(root)
        if self.settings.act and config.tracking_uri not in ("", run.tracking_uri):
            raise ConfigError(
                "a watch that acts finds the registry where all commands do: set MLFLOW_TRACKING_URI to the recipe's "
                f"tracking_uri, {config.tracking_uri}"
            )
        self._run = replace(run, id=BY, recipe=name, tracking_uri=config.tracking_uri or run.tracking_uri)
        self._name = config.deploy.name or config.register.name
        self._apart, self._told, self._cluster = apart, "", ""

    def look(self) -> bool:
        """Judge what has come since, tell it, and do what is allowed; False where that failed. The loop goes on all the same."""
        try:
            if self.settings.act:
                self._there()
            endpoint = deploy_stage.live_endpoint(self._run.root, self._name)
            if endpoint is None:
                self._say("the endpoint does not answer. Another model would not mend that: nothing is done")
                return False
            return self._act(endpoint, self._judged(endpoint))
        except Exception as error:  # noqa: BLE001 - the next look may go well
            console.complain(f"watch of {self._name}: this look failed: {_words(error)}")
            return False

    def _judged(self, endpoint: Endpoint) -> CauseReport | None:
        """Run the monitor stage and tell the verdict; the report of the alarms that there are."""
        version = replicas.answering(self._run.root, endpoint, self._registry().versions(self._config.register.name))
        step = store.Step(
            "monitor",
            monitor.run,
            self._config.monitor,
            {"endpoint": endpoint, "version": version},
            identity=BY,  # the same place at every look: a watch looks often
        )
        verdict = store.once(step, self._run, again=True).artifact  # windows also end when nobody asks any more
        assert isinstance(verdict, Verdict)
        last = History(endpoint.monitoring, endpoint.digest).judged(last=1)
        report = CauseFiles(endpoint.monitoring, endpoint.digest).open(last)
        self._say(
            f"version {endpoint.version}: {verdict.status}, {verdict.requests:,} requests, "
            f"{last[0].number if last else 0} window(s) judged"
        )
        if report and report.id != self._told:
            print(*report.lines(), sep="\n", flush=True)
            self._told = report.id
        return report

    def _act(self, endpoint: Endpoint, report: CauseReport | None) -> bool:
        attempts = Attempts(endpoint.monitoring)
        if left := next(iter(attempts.unfinished()), None):
            return self._go_on(attempts, left, endpoint)
        if report is None or report.action == "keep" or attempts.last(report.id):
            return True
        if not endpoint.capture:
            self._say(
                f"{report.action} is proposed: export the version that shall answer, an exported endpoint has no rollouts"
            )
            return True
        allowed = _ALLOWED_BY[report.action]
        if allowed not in self.settings.act:
            self._say(f"{report.action} is proposed and not allowed: --act {allowed} allows it")
            return True
        wait_s = cooled_down(attempts.all(), report.action, self.settings.cooldown_s) if allowed == "retrain" else 0.0
        if wait_s:
            self._say(f"{report.action} is proposed; not before {moment(time.time() + wait_s)}, after the last one")
            return True
        if (under_way := (rollouts := Records(self._run.root, self._name)).running()) and rollouts.alive(under_way):
            self._say(f"{report.action} is proposed; the rollout {under_way.id} is under way, its end is waited for")
            return True
        return self._attempt(attempts, report)

    def _go_on(self, attempts: Attempts, left: Attempt, endpoint: Endpoint) -> bool:
        """Take up what was cut off, or give it up."""
        if attempts.alive(left):
            self._say(f"{left.action} is under way on {left.host} (process {left.pid})")
            return True
        reports = CauseFiles(endpoint.monitoring, left.digest).all()
        report = next((one for one in reports if one.id == left.report), None)
        why = f"it was cut off {left.number} times" if left.number >= self.settings.attempts else ""
        if _ALLOWED_BY[left.action] not in self.settings.act:
            why = f"it was cut off, and {left.action} is not allowed any more"
        if report is None or why:
            with Ongoing(attempts, left) as ongoing:
                ongoing.end("given up", why or f"the cause report {left.report} is gone")
            self._say(f"{left.action} is given up: {ongoing.attempt.reason}")
            return True
        self._say(f"{left.action} was cut off and goes on")
        return self._attempt(attempts, report)

    def _attempt(self, attempts: Attempts, report: CauseReport) -> bool:
        if not self._there():
            self._say(f"{report.action} waits until the Ray cluster at {os.environ['RAY_ADDRESS']} answers")
            return True
        if self._apart:
            return self._look_apart()
        attempt = attempts.begin(report, BY)
        if attempt is None:
            return True  # another watch was faster
        act = self._retrain if report.action == "retrain" else self._roll_back
        with Ongoing(attempts, attempt) as ongoing, ClusterGuard(partial(self._cut_off, ongoing)) as guard:
            try:
                act(ongoing, report)
            except Exception as error:  # noqa: BLE001 - a training that fails ends no watch
                if (lost := guard.why()) and not isinstance(error, (DecisionError, GateError)):
                    ongoing.note("interrupted", status="interrupted", reason=f"{lost}: {_words(error)}")
                    self._say(f"{report.action} is cut off: {lost}")
                else:
                    ongoing.end("failed", _words(error))
                    console.complain(f"watch of {self._name}: {report.action} failed: {_words(error)}")
                return False
            except BaseException as error:
                ongoing.note("interrupted", status="interrupted", reason=f"the watch was stopped: {_words(error)}")
                raise
        self._say(f"{report.action}: {ongoing.attempt.status}. {ongoing.attempt.reason}")
        return True

    def _there(self) -> bool:
        """Whether the cluster can be worked on; a local one is started where there is none. Tells when it is another one."""
        found = runtime.identity()
        if found and self._cluster not in ("", found):
            self._say("another Ray cluster has taken the place of the one before: it is worked on from now on")
        self._cluster = found or self._cluster
        return bool(found) or not os.environ.get("RAY_ADDRESS")

    def _look_apart(self) -> bool:
        """Have another process look once, and do what is to be done; it dies with this one."""
        words = crontab.looking(
            self._recipe, self._run.root, self._assignments, override=self._override, verbose=self._verbose
        )
        code = processes.call_bound("from ray_mlops import cli; cli.entry()", words)
        if code < 0:
            self._say(f"the process that acted was ended by signal {-code}: the next look goes on with it")
        return code == 0

    def _cut_off(self, ongoing: Ongoing, why: str) -> None:
        """End this process, whose driver of Ray waits for a cluster that is not there any more."""
        try:
            ongoing.note("interrupted", status="interrupted", reason=why)
            self._say(f"{ongoing.attempt.action} is cut off: {why}")
        finally:  # also where the root is cut off with the cluster: without a beat the next look takes it up
            os._exit(1)

    def _retrain(self, ongoing: Ongoing, report: CauseReport) -> None:
        running = replicas.known(self._run.root, self._name).version
        why = _why(report)
        if running.digest != report.digest:
            self._elsewhere(ongoing, running, why)
            return
        made = self._trained(ongoing)
        if self._judged_already(ongoing, made, why):
            return
        last = self._registry().version(made.name, made.version).changes[-1].action
        if made.digest == running.digest or last in ("rejected", "rolled_back"):
            ongoing.end("nothing new", f"the sources give version {made.version} again, which was {last} before")
            return
        ongoing.note("a canary begins")
        named = [f"name={self._name}"] if self._config.deploy.name else []
        model, plan = f"{made.name}/{made.version}", self.settings.rollout
        try:
            rollout_commands.deploy(self._run.root, model, named, plan=plan, why=why, verbose=self._verbose)
        except EndpointError:
            if self._judged_already(ongoing, made, why):
                return
            raise
        self._judged_already(ongoing, made, why)

    def _trained(self, ongoing: Ongoing) -> ModelVersion:
        """The challenger: that which the last attempt has registered, or one that is made of what the sources hold now."""
        if ongoing.attempt.made:
            return self._registry().version(self._config.register.name, ongoing.attempt.made).artifact()
        ongoing.note("the recipe runs until a model is registered")
        records = commands.lifecycle(
            self._recipe,
            self._run.root,
            [*self._assignments, "register.promote=never"],  # that is for the rollout to say
            span=("ingest", "register"),
            override=self._override,
            verbose=self._verbose,
        )
        made = next(record.artifact for record in records if isinstance(record.artifact, ModelVersion))
        ongoing.note(f"version {made.version} is registered", made=made.version, made_digest=made.digest)
        return made

    def _judged_already(self, ongoing: Ongoing, made: ModelVersion, why: str) -> bool:
        """Whether a rollout for this report has said what becomes of the challenger; then it does."""
        rollouts = Records(self._run.root, self._name).all()
        last = next((one for one in rollouts if (one.why, one.challenger.digest) == (why, made.digest)), None)
        if last is None or last.status not in ("promoted", "rolled_back"):
            return False
        if last.status == "promoted":
            ongoing.end("promoted", f"version {made.version} is the champion by rollout {last.id}: {last.reason}")
        else:
            self._registry().reject(made.name, made.version, f"{why}: rollout {last.id}: {last.reason}")
            ongoing.end("rejected", f"version {made.version}, by rollout {last.id}: {last.reason}")
        return True

    def _roll_back(self, ongoing: Ongoing, report: CauseReport) -> None:
        running = replicas.known(self._run.root, self._name).version
        if running.digest != report.digest:
            self._elsewhere(ongoing, running, _why(report))
            return
        rollout_commands.rollback(self._run.root, self._name, f"{_why(report)}: {report.reasons[0]}")
        now = replicas.known(self._run.root, self._name).version
        ongoing.end("rolled back", f"version {now.version} answers again in place of {running.version}")

    def _elsewhere(self, ongoing: Ongoing, running: ModelVersion, why: str) -> None:
        """The endpoint has another version than the report is about: that which an earlier attempt brought, or somebody else."""
        attempt, known = ongoing.attempt, self._registry()
        brought = attempt.made_digest == running.digest if attempt.action == "retrain" else attempt.number > 1
        if not brought:
            ongoing.end("given up", f"version {running.version} answers meanwhile, which the alarm is not about")
            return
        champion = known.champion(running.name)
        if champion is None or champion.digest != running.digest:
            known.promote(running.name, running.version, f"{why}: it answers since an attempt that was cut off")
        ended = "promoted" if attempt.action == "retrain" else "rolled back"
        ongoing.end(ended, f"version {running.version} answers since an attempt that was cut off")

    def _registry(self) -> registry.Registry:
        return registry.open_registry(self._run)

    def _say(self, text: str) -> None:
        print(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}  {self._name}  {text}", flush=True)


def _why(report: CauseReport) -> str:
    return f"{BY}, cause report {report.id}"


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
