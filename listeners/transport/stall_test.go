package transport

import (
	"crypto/tls"
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestStall_Manual(t *testing.T) {
	var end error
	m := NewManual(epoch)
	s := &frames{closed: func(_ *frames, err error) { end = err }}
	p := m.open(s, Info{}, Listener{StallTimeout: 10 * time.Second})
	at := func(sec int) { m.Tick(epoch.Add(time.Duration(sec) * time.Second)) }
	at(0)
	at(100) // quiet is not stalled
	p.Window(0)
	p.Send(frame(make([]byte, 1000)...))
	at(101)
	at(110)
	p.Window(1) // a single byte counts
	p.Send(frame(make([]byte, 1000)...))
	at(111)
	at(120)
	if p.EOF() {
		t.Fatal("closed while output moves")
	}
	p.Window(-1)
	at(121)
	p.Window(0)
	p.Send(frame(1))
	at(122)
	at(131)
	p.Send(frame(2)) // more output is no movement
	at(132)
	if p.EOF() {
		t.Fatal("closed early")
	}
	at(133)
	if !p.EOF() || !errors.Is(end, ErrStalled) {
		t.Errorf("EOF %v, closed %v", p.EOF(), end)
	}
}

// A session is not told that its output has drained once its connection is cut off: nothing is ever full any more, and
// who writes until it is would hold the loop for ever.
func TestStall_NotDrainedWhenCutOff(t *testing.T) {
	m := NewManual(epoch)
	drained := 0
	p := m.open(&frames{
		frame: func(f *frames, _ []byte) error {
			for !f.Full() {
				f.Write(make([]byte, 64<<10))
			}
			f.Pause(1)
			return nil
		},
		drained: func(*frames) { drained++ },
	}, Info{}, Listener{StallTimeout: 10 * time.Second})
	m.Tick(epoch)
	p.Window(0)
	p.Send(frame(1))
	m.Tick(epoch.Add(time.Second))
	p.window = -1 // output moves in the turn that finds that it has not
	m.Tick(epoch.Add(time.Minute))
	if !p.EOF() || drained != 0 {
		t.Errorf("closed %v, drained %d times", p.EOF(), drained)
	}
}

func TestStall_Never(t *testing.T) {
	m := NewManual(epoch)
	p := m.open(new(frames), Info{}, Listener{StallTimeout: -1})
	p.Window(0)
	p.Send(frame(make([]byte, 1000)...))
	for i := range 10 {
		m.Tick(epoch.Add(time.Duration(i) * time.Hour))
	}
	if p.EOF() {
		t.Error("closed")
	}
}

// Peers that never read are closed whatever is spoken, also when the session has paused them, and their session learns
// why.
func TestStall_PeerThatNeverReads(t *testing.T) {
	for _, paused := range []bool{false, true} {
		for _, l := range []Listener{{Name: "plain"}, {Name: "tls", TLS: serverTLS(tls.VersionTLS13)}, {Name: "ws", WebSocket: &WebSocket{}}} {
			closed := make(chan error, 1)
			l.StallTimeout = 50 * time.Millisecond
			s, addr := echoServer(t, Options{TickInterval: 5 * time.Millisecond}, l, func() *frames {
				return &frames{
					frame: func(f *frames, _ []byte) error {
						for !f.Full() {
							f.Write(make([]byte, 64<<10))
						}
						if paused {
							f.Pause(1)
						}
						return nil
					},
					drained: func(f *frames) {
						for !f.Full() {
							f.Write(make([]byte, 64<<10))
						}
					},
					closed: func(_ *frames, err error) { closed <- err },
				}
			})
			c := dial(t, addr)
			if l.TLS != nil {
				c = tls.Client(c, clientTLS())
			}
			if l.WebSocket != nil {
				send(t, c, append(upgradeHead("/"), clientFrame(finBit|opBinary, frame(1))...))
			} else {
				send(t, c, frame(1))
			}
			if err := await(t, "Closed", closed); !errors.Is(err, ErrStalled) {
				t.Errorf("%s, paused %v: closed %v", l.Name, paused, err)
			}
			eventually(t, "the end of the connection", func() bool { return s.Connections() == 0 })
		}
	}
}

func TestStall_UserTimeout(t *testing.T) {
	for want, timeout := range map[int]time.Duration{120_000: 0, 300_000: 5 * time.Minute, 0: -1} {
		got := make(chan int, 1)
		_, addr := echoServer(t, Options{}, Listener{Name: "tcp", StallTimeout: timeout}, func() *frames {
			return &frames{start: func(f *frames) {
				v, err := unix.GetsockoptInt(f.Target().sock.(*gnetSocket).c.Fd(), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT)
				if err != nil {
					t.Error(err)
				}
				got <- v
			}}
		})
		dial(t, addr)
		if v := await(t, "Start", got); v != want {
			t.Errorf("StallTimeout %v: TCP_USER_TIMEOUT %d ms, want %d", timeout, v, want)
		}
	}
}
