# The main job on a screen, and the algorithms it uses.
# make demo                        a regression in C on a real dataset
# make demo KIND=python            the same as a Python script
# make demo EXAMPLE=two-providers  two datasets of two owners, one result
# make demo MODE=host              the short way, without a virtual machine

EXAMPLE_C := $(wildcard examples/*/*.c)
EXAMPLE_BINS := $(EXAMPLE_C:examples/%.c=$(O)/examples/%)

EXAMPLE ?= linreg
KIND ?= bin
MODE ?= vm

# An example knows nothing of this project, so none of its flags but the strict ones.
$(O)/examples/%: examples/%.c $(O)/flags
	@mkdir -p $(@D)
	$(CC) -std=c11 -D_GNU_SOURCE -O2 $(WARN) -o $@ $< -lm

.PHONY: examples demo demo-run
examples: $(EXAMPLE_BINS)
all: examples

# As for test: first what is missing is installed, then the build sees it.
demo: deps
	@$(if $(wildcard $(O)/cocos-agent),,echo 'Building into $(O)/, a minute or two the first time ...')
	@$(MAKE) --no-print-directory -s $(jobs) demo-run

# A guest that can't be built is for the demo to tell of: it then goes the short way.
demo-run: all
	@$(if $(filter vm,$(MODE)),sh src/hal/guest.sh '$(O)' $(if $(filter python,$(KIND)),python,minimal) '$(O)/guest' || :)
	@BUILD='$(O)' EXAMPLE='$(EXAMPLE)' KIND='$(KIND)' MODE='$(MODE)' bash examples/demo.sh
