# The image holds one static binary, runs without root and keeps its data in
# /data. The tests gate it: an image of a tree whose tests fail is not built.
FROM golang:1.26 AS base
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .

FROM base AS test
RUN make test && touch /tested

FROM base AS build
ARG VERSION=dev
COPY --from=test /tested /tested
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /hermod ./cmd/hermod \
 && mkdir -p /empty/data /empty/tmp

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build --chown=65532:65532 /empty/ /
COPY --from=build /hermod /hermod
USER 65532:65532
VOLUME /data
# AMQP, MQTT and STOMP, each with TLS and the last two over WebSocket; metrics and health
EXPOSE 5672 5671 1883 8883 15675 61613 61614 15674 15692
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["/hermod", "ctl", "--data-dir", "/data", "status"]
ENTRYPOINT ["/hermod"]
CMD ["serve", "--data-dir", "/data"]
