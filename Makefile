# What a person runs, and CI too. `make` lists it. Works with GNU make 3.81 (macOS).
ENV := .venv/bin
# The stamp is as new as the lock file: nothing is installed twice.
READY := .venv/.zoco-ready
UV := $(shell sed -n 's/^uv==\([0-9.]*\).*/\1/p' requirements-uv.txt)

.PHONY: help up test test-faults check format i18n clean bench images deploy undeploy sbom digests test-k8s rabbitmq chromium strace nginx

help: ## list these targets
	@grep -E '^[a-z0-9-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 14

up: $(READY) rabbitmq ## set up, then run all of Zoco here until Ctrl-C (ARGS="--port 0" for any free port)
	@exec $(ENV)/zoco up $(ARGS)

test: $(READY) rabbitmq chromium go ## every test that needs no cluster and no quiet machine
	$(ENV)/pytest --ignore=tests/k8s --ignore=tests/bench -n 3 --dist loadfile $(ARGS)

test-faults: $(READY) rabbitmq strace go nginx ## the long tests: every crash point, a disk and clocks that fail
	$(ENV)/pytest -m long --ignore=tests/k8s $(ARGS)

test-k8s: $(READY) images ## the tests on the cluster that kubectl points at, in a namespace of their own
	$(ENV)/pytest tests/k8s $(ARGS)

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

bench: $(READY) rabbitmq ## measure Zoco beside the least that could do the same; writes docs/performance.md (ARGS="--long")
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

chromium:
	@scripts/chromium

nginx:
	@scripts/nginx

strace:
	@scripts/strace

go:
	@scripts/go
