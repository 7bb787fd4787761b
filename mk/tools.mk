# Dependencies, checks, installation.

.PHONY: deps lint format tidy lint-headers compile-list install help

deps:
	@$(if $(filter no,$(DEPS)),:,sh ci/deps.sh)

# ------------------------------------------------------------------- lint
# Each header compiles on its own, whoever includes it first.

LINT_H := $(wildcard src/*/*.h test/cvms/*.h test/echo/*/*.h test/unit/*/*.h test/fuzz/*.h test/lib/*.h test/e2e/lib/*.h)

$(O)/lint/%.ok: % $(O)/flags | $(GEN_H)
	@mkdir -p $(@D)
	@$(CC) $(CFLAGS_ALL) $(WARN) -I$(O)/gen/proto -MMD -MP -MF $@.d -MT $@ -fsyntax-only -x c $<
	@touch $@

-include $(LINT_H:%=$(O)/lint/%.ok.d)

lint-headers: $(LINT_H:%=$(O)/lint/%.ok)

# What the build compiles, for the check that no source is forgotten.
COMPILED := $(ROOM_C) $(foreach p,$(PROGRAMS),$(wildcard $(dir_$(p))/*.c)) $(ECHO_C) $(UNIT_C) $(UNIT_HELPER_C) \
	$(FUZZ_C) $(FUZZ_REPLAY_C) $(BENCH_C) $(EXAMPLE_C) $(STORY_C) $(wildcard test/e2e/lib/*.c test/e2e/self/*.c)

compile-list:
	@mkdir -p $(O)/lint
	@echo $(COMPILED) | tr ' ' '\n' | sort -u > $(O)/lint/sources

lint: lint-headers compile-list
	@LINT_SOURCES=$(O)/lint/sources sh ci/lint.sh

format:
	@git ls-files --cached --others --exclude-standard '*.c' '*.h' | xargs -r -n 8 -P "$$(nproc)" clang-format -i

tidy: all $(ECHO_GEN).h
	@O='$(O)' TIDY_FLAGS='-std=c11 -D_GNU_SOURCE -DCOCOS_VERSION=\"0\" -Isrc -Itest -I$(O)/gen -I$(O)/gen/proto $(PKG_CFLAGS)' \
		TIDY_SOURCES='$(sort $(COMPILED))' sh ci/tidy.sh

# ---------------------------------------------------------------- install

# What a program says of itself is its manual, and the completion of its shell.

PREFIX := /usr/local
SYSCONFDIR := /etc
# cocos-init is process 1 of a guest and of no use elsewhere.
INSTALLED := $(filter-out $(O)/cocos-init,$(filter $(O)/cocos-% $(O)/cvms-test,$(BINS)))
DAEMONS := $(filter-out cocos-cli cvms-test,$(notdir $(INSTALLED)))
SHARE := $(DESTDIR)$(PREFIX)/share
# With `make guest` before it, the guest is installed as well.
GUEST_FILES := $(wildcard $(O)/guest/vmlinu? $(O)/guest/initrd-*.cpio)
fill_in = sed 's|@PREFIX@|$(PREFIX)|g; s|@SYSCONFDIR@|$(SYSCONFDIR)|g'

install: all
	install -d '$(DESTDIR)$(PREFIX)/bin' '$(SHARE)/doc/cocos-c' '$(SHARE)/bash-completion/completions' \
		'$(SHARE)/man/man1' '$(SHARE)/man/man8' '$(DESTDIR)$(PREFIX)/lib/systemd/system' \
		'$(DESTDIR)$(PREFIX)/lib/sysusers.d' '$(DESTDIR)$(SYSCONFDIR)/cocos'
	install -m 755 $(INSTALLED) '$(DESTDIR)$(PREFIX)/bin'
	install -m 644 README.md LICENSE $(wildcard docs/*.md) '$(SHARE)/doc/cocos-c'
	for p in $(notdir $(INSTALLED)); do \
		$(O)/$$p --help > '$(SHARE)/doc/cocos-c/'$$p.txt || exit; \
	done
	$(O)/cocos-cli completion bash > '$(SHARE)/bash-completion/completions/cocos-cli'
	for p in $(DAEMONS); do sh man/page.sh 8 $(O)/$$p > '$(SHARE)/man/man8/'$$p.8 || exit; done
	for p in cocos-cli cvms-test; do sh man/page.sh 1 $(O)/$$p > '$(SHARE)/man/man1/'$$p.1 || exit; done
	for c in $$($(O)/cocos-cli --help | sed -n '/^Commands:/,/^$$/s/^  \([a-z-]*\) .*/\1/p'); do \
		sh man/page.sh 1 $(O)/cocos-cli $$c > '$(SHARE)/man/man1/cocos-cli-'$$c.1 || exit; \
	done
	$(fill_in) init/cocos-manager.service > '$(DESTDIR)$(PREFIX)/lib/systemd/system/cocos-manager.service'
	install -m 644 init/cocos-manager.sysusers '$(DESTDIR)$(PREFIX)/lib/sysusers.d/cocos-manager.conf'
	$(fill_in) init/cocos-manager.env > '$(SHARE)/doc/cocos-c/cocos-manager.env'
	@# What somebody has set stays. There may be keys in it.
	[ -e '$(DESTDIR)$(SYSCONFDIR)/cocos/cocos-manager.env' ] || \
		install -m 600 '$(SHARE)/doc/cocos-c/cocos-manager.env' '$(DESTDIR)$(SYSCONFDIR)/cocos/cocos-manager.env'
	$(if $(GUEST_FILES),install -d '$(SHARE)/cocos-c/guest' && install -m 644 $(GUEST_FILES) '$(SHARE)/cocos-c/guest')

help:
	@echo 'make             build the programs into build/'
	@echo 'make demo        the main job in a VM: an algorithm meets a dataset; MODE=host without one'
	@echo 'make test        everything: unit, fuzz corpus, integration and interop tests'
	@echo 'make guest       the kernel and the initramfs of VMs, into build/guest/; make repro builds them twice'
	@echo 'make e2e         computations in VMs; STORY=direct-upload one of them, REPEAT=20 again and again'
	@echo 'make e2e-snp     the stories in SEV-SNP VMs, or why not; e2e-tdx in TDX ones; REQUIRE_HW=1'
	@echo 'make unit        unit tests and fuzz corpus only'
	@echo 'make lint        layers, banned calls, look of the code; make format mends the look'
	@echo 'make tidy        clang-tidy and cppcheck'
	@echo 'make fuzz        fuzz every parser, SECONDS=60 each'
	@echo 'make bench       measure throughput, latency, memory and sizes'
	@echo 'make deps        install the Debian packages of ci/packages.txt that are missing'
	@echo 'make install     into DESTDIR and PREFIX=/usr/local'
	@echo 'make clean       remove build/'
	@echo
	@echo 'DEBUG=1          without optimisation, in build/debug/'
	@echo 'SAN=address,undefined | thread    with sanitizers, in build/san-.../'
	@echo 'CC=clang O=build/clang            with another compiler, elsewhere'
	@echo 'test/run.py --help                run some tests only'
