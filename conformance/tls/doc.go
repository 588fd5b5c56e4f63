// Package tls tries TLS, mutual TLS, the mapping of client certificates to
// users, and renewal of certificates on every listener with stock clients.
package tls
