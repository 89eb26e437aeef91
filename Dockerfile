# syntax=docker/dockerfile:1
# One static binary on an empty base: no shell, no package manager, no user database, nothing that needs patching but the
# binary itself and its list of certificate authorities.
#
#   docker build -t eso-sync:0.1.0 .
#
# glibc, linked statically, and not musl: its allocator holds up with several threads, it resolves names as the cluster's
# other programs do, and the toolchain that runs the tests is the one that builds the image. (For musl, take a rust:alpine base and
# leave RUSTFLAGS out.) Pin both stages by digest where you publish from: --build-arg RUST=rust@sha256:…

ARG RUST=rust:1.95-slim-bookworm

FROM ${RUST} AS build
WORKDIR /src
COPY . .
# The target is named, though it is the host's own: without it cargo would link build scripts and proc macros statically too,
# and proc macros cannot be. Sources and objects of dependencies stay in the builder's cache, so a change of ours compiles only us
# (always: the cache may have seen another checkout, and cargo goes by the files' times).
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/src/target,sharing=locked \
    find src crates -name '*.rs' -exec touch {} + && \
    target=$(rustc --print host-tuple) && \
    RUSTFLAGS="-C target-feature=+crt-static" cargo build --locked --profile dist --bin eso-sync --target "$target" && \
    mkdir /out && cp "target/$target/dist/eso-sync" /out/

FROM scratch
LABEL org.opencontainers.image.title="eso-sync" \
      org.opencontainers.image.description="Force-syncs ExternalSecrets and proves that each sync happened" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"
# For providers, and for API servers with a public certificate.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/eso-sync /usr/local/bin/
# A number, for `runAsNonRoot` cannot look names up: there is no user database in here.
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/eso-sync"]
