# cocos-c. `make demo` shows the main job, `make test` checks everything; both
# install what they need first. `make help` lists the rest.

# ---------------------------------------------------------------- what to build
# make                      optimised, in build/
# make DEBUG=1              -O0, in build/debug/
# make SAN=address,undefined   (or thread) in build/san-address-undefined/
comma := ,
ifneq ($(SAN),)
O := build/san-$(subst $(comma),-,$(SAN))
else ifneq ($(DEBUG),)
O := build/debug
else
O := build
endif

# V=1 shows whole commands, make -s nothing but complaints.
Q := $(if $(V),,@)
say = @$(if $(V)$(findstring s,$(firstword -$(MAKEFLAGS))),:,echo '  $(1)  $(2)')

# A make that was not told how many jobs to run starts its children with all.
jobs = $(if $(filter -j%,$(MAKEFLAGS)),,-j$(shell nproc))

ifeq ($(origin CC),default)
CC := gcc
endif
VERSION := 0.1.0

PKGS := libnghttp2 libprotobuf-c libuv openssl jansson zlib libmicrohttpd tss2-esys
PKG_CFLAGS := $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
PKG_LIBS := $(shell pkg-config --libs $(PKGS) 2>/dev/null)

WARN := -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wvla -Wformat=2 -Wstrict-prototypes \
	-Wmissing-prototypes -Wundef -Werror
CFLAGS_OPT := $(if $(DEBUG),-O0,$(if $(SAN),-O1,-O2 -D_FORTIFY_SOURCE=2))
CFLAGS_SAN := $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer $(if $(findstring undefined,$(SAN)),-fno-sanitize-recover=undefined))
CFLAGS_ALL := -std=c11 -ffile-prefix-map=$(CURDIR)=. -D_GNU_SOURCE -DCOCOS_VERSION='"$(VERSION)"' -g $(CFLAGS_OPT) $(CFLAGS_SAN) \
	-fstack-protector-strong -fPIE -ffunction-sections -fdata-sections -Isrc -Itest -I$(O)/gen $(PKG_CFLAGS) $(CFLAGS)
LDFLAGS_ALL := $(CFLAGS_SAN) -pie -Wl,--gc-sections -Wl,--as-needed -Wl,-z,relro,-z,now $(LDFLAGS)
LIBS := $(PKG_LIBS) -lpthread

# Rooms go into one archive; each program is its own folder plus that archive.
ROOMS := base proto tls rpc journal manifest evidence runner host
PROGRAMS := cocos-agent cocos-runner cocos-log-forwarder cocos-cli cvms-test cocos-manager cocos-init
dir_cocos-agent := src/agent
dir_cocos-runner := src/runner-service
dir_cocos-log-forwarder := src/log-forwarder
dir_cocos-cli := src/cli
dir_cvms-test := test/cvms
dir_cocos-init := src/hal
dir_cocos-manager := src/manager

BINS := $(foreach p,$(PROGRAMS),$(if $(wildcard $(dir_$(p))/main.c),$(O)/$(p)))

.PHONY: all
all: $(BINS) $(O)/obj/libcocos.a

# Both install what is missing first; only then can the rest of the build be seen.
.PHONY: test test-run
test: deps
	@$(MAKE) --no-print-directory $(jobs) test-run
	@$(MAKE) --no-print-directory -s $(jobs) e2e-run

include mk/proto.mk
include mk/rules.mk
include mk/fuzz.mk
include mk/echo.mk
include mk/test.mk
include mk/e2e.mk
-include mk/demo.mk
-include mk/bench.mk
include mk/tools.mk
