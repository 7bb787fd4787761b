# Unit tests: test/unit/<room>/test_<module>.c, one program each, cmocka.

UNIT_C := $(wildcard test/unit/*/test_*.c)
# What the tests of one room share: test/unit/<room>/*.c without test_. Those of base are for all.
UNIT_HELPER_C := $(filter-out $(UNIT_C),$(wildcard test/unit/*/*.c))
unit_helpers = $(patsubst %.c,$(O)/obj/%.o,$(filter test/unit/base/% test/unit/$(1)/%,$(UNIT_HELPER_C)))
UNIT_BINS := $(UNIT_C:test/unit/%.c=$(O)/unit/%)

# A test of a program's part links that program's objects as well.
prog_of_agent := cocos-agent
prog_of_runner-service := cocos-runner
prog_of_log-forwarder := cocos-log-forwarder
prog_of_cli := cocos-cli
prog_of_cvms := cvms-test
prog_of_hal := cocos-init
prog_of_manager := cocos-manager

unit_lib = $(if $(prog_of_$(1)),$(O)/obj/lib$(prog_of_$(1)).a)

.SECONDEXPANSION:
$(O)/unit/%: $(O)/obj/test/unit/%.o $$(call unit_helpers,$$(firstword $$(subst /, ,$$*))) \
		$$(call unit_lib,$$(firstword $$(subst /, ,$$*))) $(LIB)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS) -lcmocka

.PHONY: unit unit-bins
unit-bins: $(UNIT_BINS) $(FUZZ_REPLAY_BINS) $(O)/e2e-self
unit: unit-bins
	@/usr/bin/python3 test/run.py unit --build $(O) $(RUN)

test-run: all unit-bins e2e-bins
	@/usr/bin/python3 test/run.py unit integration interop --build $(O) $(RUN)
