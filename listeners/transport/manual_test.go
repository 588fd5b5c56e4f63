package transport

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"
	"unsafe"

	"pgregory.net/rapid"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// However the bytes are cut, and however often the session pauses, the same frames arrive.
func TestReceive_AnyCut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sizes := rapid.SliceOfN(rapid.OneOf(rapid.IntRange(0, 20), rapid.IntRange(0, 70_000)), 1, 20).Draw(t, "sizes")
		var stream []byte
		for i, n := range sizes {
			stream = append(stream, frame(bytes.Repeat([]byte{byte(i)}, n)...)...)
		}
		pauses := rapid.SliceOfN(rapid.Bool(), len(sizes), len(sizes)).Draw(t, "pauses")
		var got []byte
		next := 0
		paused := false
		s := new(pausingFrames)
		s.frames = &frames{
			frame: func(f *frames, p []byte) error {
				if paused {
					t.Fatal("Receive while paused")
				}
				got = append(got, frame(p...)...)
				if paused = pauses[next]; paused {
					f.Pause(1)
				}
				next++
				return nil
			},
			handle: func(f *frames, _ Event) { paused = false; f.Resume(1) },
		}
		s.paused = &paused
		m := NewManual(epoch)
		p := m.Open(s, Info{})
		for rest := stream; len(rest) > 0; {
			if paused && rapid.Bool().Draw(t, "resume") {
				p.Conn().Post(Event{})
				m.Turn()
				continue
			}
			n := rapid.OneOf(rapid.IntRange(1, 8), rapid.IntRange(1, 64<<10)).Draw(t, "read")
			n = min(n, len(rest))
			p.Send(rest[:n])
			rest = rest[n:]
		}
		for paused {
			p.Conn().Post(Event{})
			m.Turn()
		}
		if !bytes.Equal(got, stream) {
			t.Fatalf("%d frames of %d, %d bytes of %d", next, len(sizes), len(got), len(stream))
		}
		if p.conn.tail != nil {
			t.Fatalf("a tail of %d bytes is kept", len(p.conn.tail))
		}
	})
}

// pausingFrames stops within Receive when it has paused.
type pausingFrames struct {
	*frames
	paused *bool
}

func (f *pausingFrames) Receive(p []byte) (n, need int, err error) {
	for !*f.paused {
		if len(p)-n < 4 {
			return n, 4, nil
		}
		size := 4 + int(binary.BigEndian.Uint32(p[n:]))
		if len(p)-n < size {
			return n, size, nil
		}
		if err := f.frame(f.frames, p[n+4:n+size]); err != nil {
			return n, 0, err
		}
		n += size
	}
	return n, 0, nil
}

// A stated length alone pins nothing, and a frame is not copied over and over.
func TestReceive_BigFrame(t *testing.T) {
	const size = 32 << 20
	calls, got := 0, 0
	m := NewManual(epoch)
	s := &counting{frames: &frames{frame: func(_ *frames, p []byte) error { got = len(p); return nil }}, calls: &calls}
	p := m.Open(s, Info{})
	p.Send(binary.BigEndian.AppendUint32(nil, size))
	p.Send([]byte{1})
	if c := cap(p.conn.tail); c > 1<<20 {
		t.Errorf("%d bytes pinned by a length", c)
	}
	chunk := make([]byte, 64<<10)
	largest := 0
	for sent := 1; sent < size; {
		n := min(len(chunk), size-sent)
		p.Send(chunk[:n])
		sent += n
		largest = max(largest, cap(p.conn.tail))
	}
	if got != size {
		t.Fatalf("frame of %d bytes, want %d", got, size)
	}
	if calls > 4 {
		t.Errorf("%d calls of Receive", calls)
	}
	if largest > size+4 {
		t.Errorf("a buffer of %d bytes for a frame of %d", largest, size)
	}
	if p.conn.tail != nil {
		t.Error("the buffer is kept")
	}
}

type counting struct {
	*frames
	calls *int
}

func (c *counting) Receive(p []byte) (int, int, error) { *c.calls++; return c.frames.Receive(p) }

