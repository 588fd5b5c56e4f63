package openwire

import (
	"encoding/hex"
	"fmt"
	"testing"

	"github.com/hermodmq/hermod/listeners/openwire/wire"
)

// conversations are what stock clients said in the captures after their login,
// by connection, with the ids of the connections.
func conversations(t testing.TB) (ids []string, streams [][]byte) {
	t.Helper()
	at := map[string]int{}
	for _, f := range captured(t) {
		b, err := hex.DecodeString(f.Hex)
		if err != nil || f.Dir != "C" || f.Version != wire.MaxVersion {
			continue
		}
		recorded := wire.Decoder{Format: wire.Format{Version: f.Version, StackTrace: true}} // we do not offer it
		said, _, err := recorded.Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		key := fmt.Sprint(f.Capture, f.Conn)
		switch s := said.(type) {
		case *wire.ConnectionInfo:
			at[key] = len(ids)
			ids, streams = append(ids, s.ConnectionID.Value), append(streams, nil)
		default:
			if i, ok := at[key]; ok {
				streams[i] = wire.Append(streams[i], wire.Format{Version: f.Version}, s)
			}
		}
	}
	return ids, streams
}

// TestConversationsAreUnderstood: what a stock client said in the captures is
// OpenWire for the listener too, and leaves nothing behind (OW-2, OW-14).
func TestConversationsAreUnderstood(t *testing.T) {
	ids, streams := conversations(t)
	if len(ids) < 15 {
		t.Fatalf("%d conversations", len(ids))
	}
	for i, b := range streams {
		w := newWorld(t, Options{})
		c := w.open(ids[i], nil)
		for ; len(b) > 0; b = b[min(len(b), 61):] {
			c.peer.Send(b[:min(len(b), 61)])
			w.until("a turn", func() bool { return true })
		}
		for s := c.poll(); s != nil; s = c.poll() {
			if e, ok := s.(*wire.ConnectionError); ok && e.Exception.ClassName == classIO {
				t.Errorf("conversation %d: %+v", i, e.Exception)
			}
		}
		hungUp(t, w, c)
	}
}

// hungUp ends a client and makes sure that nothing of its connection is left.
func hungUp(t *testing.T, w *world, c *client) {
	t.Helper()
	if !c.peer.EOF() {
		c.peer.HangUp(nil)
	}
	w.until("the connection is gone", func() bool { return w.m.Connections() == 0 })
	for _, q := range w.b.VHost("/").Queues() {
		if s := q.Stats(); s.Consumers != 0 || s.Unsettled != 0 {
			t.Errorf("queue %s has %d consumers and %d unsettled messages left", q.Name(), s.Consumers, s.Unsettled)
		}
	}
}

// FuzzConversation begins with what stock clients say, in pieces, and
// checks that nothing panics and that nothing is left when it is over.
func FuzzConversation(f *testing.F) {
	ids, streams := conversations(f)
	for i := range ids {
		f.Add(ids[i], streams[i])
	}
	f.Fuzz(func(t *testing.T, id string, b []byte) {
		if id == "" || len(id) > 100 || len(b) > 64<<10 {
			t.Skip()
		}
		w := newWorld(t, Options{MaxFrame: 64 << 10, Consumers: 20, Producers: 20, Temporary: 20, Transactions: 5})
		c := w.open(id, nil)
		for len(b) > 0 && !c.peer.EOF() {
			n := min(len(b), 250)
			c.peer.Send(b[:n])
			b = b[n:]
			w.until("a turn", func() bool { return true })
		}
		hungUp(t, w, c)
	})
}
