# Keelson. `make help` lists the targets; README.md tells the story.

ROLES   := nfs-server lnet-router qnet-node lwk-compute
ROLE    ?= nfs-server
OUT     := images/out
# What `make soak` does without end: for an hour, or for so many seconds.
SOAK    ?= 1

# What a fresh Debian 12 lacks. Package rustc-web is Debian's current Rust for bookworm.
PACKAGES := gcc libc6-dev qemu-system-x86 e2fsprogs
# libFuzzer is C++.
FUZZ_PACKAGES := g++
# What `make iso` makes the CD with, and firmware and loaders that the images are booted by.
ISO_PACKAGES := grub-common grub-pc-bin grub-efi-amd64-bin xorriso mtools
BOOT_PACKAGES := ovmf ipxe-qemu pxelinux syslinux-common systemd-boot-efi $(ISO_PACKAGES)
TEST_PACKAGES := libnfs-utils openssh-client iproute2 procps tshark busybox-static python3 sqlite3 gzip gdb mpich libmpich-dev \
    openmpi-bin libopenmpi-dev $(FUZZ_PACKAGES) $(BOOT_PACKAGES)

# The menu of the CD.
GRUB_CFG ?= images/pxe/boot/grub/grub.cfg

# How long `make fuzz` stays with each target.
SECONDS_EACH ?= 60

# The images are the only thing built freestanding; see ARCHITECTURE.md, "Building without an OS".
# The kernel uses no AVX: those registers hold what user programs left there. Cryptography that would look for it at run time
# gets its portable implementation instead. Of ChaCha20 there would be one for SSE2: a third less time on a processor (0.7 ns for
# 1.0 a byte), but twice as much under emulation (9.3 for 4.7), where vectors are functions.
NO_AVX      := --cfg chacha20_force_soft --cfg chacha20_backend=\"soft\" --cfg poly1305_force_soft --cfg poly1305_backend=\"soft\" \
    --cfg sha2_backend=\"soft\" --cfg curve25519_dalek_backend=\"serial\"
IMAGE_FLAGS := -Cno-redzone=yes -Cforce-frame-pointers=yes --cfg keelson_image -Dwarnings $(NO_AVX)
# A release names neither the machine nor the folders that it was built in: the same commit and compiler give the same bytes.
ifdef FOR_RELEASE
IMAGE_FLAGS += --remap-path-prefix=$(CURDIR)=keelson \
    --remap-path-prefix=$(or $(CARGO_HOME),$(HOME)/.cargo)/registry/src=crates
endif
IMAGE_CARGO := RUSTFLAGS="$(IMAGE_FLAGS)" cargo
IMAGE_DIR   := target/$(if $(FOR_RELEASE),release-,)image

.PHONY: help run test test-full images iso release lint unit system fuzz bench bench-boot soak deps iso-deps test-deps fuzz-deps clean

help: ## Show this list
	@echo "Keelson: make [target] [ROLE=$(ROLE)]   roles: $(ROLES)"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: deps images ## Boot ROLE in QEMU with a default disk and print how to reach it (leave: Ctrl-A X)
	@cargo run -q --release -p keelson-qemu --bin keelson-run -- --role $(ROLE)

# All at once first: the end of a build uses one core for each.
images: ## Build one bootable file per role into images/out
	@$(IMAGE_CARGO) build -q -p keelson-images $(ROLES:%=--bin %) --profile image --target-dir $(IMAGE_DIR)
	@for role in $(ROLES); do $(MAKE) --no-print-directory image-$$role || exit 1; done

image-%:
	@$(IMAGE_CARGO) build -q -p keelson-images --bin $* --profile image --target-dir $(IMAGE_DIR)
	@cargo run -q -p keelson-mkimage -- --role $* --out $(OUT) \
	    --elf $(IMAGE_DIR)/x86_64-unknown-linux-gnu/image/$*

iso: iso-deps images ## Build images/out/keelson.iso: a CD with all images and a menu, for BIOS and UEFI
	@rm -rf $(OUT)/iso && mkdir -p $(OUT)/iso/boot/grub $(OUT)/iso/keelson
	@cp $(GRUB_CFG) $(OUT)/iso/boot/grub/grub.cfg && cp $(ROLES:%=$(OUT)/%.img) $(OUT)/iso/keelson
	@grub-mkrescue -o $(OUT)/keelson.iso $(OUT)/iso >$(OUT)/iso.log 2>&1 || { cat $(OUT)/iso.log; exit 1; }

release: deps ## Build images/out/release: versioned images, checksums, SBOM, sizes and boot times; of what is committed
	@test -z "$$(git status --porcelain)" || { echo "release: there are changes that are not committed (git status)"; exit 1; }
	@SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(MAKE) --no-print-directory FOR_RELEASE=1 images
	@cargo run -q --release -p keelson-tests --bin release -- \
	    "$$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)-$$(git rev-parse --short=10 HEAD)" "$$(git log -1 --format=%ct)"

lint: ## Formatting and clippy, warnings denied
	cargo fmt --all --check
	cargo clippy -q --all-targets -- -D warnings
	$(IMAGE_CARGO) clippy -q -p keelson-images --target-dir $(IMAGE_DIR) -- -D warnings

test: deps test-deps ## Everything: lint, unit and simulation tests, system tests in QEMU
	@tests/run.sh lint unit system

test-full: deps test-deps ## `make test` and the long forms of tests, SOAK=60 seconds for each that could go on for ever
	@SOAK=$(if $(filter 1,$(SOAK)),60,$(SOAK)) tests/run.sh lint unit system soak

unit: ## Host tests only (codecs, state machines, simulation); seconds, no QEMU
	@tests/run.sh unit

system: iso ## System tests in QEMU only
	@tests/run.sh system

fuzz: fuzz-deps ## Let libFuzzer look for inputs that break something, SECONDS_EACH=60 for each target
	@KEELSON_FUZZ_SECONDS=$(SECONDS_EACH) cargo test -q --release -p keelson-tests --test fuzz -- \
	    --nocapture --test-threads 2

# The hosts of a node or of a Qnet node are programs of the same package.
bench: deps test-deps iso ## Measure ROLE beside a Linux guest in the same run
	@cargo build -q --release -p keelson-tests --bins
	@cargo run -q --release -p keelson-tests --bin bench -- --role $(ROLE)

bench-boot: deps test-deps iso ## Measure the ways to boot, from the start of QEMU to the service
	@cargo run -q --release -p keelson-tests --bin bench -- --boot

soak: deps test-deps ## The long forms of the system tests, of fuzzing and of the gates
	@SOAK=$(SOAK) tests/run.sh soak

deps: ## Install what building and running needs (Debian packages, as root)
	@tests/deps.sh $(PACKAGES)

iso-deps: deps
	@tests/deps.sh $(ISO_PACKAGES)

test-deps: deps
	@tests/deps.sh $(TEST_PACKAGES)

fuzz-deps: deps
	@tests/deps.sh $(FUZZ_PACKAGES)

clean: ## Remove everything that was built
	cargo clean
	rm -rf $(OUT) tests/out fuzz/artifacts
