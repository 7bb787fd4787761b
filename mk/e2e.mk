# Stories in virtual machines.
# make guest                      kernel and both initramfs, kept while nothing changed
# make e2e                        all stories; STORY=direct-upload one of them
# make e2e STORY=x REPEAT=20      again and again, until it fails; phases in build/e2e/repeat.json
# make e2e SAN=address,undefined  programs of the host with sanitizers; the guest is that of build/
# make e2e-snp, make e2e-tdx       the same in confidential VMs, or why not; REQUIRE_HW=1: not is a failure
# make repro                      two builds of the guest must be the same bytes

STORY_C := $(wildcard test/e2e/*.c)
STORY_BINS := $(STORY_C:test/e2e/%.c=$(O)/e2e-bin/%)
E2E_LIB_O := $(patsubst %.c,$(O)/obj/%.o,$(wildcard test/e2e/lib/*.c))

$(O)/e2e-bin/%: $(O)/obj/test/e2e/%.o $(E2E_LIB_O) $(LIB)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS)

# Stories that must fail, for the test of the harness: test/unit/tools/test_e2e.py.
$(O)/e2e-self: $(O)/obj/test/e2e/self/self.o $(E2E_LIB_O) $(LIB)
	$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS)

# A guest needs no sanitizers: they would be in its image.
GUEST_O := $(if $(SAN),build,$(O))

.PHONY: guest e2e e2e-snp e2e-tdx e2e-run e2e-bins repro
guest: all
	$(if $(SAN),@$(MAKE) --no-print-directory SAN= guest,@for f in minimal python; do \
		sh src/hal/guest.sh $(O) $$f $(O)/guest || exit 1; done)

e2e-bins: $(STORY_BINS)

e2e: deps
	@$(MAKE) --no-print-directory -s $(jobs) e2e-run

e2e-run: guest e2e-bins
	@/usr/bin/python3 test/e2e/run.py --build $(O) --guest-build $(GUEST_O) \
		$(if $(STORY),--story '$(STORY)') $(if $(REPEAT),--repeat '$(REPEAT)')

e2e-snp e2e-tdx: deps
	@$(MAKE) --no-print-directory -s $(jobs) all
	@/usr/bin/python3 test/e2e/hardware.py $(@:e2e-%=%) --build $(O) -- \
		$(MAKE) --no-print-directory -s $(jobs) e2e-run

repro: all
	@sh ci/repro.sh $(O)
