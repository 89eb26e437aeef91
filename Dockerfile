# One static binary on an empty base: no shell, no package manager, no user database. Only the binary and its list of
# certificate authorities ever need updates.
#
#   docker build -t eso-sync:0.1.0 .
#   docker build -t eso-sync:0.1.0-tools --target tools .     with git, ssh, kustomize and sops, for `publish`
#
# glibc, linked statically, instead of musl: its allocator is fast with several threads, it resolves names like the other
# programs in the cluster, and the toolchain that runs the tests also builds the image. (For musl, use a rust:alpine base and
# remove RUSTFLAGS.)
#
# Bases are pinned by the digest of their index, which covers all architectures: a tag can be moved. For a newer base, change the tag
# and the digest together: docker buildx imagetools inspect TAG --format '{{.Manifest.Digest}}'

ARG RUST=rust:1.95-slim-bookworm@sha256:d7482085ff5b415f84dba5647ae71606650bdef00db7aeb69f4b3d170c3e4082
ARG GO=golang:1.26.8-bookworm@sha256:a688600ca24f8a4d3ca77f95b0dd40704a9fc787c826660eb7ba0b641b8b175d
ARG BINARY=build
ARG DEBIAN=debian:bookworm-slim@sha256:88200866dfff7ea7f5cbcb6ec7c8a701889efe6fe859fe64d6990e4b07ea4171

FROM ${RUST} AS build
WORKDIR /src
COPY . .
# --target is set, although it is the host's own: without it cargo would also link build scripts and proc macros statically,
# which does not work for proc macros. The builder's cache keeps the sources and objects of dependencies, so only our own code is
# compiled again (always: the cache may come from another checkout, and cargo compares file times).
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/src/target,sharing=locked \
    find src crates -name '*.rs' -exec touch {} + && \
    target=$(rustc --print host-tuple) && \
    RUSTFLAGS="-C target-feature=+crt-static" cargo build --locked --profile dist --bin eso-sync --target "$target" && \
    cp "target/$target/dist/eso-sync" /usr/local/bin/

# The programs of `--kustomize-program` and `--sops-program`. Go verifies the sources with its checksum database.
FROM ${GO} AS programs
ARG KUSTOMIZE=v5.8.1
ARG SOPS=v3.11.0
RUN --mount=type=cache,target=/go/pkg/mod,sharing=locked \
    --mount=type=cache,target=/go/build,sharing=locked \
    export GOBIN=/out GOCACHE=/go/build CGO_ENABLED=0 GOFLAGS=-trimpath && \
    go install -ldflags=-s "sigs.k8s.io/kustomize/kustomize/v5@$KUSTOMIZE" && \
    go install -ldflags=-s "github.com/getsops/sops/v3/cmd/sops@$SOPS"

# The stage that builds the binary, or an image that has it. Without an instruction, podman would take that image for one of this build, and
# delete it at the end.
FROM ${BINARY} AS binary
LABEL org.opencontainers.image.title="eso-sync-binary"

# For sources over SSH, and for kustomizations and SOPS files that eso-sync itself does not read.
FROM ${DEBIAN} AS tools
LABEL org.opencontainers.image.title="eso-sync-tools" \
      org.opencontainers.image.description="eso-sync with git, ssh, kustomize and sops" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"
# `ssh` needs an entry for its user.
RUN apt-get update && \
    apt-get install -y --no-install-recommends ca-certificates git openssh-client && \
    rm -rf /var/lib/apt/lists/* && \
    echo 'eso-sync:x:65532:65532::/nonexistent:/usr/sbin/nologin' >> /etc/passwd
COPY --from=programs /out/kustomize /out/sops /usr/local/bin/
COPY --from=binary /usr/local/bin/eso-sync /usr/local/bin/
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/eso-sync"]

# The last target is the default.
FROM scratch
LABEL org.opencontainers.image.title="eso-sync" \
      org.opencontainers.image.description="Force-syncs ExternalSecrets and proves that each sync happened" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"
# For TLS to providers, and to API servers with a public certificate.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /usr/local/bin/eso-sync /usr/local/bin/
# A number, because `runAsNonRoot` cannot look up names: the image has no user database.
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/eso-sync"]
