# One static binary on an empty base: no shell, no package manager, no user database. Only the binary and its list of
# certificate authorities ever need updates.
#
#   docker build -t eso-sync:0.1.0 .
#
# glibc, linked statically, instead of musl: its allocator is fast with several threads, it resolves names like the other
# programs in the cluster, and the toolchain that runs the tests also builds the image. (For musl, use a rust:alpine base and
# remove RUSTFLAGS.)
#
# Bases are pinned by the digest of their index, which covers all architectures: a tag can be moved. For a newer base, change the tag
# and the digest together: docker buildx imagetools inspect TAG --format '{{.Manifest.Digest}}'

ARG RUST=rust:1.95-slim-bookworm@sha256:d7482085ff5b415f84dba5647ae71606650bdef00db7aeb69f4b3d170c3e4082

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
    mkdir /out && cp "target/$target/dist/eso-sync" /out/

FROM scratch
LABEL org.opencontainers.image.title="eso-sync" \
      org.opencontainers.image.description="Force-syncs ExternalSecrets and proves that each sync happened" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"
# For TLS to providers, and to API servers with a public certificate.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/eso-sync /usr/local/bin/
# A number, because `runAsNonRoot` cannot look up names: the image has no user database.
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/eso-sync"]
