# Generated code: only in $(O)/gen, made from src/proto.

PROTOS := $(wildcard src/proto/*.proto)
WELL_KNOWN := google/protobuf/timestamp google/protobuf/empty google/protobuf/descriptor
PROTO_INCLUDE := /usr/include

.SECONDARY:

GEN_C := $(PROTOS:src/%.proto=$(O)/gen/%.pb-c.c) $(WELL_KNOWN:%=$(O)/gen/%.pb-c.c)
GEN_H := $(GEN_C:.c=.h)
GEN_O := $(GEN_C:.c=.o)

$(O)/gen/proto/%.pb-c.c $(O)/gen/proto/%.pb-c.h &: src/proto/%.proto
	@mkdir -p $(@D)
	$(Q)protoc-c -Isrc/proto -I$(PROTO_INCLUDE) --c_out=$(O)/gen/proto $<

$(O)/gen/google/%.pb-c.c $(O)/gen/google/%.pb-c.h &: $(PROTO_INCLUDE)/google/%.proto
	@mkdir -p $(@D)
	$(Q)protoc-c -I$(PROTO_INCLUDE) --c_out=$(O)/gen $<

# Not our code: its warnings are not ours to mend.
$(O)/gen/%.pb-c.o: $(O)/gen/%.pb-c.c $(GEN_H) $(O)/flags
	$(Q)$(CC) $(CFLAGS_ALL) -w -I$(O)/gen/proto -c -o $@ $<

# What reflection serves: every file with its imports, as bytes in a C table.
$(O)/gen/descriptors.pb: $(PROTOS)
	@mkdir -p $(@D)
	$(Q)protoc -Isrc/proto -I$(PROTO_INCLUDE) --include_imports --descriptor_set_out=$@ $(PROTOS)

$(O)/gen/descriptors.c: $(O)/gen/descriptors.pb
	$(Q){ echo '#include <stddef.h>'; echo 'extern const unsigned char proto_descriptors[];'; \
	  echo 'extern const size_t proto_descriptors_len;'; \
	  echo 'const unsigned char proto_descriptors[] = {'; \
	  od -An -v -tx1 $< | sed 's/ \([0-9a-f][0-9a-f]\)/0x\1,/g'; echo '};'; \
	  echo 'const size_t proto_descriptors_len = sizeof(proto_descriptors);'; } > $@

$(O)/gen/descriptors.o: $(O)/gen/descriptors.c $(O)/flags
	$(Q)$(CC) $(CFLAGS_ALL) -w -c -o $@ $<