func TestReceive_Limits(t *testing.T) {
	for _, c := range []struct {
		name    string
		receive func(p []byte) (int, int, error)
		want    error
	}{
		{"need above the limit", func([]byte) (int, int, error) { return 0, 1<<20 + 1, nil }, ErrFrameTooLarge},
		{"never satisfied", func([]byte) (int, int, error) { return 0, 0, nil }, ErrFrameTooLarge},
		{"consumes too much", func(p []byte) (int, int, error) { return len(p) + 1, 0, nil }, ErrPanic},
		{"negative", func([]byte) (int, int, error) { return -1, 0, nil }, ErrPanic},
		{"error", func([]byte) (int, int, error) { return 0, 0, io.ErrUnexpectedEOF }, io.ErrUnexpectedEOF},
	} {
		t.Run(c.name, func(t *testing.T) {
			var end error
			s := &receiver{frames: &frames{closed: func(_ *frames, err error) { end = err }}, receive: c.receive}
			p := NewManual(epoch).open(s, Info{}, Listener{MaxFrame: 1 << 20})
			for i := 0; i < 100 && !p.EOF(); i++ {
				p.Send(make([]byte, 64<<10))
			}
			if !errors.Is(end, c.want) {
				t.Errorf("closed: %v", end)
			}
		})
	}
}

type receiver struct {
	*frames
	receive func([]byte) (int, int, error)
}

func (r *receiver) Receive(p []byte) (int, int, error) { return r.receive(p) }

func TestPanicsEndOneConnection(t *testing.T) {
	boom := func(*frames) { panic("boom") }
	for name, s := range map[string]*frames{
		"Start":   {start: boom},
		"Receive": {frame: func(*frames, []byte) error { panic("boom") }},
		"Handle":  {handle: func(*frames, Event) { panic("boom") }},
		"EndTurn": {endTurn: boom},
		"Drained": {drained: boom, start: func(f *frames) { f.Write(make([]byte, highWater+1)); f.Full() }},
		"Tick":    {tick: func(*frames, time.Time) { panic("boom") }},
		"Drain":   {drain: boom},
		"Offload": {frame: func(f *frames, _ []byte) error { f.Offload(func() Event { panic("boom") }); return nil }},
	} {
		t.Run(name, func(t *testing.T) {
			var ends []error
			s.closed = func(_ *frames, err error) { ends = append(ends, err); panic("boom") }
			m := NewManual(epoch)
			other := m.Open(new(frames), Info{})
			p := m.Open(s, Info{})
			other.Conn().Post(Event{})
			p.Conn().Post(Event{})
			p.Conn().Post(Event{})
			other.Conn().Post(Event{})
			m.Turn()
			p.Send(frame(1))
			p.Window(-1)
			m.Tick(epoch.Add(time.Second))
			if name == "Offload" {
				eventually(t, "the end", func() bool { m.Turn(); return len(ends) > 0 })
			}
			if name == "Drain" {
				m.Drain()
			} else if other.Send(frame('x')); !bytes.Equal(other.Output(), frame('x')) {
				t.Error("the other connection does not answer")
			}
			if len(ends) != 1 || !errors.Is(ends[0], ErrPanic) {
				t.Errorf("closed: %v", ends)
			}
		})
	}
}

func TestEndTurnOncePerTurn(t *testing.T) {
	var calls []string
	s := &frames{
		frame: func(f *frames, p []byte) error {
			calls = append(calls, string(p))
			f.Batch().Add(f.Target(), Event{})
			return nil
		},
		handle:  func(*frames, Event) { calls = append(calls, "event") },
		endTurn: func(f *frames) { calls = append(calls, "end"); f.Write(frame('k')) },
	}
	p := NewManual(epoch).Open(s, Info{})
	p.Output()
	calls = nil
	p.Send(append(frame('a'), frame('b')...))
	if got := fmt.Sprint(calls); got != "[a b event event end]" {
		t.Errorf("calls: %v", got)
	}
	if got := p.Output(); !bytes.Equal(got, frame('k')) {
		t.Errorf("output: %q", got)
	}
}

func TestCloseDropsOutputAndEvents(t *testing.T) {
	var ends []error
	s := &frames{
		frame:  func(f *frames, _ []byte) error { f.Write([]byte("lost")); f.Post(Event{}); f.Close(); return nil },
		handle: func(*frames, Event) { t.Error("event after Close") },
		closed: func(_ *frames, err error) { ends = append(ends, err) },
	}
	m := NewManual(epoch)
	p := m.Open(s, Info{})
	p.Send(append(frame(1), frame(2)...))
	p.Conn().Post(Event{})
	m.Turn()
	p.HangUp(io.EOF)
	if out := p.Output(); len(out) > 0 || len(ends) != 1 || ends[0] != nil || m.Connections() != 0 {
		t.Errorf("output %q, closed %v, %d connections", out, ends, m.Connections())
	}
	s.Write([]byte("x")) // all of Link is harmless now
	s.SetOut(append(s.Out(), 'x'))
	s.Pause(1)
	s.Resume(1)
	s.CloseAfterFlush()
	s.Close()
	if s.Full() {
		t.Error("a closed connection is full")
	}
	m.Turn()
}

