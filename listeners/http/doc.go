// Package http serves what operators' tools read over HTTP: Prometheus metrics
// at /metrics, under the names RabbitMQ's dashboards use where the meaning is
// the same, health at /health, and profiles at /debug/pprof when asked for.
package http
