// Package websocket runs a stock WebSocket client, github.com/coder/websocket, against the transport's WebSocket layer
// with a session that echoes lines. It needs no broker binary.
package websocket
