// Package admin is the operator's door to a running node: `hermod ctl` talks
// JSON over HTTP to a Unix socket in the data folder. Whoever may open the
// socket (mode 0600, owned by the broker's user) may do everything.
package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"time"
)

// SocketName is the socket's file name inside the data folder.
const SocketName = "hermod.sock"

// maxRequest bounds what ctl may send: a definitions file.
const maxRequest = 256 << 20

// Request is one command with its arguments in rabbitmqctl's order.
type Request struct {
	Args     []string `json:"args"`
	VHost    string   `json:"vhost"`
	Priority int      `json:"priority"`
	ApplyTo  string   `json:"apply_to"`
	Body     []byte   `json:"body,omitempty"` // a file's content
}

// Reply is a table, a document, or nothing.
type Reply struct {
	Columns []string `json:"columns,omitempty"`
	Rows    [][]any  `json:"rows,omitempty"`
	Body    []byte   `json:"body,omitempty"`
	Error   string   `json:"error,omitempty"`
}

// ErrNotRunning says that nobody listens on the data folder's socket.
var ErrNotRunning = errors.New("no node runs on this data folder")

// Call sends one command to the node that runs on dataDir.
func Call(ctx context.Context, dataDir, command string, req Request) (*Reply, error) {
	socket := filepath.Join(dataDir, SocketName)
	client := http.Client{
		Timeout: 5 * time.Minute,
		Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return dialSocket(ctx, socket)
			},
		},
	}
	body, err := json.Marshal(req)
	if err != nil {
		return nil, err
	}
	hr, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://hermod/ctl/"+command, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(hr)
	if err != nil {
		return nil, fmt.Errorf("%s: %w (%v)", socket, ErrNotRunning, errors.Unwrap(err))
	}
	defer resp.Body.Close()
	reply := &Reply{}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<30)).Decode(reply); err != nil {
		return nil, fmt.Errorf("reading the reply: %w", err)
	}
	if reply.Error != "" {
		return nil, errors.New(reply.Error)
	}
	return reply, nil
}
