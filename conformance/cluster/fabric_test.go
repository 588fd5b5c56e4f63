package cluster

import (
	"context"
	"net"
	"testing"
	"time"
)

// needFabric skips a test on a machine that allows no namespaces.
func needFabric(t *testing.T, n int) *fabric {
	t.Helper()
	f, err := newFabric(n)
	if err != nil {
		t.Skipf("no network namespaces here: %v", err)
	}
	t.Cleanup(f.Close)
	return f
}

// echo serves on the host and returns its address.
func echo(t *testing.T, h *host) string {
	t.Helper()
	var ln net.Listener
	err := h.inside(func() (err error) {
		ln, err = net.Listen("tcp4", h.addr.String()+":0")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				buf := make([]byte, 64<<10)
				for {
					n, err := conn.Read(buf)
					if err != nil {
						return
					}
					if _, err := conn.Write(buf[:n]); err != nil {
						return
					}
				}
			}()
		}
	}()
	return ln.Addr().String()
}

// answers reports whether an echo comes back within the limit.
func answers(conn net.Conn, limit time.Duration) bool {
	_ = conn.SetDeadline(time.Now().Add(limit))
	if _, err := conn.Write([]byte("x")); err != nil {
		return false
	}
	_, err := conn.Read(make([]byte, 1))
	return err == nil
}

// TestFabricCutsOneWayAndHeals: faults do what their names say; a schedule
// whose partitions are none proves nothing.
func TestFabricCutsOneWayAndHeals(t *testing.T) {
	f := needFabric(t, 3)
	addr := echo(t, f.hosts[1])
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	conn, err := f.hosts[0].dial(ctx, addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if !answers(conn, 5*time.Second) {
		t.Fatal("no echo over a good link")
	}
	f.set(1, 0, &weather{cut: true})
	if answers(conn, 300*time.Millisecond) {
		t.Error("an echo came over a link whose way back is cut")
	}
	if other, err := f.hosts[2].dial(ctx, addr); err != nil || !answers(other, 5*time.Second) {
		t.Errorf("a third host suffers from the cut: %v", err)
	}
	f.heal()
	if !answers(conn, 10*time.Second) {
		t.Error("no echo after healing")
	}
	f.both(0, 1, &weather{delay: 50 * time.Millisecond, rate: 1 << 20})
	began := time.Now()
	slow, err := f.hosts[0].dial(ctx, addr) // the first connection has an echo under way
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = slow.Close() }()
	if !answers(slow, 10*time.Second) || time.Since(began) < 200*time.Millisecond {
		t.Error("a slow link lost the echo or was not slow: two round trips of 100 ms each")
	}
}
