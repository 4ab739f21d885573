# Targets of the deployment: image, docker-compose.yml, k8s/. Included by the Makefile.

.PHONY: test-deploy test-manifests test-engine test-router bench-router manifests

.make/tools/ok: deploy/tools.txt | .make/venv
	@echo "installing kubectl, docker-compose and the checkers of manifests …"
	@rm -rf .make/tools && $(PYTHON) -m venv --without-pip .make/tools
	@$(PIP) --python .make/tools/bin/python install --no-compile --quiet -r deploy/tools.txt
	@touch $@

test-deploy: export HUD_ROUTER_S = 330
test-deploy: test-manifests test-engine test-router ## The image, compose with a real engine, the manifests, the router

test-manifests: .make/dev .make/tools/ok system ## Seconds: every overlay validated, scanned and cross-checked; hud doctor
	$(PYTEST) tests/deploy --ignore=tests/deploy/engine --ignore=tests/deploy/router

test-engine: .make/dev .make/tools/ok system ## Needs root: a Docker engine of its own in namespaces of its own
	@tests/deploy/prepare-engine.sh .make/deploy
	@unshare --net --mount --pid --fork --mount-proc --kill-child sh -c \
	  'ip link set lo up && exec $(PYTEST) tests/deploy/engine'

test-router: .make/dev system ## haproxy as OpenShift's router before three replicas
	$(PYTEST) tests/deploy/router

bench-router: .make/dev system ## What haproxy as OpenShift's router adds to the way of a metric
	$(BIN)/python bench/router.py --write

manifests: .make/tools/ok ## Render k8s/hud-deployment.yaml from its overlay
	.make/tools/bin/kubectl kustomize k8s/overlays/openshift >k8s/hud-deployment.yaml