func TestCloseAfterFlushGivesUp(t *testing.T) {
	closed := 0
	m := NewManual(epoch)
	s := &frames{
		frame:  func(f *frames, _ []byte) error { f.Write(make([]byte, 1000)); f.CloseAfterFlush(); return nil },
		closed: func(*frames, error) { closed++ },
	}
	p := m.Open(s, Info{})
	p.Window(10)
	p.Send(frame(1))
	m.Tick(epoch.Add(flushTimeout - time.Second))
	m.Tick(epoch.Add(flushTimeout + time.Second)) // ten bytes have gone
	if p.EOF() || closed != 0 {
		t.Fatal("closed with output pending")
	}
	m.Tick(epoch.Add(2*flushTimeout + 2*time.Second))
	if !p.EOF() || closed != 1 || len(p.Output()) != 10 {
		t.Errorf("EOF %v, closed %d", p.EOF(), closed)
	}
}

// A slow reader of the last output is waited for as long as it takes some, for
// a while.
func TestCloseAfterFlushWaitsWhileOutputMoves(t *testing.T) {
	m := NewManual(epoch)
	s := &frames{frame: func(f *frames, _ []byte) error { f.Write(make([]byte, 1000)); f.CloseAfterFlush(); return nil }}
	p := m.Open(s, Info{})
	p.Window(10)
	p.Send(frame(1))
	took, now := 0, epoch
	for step := flushTimeout + time.Second; now.Before(epoch.Add(10*time.Minute)) && !p.EOF(); now = now.Add(step) {
		took += len(p.Output())
		p.Window(10)
		m.Tick(now.Add(step))
	}
	if lasted := now.Sub(epoch); lasted < maxRenewals*flushTimeout || lasted > 2*maxRenewals*flushTimeout {
		t.Errorf("closed after %v, with %d bytes taken", lasted, took)
	}
}

func TestMailboxBurstIsReleased(t *testing.T) {
	m := NewManual(epoch)
	handled := 0
	p := m.Open(&frames{handle: func(*frames, Event) { handled++ }}, Info{})
	b := NewBatch()
	for range 100_000 {
		b.Add(p.Conn(), Event{P: &handled})
	}
	b.Flush()
	m.Turn()
	if handled != 100_000 {
		t.Fatalf("%d events", handled)
	}
	for i := range 4 {
		m.Tick(epoch.Add(time.Duration(i) * time.Second))
		p.Conn().Post(Event{})
		m.Turn()
	}
	if c := max(cap(m.loop.in), cap(m.loop.work)); c > 1024 {
		t.Errorf("a mailbox for %d events is kept", c)
	}
}

func TestIdleConnectionIsSmall(t *testing.T) {
	m := NewManual(epoch)
	p := m.Open(new(frames), Info{})
	p.Send(frame(make([]byte, 8000)...))
	p.Output()
	if size := int(unsafe.Sizeof(Conn{})) + cap(p.conn.tail) + cap(p.conn.out); size > 512 {
		t.Errorf("%d bytes", size)
	}
}

// BenchmarkMailbox is the hand-over of one event to another loop: Add under the sender's lock and its delivery.
func BenchmarkMailbox(b *testing.B) {
	for _, batch := range []int{1, 64} {
		b.Run(fmt.Sprintf("batch %d", batch), func(b *testing.B) {
			m := NewManual(epoch)
			n := 0
			p := m.Open(&frames{handle: func(*frames, Event) { n++ }}, Info{})
			to, payload := p.Conn(), new(int)
			from := NewBatch()
			b.ReportAllocs()
			for i := 0; i < b.N; i += batch {
				for range batch {
					from.Add(to, Event{Kind: 1, A: 2, P: payload})
				}
				from.Flush()
				m.Turn()
			}
			if n < b.N {
				b.Fatalf("%d events of %d", n, b.N)
			}
		})
	}
}
