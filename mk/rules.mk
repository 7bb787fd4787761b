# Compiling and linking.

# Other flags or another compiler make everything anew.
FLAGS_NOW := $(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) $(LIBS)
$(O)/flags: FORCE
	@mkdir -p $(@D)
	@printf '%s\n' '$(subst ','\'',$(FLAGS_NOW))' | cmp -s - $@ || printf '%s\n' '$(subst ','\'',$(FLAGS_NOW))' > $@
.PHONY: FORCE
FORCE:

room_c = $(wildcard src/$(1)/*.c)
ROOM_C := $(foreach r,$(ROOMS),$(call room_c,$(r)))
ROOM_O := $(ROOM_C:%.c=$(O)/obj/%.o)
LIB := $(O)/obj/libcocos.a

$(LIB): $(ROOM_O) $(GEN_O) $(O)/gen/descriptors.o
	@rm -f $@
	@ar rcs $@ $^

# Headers that are made must be there before anything is compiled.
$(O)/obj/%.o: %.c $(O)/flags | $(GEN_H)
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(CFLAGS_ALL) $(WARN) -I$(O)/gen/proto -MMD -MP -c -o $@ $<

# A program's own objects, without its main, so that tests can link them.
define program_rules
OBJS_$(1) := $$(patsubst %.c,$(O)/obj/%.o,$$(filter-out %/main.c,$$(wildcard $(dir_$(1))/*.c)))
$(O)/obj/lib$(1).a: $$(OBJS_$(1))
	@rm -f $$@
	@ar rcs $$@ $$^
$(O)/$(1): $(O)/obj/$(dir_$(1))/main.o $(O)/obj/lib$(1).a $(LIB)
	$$(call say,LINK,$$@)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $$@ $(O)/obj/$(dir_$(1))/main.o $(O)/obj/lib$(1).a $(LIB) $(LIBS)
endef
$(foreach p,$(PROGRAMS),$(eval $(call program_rules,$(p))))

-include $(shell find $(O)/obj -name '*.d' 2>/dev/null)

.PHONY: clean
clean:
	rm -rf build
