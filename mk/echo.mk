# The two programs interop tests use: a server and a client of test/echo/echo.proto.

ECHO_GEN := $(O)/gen/test/echo.pb-c
ECHO_C := $(wildcard test/echo/*/*.c)
ECHO_BINS := $(O)/rpc-echo-server $(O)/rpc-echo-client

$(ECHO_GEN).c $(ECHO_GEN).h &: test/echo/echo.proto
	@mkdir -p $(@D)
	protoc-c -Itest/echo --c_out=$(O)/gen/test $<

echo_objs = $(patsubst %.c,$(O)/obj/%.o,$(wildcard test/echo/$(1)/*.c))

$(call echo_objs,server) $(call echo_objs,client): | $(ECHO_GEN).h

.SECONDEXPANSION:
$(O)/rpc-echo-%: $$(call echo_objs,$$*) $(ECHO_GEN).o $(LIB)
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS)

all: $(ECHO_BINS)
