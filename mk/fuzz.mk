# Fuzz targets: test/fuzz/fuzz_<format>.c, seeds in test/fuzz/corpus/<format>/.
# `make unit` replays the seeds as plain tests; `make fuzz` looks for new ones.

FUZZ_C := $(wildcard test/fuzz/fuzz_*.c)
FUZZ_REPLAY_C := $(wildcard test/fuzz/replay.c)
FUZZ_REPLAY_BINS := $(if $(FUZZ_REPLAY_C),$(FUZZ_C:test/fuzz/%.c=$(O)/fuzz-replay/%))

# A target links whatever part of a program it names; archives give only that.
PROGRAM_LIBS := $(foreach p,$(PROGRAMS),$(if $(wildcard $(dir_$(p))/*.c),$(O)/obj/lib$(p).a))

$(O)/fuzz-replay/%: $(O)/obj/test/fuzz/%.o $(O)/obj/test/fuzz/replay.o $(PROGRAM_LIBS) $(LIB)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS)

# The same targets under libFuzzer, built by clang into build/fuzz.
FUZZ_BINS := $(FUZZ_C:test/fuzz/%.c=$(O)/fuzz-bin/%)

$(O)/fuzz-bin/%: $(O)/obj/test/fuzz/%.o $(PROGRAM_LIBS) $(LIB)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS_ALL) -fsanitize=fuzzer -o $@ $^ $(LIBS)

SECONDS := 60

.PHONY: fuzz fuzz-bins
fuzz-bins: $(FUZZ_BINS)
fuzz:
	@$(MAKE) --no-print-directory $(jobs) CC=clang O=build/fuzz SAN=fuzzer-no-link,address,undefined fuzz-bins
	@/usr/bin/python3 test/fuzz/run.py --seconds $(SECONDS) $(FUZZ)
