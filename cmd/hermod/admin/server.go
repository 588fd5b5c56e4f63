package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hermodmq/hermod/bridge/endpoint"
	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/ha"
	"github.com/hermodmq/hermod/listeners/mqtt"
	"github.com/hermodmq/hermod/listeners/transport"
	"github.com/hermodmq/hermod/persistence"
)

// Node is what commands act on.
type Node struct {
	Core    *broker.Broker     // nil on a standby
	Server  *transport.Server  // nil on a standby
	MQTT    *mqtt.Server       // nil on a standby
	AWS     *endpoint.Endpoint // nil on a standby
	Store   *persistence.Store
	Version string
	DataDir string
	Clock   func() time.Time // nil: time.Now

	Log  *ha.Log
	Join func(address string, force bool) error // makes this node a member of another cluster
}

// Server answers ctl.
type Server struct {
	mu      sync.Mutex // guards changes of node
	node    Node
	started time.Time
	http    http.Server
	done    sync.WaitGroup

	transfers *atomic.Int32 // under way
}

// Serve answers on ln until Close.
func Serve(ln net.Listener, n Node) *Server {
	s := &Server{node: n, started: time.Now(), transfers: new(atomic.Int32)}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /ctl/{command}", s.handle)
	s.http = http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	s.done.Go(func() { _ = s.http.Serve(ln) })
	return s
}

// SetNode replaces what commands act on: a standby has become the active node.
func (s *Server) SetNode(n Node) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.node = n
}

// at returns a server for one request, on what there is now.
func (s *Server) at() *Server {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &Server{node: s.node, started: s.started, transfers: s.transfers}
}

// Answered waits until a transfer that somebody asked for was answered, so that
// whoever asked learns that this is why the node goes; no longer than limit,
// and not at all if there is none.
func (s *Server) Answered(limit time.Duration) {
	if s.transfers.Load() == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	_ = s.http.Shutdown(ctx) // the process ends
}

// Close stops answering.
func (s *Server) Close() error {
	err := s.http.Close()
	s.done.Wait()
	return err
}

func (s *Server) handle(w http.ResponseWriter, r *http.Request) {
	if r.PathValue("command") == "cluster_transfer" {
		s.transfers.Add(1)
		defer s.transfers.Add(-1)
	}
	reply, err := s.run(r.PathValue("command"), http.MaxBytesReader(w, r.Body, maxRequest))
	status := http.StatusOK
	if err != nil {
		reply, status = &Reply{Error: err.Error()}, http.StatusBadRequest
	}
	body, err := json.Marshal(reply)
	if err != nil {
		body, status = []byte(`{"error":"the answer cannot be encoded"}`), http.StatusInternalServerError
	}
	// The whole answer is with the kernel before the transfer counts as answered:
	// the process may be replaced from then on.
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body)
	_ = http.NewResponseController(w).Flush()
}

func (s *Server) run(command string, body interface{ Read([]byte) (int, error) }) (*Reply, error) {
	f := functions[command]
	if f == nil {
		return nil, fmt.Errorf("no such command %q", command)
	}
	var req Request
	if err := json.NewDecoder(body).Decode(&req); err != nil {
		return nil, fmt.Errorf("reading the request: %w", err)
	}
	for _, spec := range Commands {
		if spec.Name == command && (len(req.Args) < spec.Min || len(req.Args) > spec.Max) {
			return nil, fmt.Errorf("%s: want %s", command, spec.Args)
		}
	}
	s = s.at()
	if s.node.Core == nil && !standbyCommands[command] {
		return nil, s.notActive()
	}
	reply, err := f(s, &req)
	if reply == nil {
		reply = &Reply{}
	}
	return reply, err
}

// storeTimeout is how long a change may take to become durable.
const storeTimeout = 30 * time.Second

// change runs one change of definitions and waits until it is durable.
func (s *Server) change(f func(t *broker.Turn, done func(*broker.Turn)) error) (*Reply, error) {
	durable := make(chan struct{})
	err := s.turn(func(t *broker.Turn) error {
		return f(t, func(*broker.Turn) { close(durable) })
	})
	if err != nil {
		return nil, err
	}
	select {
	case <-durable:
		return nil, nil
	case <-time.After(storeTimeout):
		return nil, errors.New("the change is in force, but was not on disk after 30 s")
	}
}

// turn runs f in a turn of its own and rings whom it touched.
func (s *Server) turn(f func(t *broker.Turn) error) error {
	clock := s.node.Clock
	if clock == nil {
		clock = time.Now
	}
	bells := transport.NewBatch()
	err := f(&broker.Turn{Now: clock().UnixMilli(), Bells: bells})
	bells.Flush()
	return err
}
