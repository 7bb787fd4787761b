# Unit tests: test/unit/<room>/test_<module>.c, one program each, cmocka.

UNIT_C := $(wildcard test/unit/*/test_*.c)
UNIT_BINS := $(UNIT_C:test/unit/%.c=$(O)/unit/%)

# A test of a program's part links that program's objects as well.
prog_of_agent := cocos-agent
prog_of_runner-service := cocos-runner
prog_of_log-forwarder := cocos-log-forwarder
prog_of_cli := cocos-cli
prog_of_cvms := cvms-test

unit_lib = $(if $(prog_of_$(1)),$(O)/obj/lib$(prog_of_$(1)).a)

.SECONDEXPANSION:
$(O)/unit/%: $(O)/obj/test/unit/%.o $$(call unit_lib,$$(firstword $$(subst /, ,$$*))) $(LIB)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS) -lcmocka

.PHONY: unit unit-bins
unit-bins: $(UNIT_BINS)
unit: $(UNIT_BINS)
	@/usr/bin/python3 test/run.py unit --build $(O)
