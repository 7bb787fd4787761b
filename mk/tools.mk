# Lint, dependencies, installation.

.PHONY: deps lint
deps:
	@sh ci/deps.sh

lint:
	@sh ci/lint.sh
