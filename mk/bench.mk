# Measurements: test/bench/bench.py drives the real programs. QUICK=1 is small.

BENCH_C := $(wildcard test/bench/*.c)
BENCH_BINS := $(BENCH_C:test/bench/%.c=$(O)/bench/%)

$(O)/bench/%: $(O)/obj/test/bench/%.o $(LIB)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS)

.PHONY: bench bench-bins
bench-bins: $(BENCH_BINS)
bench: deps
	@$(MAKE) --no-print-directory $(jobs) all bench-bins
	@/usr/bin/python3 test/bench/bench.py --build $(O) $(if $(QUICK),--quick)
