# What a person runs, and CI too. `make` lists it. Works with GNU make 3.81 (macOS).
ENV := .venv/bin
# The stamp is as new as the lock file: nothing is installed twice.
READY := .venv/.zoco-ready
UV := $(shell sed -n 's/^uv==\([0-9.]*\).*/\1/p' requirements-uv.txt)

# What takes longest is seen without asking.
PYTEST := $(ENV)/pytest --durations=25 --durations-min=5

.PHONY: help up test test-faults check format i18n clean bench images deploy undeploy sbom digests test-k8s test-ha rabbitmq postgres chromium strace nginx pgbouncer

help: ## list these targets
	@grep -E '^[a-z0-9-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 14

# A database is installed for whoever wants one.
up: $(READY) rabbitmq $(if $(findstring --postgres,$(ARGS)),postgres) ## set up, then run all of Zoco here until Ctrl-C (ARGS="--port 0" for any free port)
	@exec $(ENV)/zoco up $(ARGS)

test: $(READY) rabbitmq postgres pgbouncer chromium go ## every test that needs no cluster and no quiet machine
	$(PYTEST) -n 3 --dist loadfile --no-loadscope-reorder $(ARGS)

test-faults: $(READY) rabbitmq postgres strace go nginx ## the long tests: every crash point, a disk and clocks that fail
	$(PYTEST) -m long $(ARGS)

test-k8s: $(READY) images ## the tests on the cluster that kubectl points at, in a namespace of their own
	$(PYTEST) tests/k8s --ignore-glob='tests/k8s/test_ha*' $(ARGS)

test-ha: export COMPONENTS := postgres postgres-ha rabbitmq-ha
test-ha: $(READY) images ## the same on three nodes that lose their power (NODE_POWER: the command that takes and gives it)
	$(PYTEST) tests/k8s/test_ha*.py -m "long or not long" $(ARGS)

check: $(READY) ## style and types
	$(ENV)/ruff check .
	$(ENV)/ruff format --check .
	$(ENV)/mypy
	@# These run on a cluster only: that they can be read at all is seen here.
	$(ENV)/pytest --collect-only --quiet --quiet tests/k8s

format: $(READY) ## make the style right
	$(ENV)/ruff check --fix .
	$(ENV)/ruff format .

i18n: $(READY) ## take the sentences from the code into ops/locale, compile it, and say which lack a translation
	$(ENV)/python scripts/catalogue.py

bench: $(READY) rabbitmq postgres ## measure Zoco beside the least that could do the same; writes docs/performance.md (ARGS="--long")
	$(ENV)/python -m uv sync --quiet --frozen --inexact --group bench
	@exec $(ENV)/zoco bench --write docs/performance.md $(ARGS)

images: ## build the services' images and load them into your kind, minikube or k3s (REGISTRY or IMAGE_BUILD: elsewhere)
	@scripts/images

deploy: images ## put Zoco into the cluster that kubectl points at, and wait (NAMESPACE, COMPONENTS, NODE_PORT)
	@scripts/deploy

undeploy: ## take Zoco out of the cluster; its books stay (VOLUMES=delete: they go, too)
	@scripts/deploy undeploy

sbom: $(READY) ## write dist/sbom-SERVICE.cdx.json: what is in each image (CycloneDX)
	$(ENV)/python scripts/sbom.py

digests: $(READY) ## ask the registry for the newest digests of the images of others, and write them down
	$(ENV)/python scripts/digests.py

clean: ## delete what was installed and built; what was bought in .zoco stays
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(READY): uv.lock pyproject.toml requirements-uv.txt
	@command -v python3 >/dev/null || { echo "Python 3.11 or newer is needed: install python3" >&2; exit 1; }
	@test -x $(ENV)/python || python3 -m venv .venv || \
	  { echo "python3 cannot make an environment: install python3-venv" >&2; exit 1; }
	@$(ENV)/python -m uv --version 2>/dev/null | grep -qF "uv $(UV) " || \
	  $(ENV)/python -m pip install --quiet --require-hashes --requirement requirements-uv.txt
	$(ENV)/python -m uv sync --quiet --frozen --inexact
	@touch $(READY)

rabbitmq:
	@scripts/rabbitmq

postgres:
	@scripts/postgres

chromium:
	@scripts/chromium

nginx:
	@scripts/nginx

pgbouncer:
	@scripts/pgbouncer

strace:
	@scripts/strace

go:
	@scripts/go
