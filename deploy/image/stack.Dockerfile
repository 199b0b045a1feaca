# The last stage of each image of the self-hosted stack; deploy/image/build-stack fills it in.
FROM scratch
ARG TITLE
ARG VERSION
LABEL org.opencontainers.image.title="${TITLE}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.source="https://github.com/temporal-capacity/temporal-capacity"
COPY image/root /
ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt PATH=/usr/bin
USER 65532:65532
