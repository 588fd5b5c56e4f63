package admin

import (
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/hermodmq/hermod/ha"
)

func TestEveryCommandHasAFunctionAndNoFunctionIsHidden(t *testing.T) {
	described := map[string]bool{}
	for _, spec := range Commands {
		described[spec.Name] = true
		if functions[spec.Name] == nil {
			t.Errorf("command %s has no function", spec.Name)
		}
		if spec.Short == "" || spec.Max < spec.Min {
			t.Errorf("command %s: bad description %+v", spec.Name, spec)
		}
	}
	for name := range functions {
		if !described[name] {
			t.Errorf("function %s is not described", name)
		}
	}
}

// A deposed node's process is replaced as soon as the transfer counts as
// answered: by then all of the answer must be with the kernel.
func TestATransferIsAnsweredBeforeItEnds(t *testing.T) {
	s := &Server{node: Node{Log: new(ha.Log)}, transfers: new(atomic.Int32)}
	r := httptest.NewRequest("POST", "/ctl/cluster_transfer", strings.NewReader("{}"))
	r.SetPathValue("command", "cluster_transfer")
	w := httptest.NewRecorder()
	s.handle(w, r)
	if !w.Flushed || w.Header().Get("Content-Length") != strconv.Itoa(w.Body.Len()) || w.Body.Len() == 0 {
		t.Errorf("flushed %v, Content-Length %q of %d bytes", w.Flushed, w.Header().Get("Content-Length"), w.Body.Len())
	}
	if n := s.transfers.Load(); n != 0 {
		t.Errorf("%d transfers under way", n)
	}
}
