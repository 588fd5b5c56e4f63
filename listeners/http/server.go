package http

import (
	"errors"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/hermodmq/hermod/broker"
)

// Options say what is served.
type Options struct {
	Core  *broker.Broker  // nil on a standby, which has none
	Extra func() []Sample // more samples for /metrics; may be nil
	Pprof bool            // serve /debug/pprof

	// Detail are samples that are too many for /metrics, by path.
	Detail map[string]func() []Sample
}

// Handler serves metrics and health of a node.
func Handler(o Options) http.Handler {
	if o.Extra == nil {
		o.Extra = func() []Sample { return nil }
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		&collector{core: o.Core, extra: o.Extra},
	)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 30 * time.Second}))
	for path, samples := range o.Detail {
		r := prometheus.NewRegistry()
		r.MustRegister(&collector{extra: samples})
		mux.Handle("GET "+path, promhttp.HandlerFor(r, promhttp.HandlerOpts{MaxRequestsInFlight: 2, Timeout: 30 * time.Second}))
	}
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) { health(o.Core, w) })
	if o.Pprof {
		mux.HandleFunc("/debug/pprof/", pprof.Index)
		mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	}
	return mux
}

// health says ok, or which alarm blocks publishers, with status 503.
func health(core *broker.Broker, w http.ResponseWriter) {
	if core == nil {
		http.Error(w, "standby", http.StatusServiceUnavailable)
		return
	}
	if a := core.Alarms(); a != 0 {
		http.Error(w, "alarm: "+a.String(), http.StatusServiceUnavailable)
		return
	}
	_, _ = w.Write([]byte("ok\n"))
}

// Serve answers on ln with h until the returned function is called.
func Serve(ln net.Listener, h http.Handler, report func(error)) (stop func() error) {
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(ln); err != nil && !errors.Is(err, http.ErrServerClosed) {
			report(err)
		}
	}()
	return func() error {
		err := server.Close()
		<-done
		return err
	}
}
