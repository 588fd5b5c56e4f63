package http

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/hermodmq/hermod/broker"
)

func get(t *testing.T, h http.Handler, path string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	body, err := io.ReadAll(w.Result().Body)
	if err != nil {
		t.Fatal(err)
	}
	return w.Code, string(body)
}

func TestMetricsAndHealthTellTheStateOfTheCore(t *testing.T) {
	store := broker.NewMemoryStore()
	core, err := broker.New(broker.Options{Store: store, Node: "n1", Now: 1})
	if err != nil {
		t.Fatal(err)
	}
	turn := &broker.Turn{Now: 1}
	if err := core.Recover(turn); err != nil {
		t.Fatal(err)
	}
	h := Handler(Options{Core: core, Extra: func() []Sample { return []Sample{{Name: "hermod_extra", Help: "x", Value: 7}} }})

	code, body := get(t, h, "/metrics")
	for _, want := range []string{"rabbitmq_queues 0", "hermod_extra 7", `rabbitmq_identity_info{rabbitmq_cluster="n1",rabbitmq_node="n1"} 1`} {
		if code != 200 || !strings.Contains(body, want) {
			t.Errorf("/metrics: status %d, want 200 and %q", code, want)
		}
	}
	if code, body := get(t, h, "/health"); code != 200 || body != "ok\n" {
		t.Errorf("/health = %d %q, want 200 ok", code, body)
	}
	core.SetAlarm(turn, broker.AlarmDisk, true)
	if code, body := get(t, h, "/health"); code != 503 || !strings.Contains(body, "disk") {
		t.Errorf("/health under alarm = %d %q, want 503 naming the disk", code, body)
	}
	if code, _ := get(t, h, "/debug/pprof/"); code != 404 {
		t.Errorf("/debug/pprof/ unasked = %d, want 404", code)
	}
}
