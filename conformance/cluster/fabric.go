package cluster

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// mtu is large because every packet costs two system calls here.
const mtu = 60_000

// linkQueue bounds the packets on their way over a slow link; what does not
// fit is dropped, as a router would.
const linkQueue = 512

// weather is what one direction of a link does to packets; nil is a good day.
type weather struct {
	cut   bool
	delay time.Duration
	rate  int // bytes per second; 0: no limit
}

// fabric is a switch in user space between hosts that each have a network
// namespace with one TUN device.
type fabric struct {
	hosts []*host
	links [][]link // [from][to]
	ends  sync.WaitGroup
}

type host struct {
	index int
	space string // name of the network namespace
	addr  netip.Addr
	tun   *os.File
}

type link struct {
	weather atomic.Pointer[weather]
	slow    chan parcel
}

type parcel struct {
	at   time.Time // not to arrive before
	data []byte
}

// newFabric makes n hosts, 10.77.0.1 to 10.77.0.n. The error says that this
// machine does not allow it. Close removes what it made.
func newFabric(n int) (*fabric, error) {
	f := &fabric{links: make([][]link, n)}
	for i := range n {
		f.links[i] = make([]link, n)
		for j := range n {
			f.links[i][j].slow = make(chan parcel, linkQueue)
		}
		h, err := newHost(i)
		if err != nil {
			f.Close()
			return nil, err
		}
		f.hosts = append(f.hosts, h)
	}
	for i, h := range f.hosts {
		f.ends.Go(func() { f.forward(h) })
		for j := range f.hosts {
			if i != j {
				f.ends.Go(func() { f.crawl(&f.links[i][j], f.hosts[j]) })
			}
		}
	}
	return f, nil
}

func newHost(i int) (*host, error) {
	h := &host{
		index: i,
		space: fmt.Sprintf("hermod-%d-%d", os.Getpid(), i+1),
		addr:  netip.AddrFrom4([4]byte{10, 77, 0, byte(i + 1)}),
	}
	if err := run("ip", "netns", "add", h.space); err != nil {
		return nil, err
	}
	err := h.inside(func() (err error) {
		h.tun, err = openTUN("tun0")
		return err
	})
	for _, args := range [][]string{
		{"link", "set", "lo", "up"},
		{"addr", "add", h.addr.String() + "/24", "dev", "tun0"},
		{"link", "set", "tun0", "mtu", fmt.Sprint(mtu), "up"},
	} {
		if err == nil {
			err = run("ip", append([]string{"-n", h.space}, args...)...)
		}
	}
	if err != nil {
		h.close()
		return nil, err
	}
	return h, nil
}

func (h *host) close() {
	if h.tun != nil {
		_ = h.tun.Close()
	}
	_ = run("ip", "netns", "del", h.space)
}

func run(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return nil
}

func openTUN(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("/dev/net/tun: %w", err)
	}
	req, err := unix.NewIfreq(name)
	if err == nil {
		req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
	}
	if err == nil {
		err = unix.SetNonblock(fd, true) // the runtime waits for packets, not a thread
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("device %s: %w", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// inside runs do on a thread that is in the host's namespace: sockets it makes
// and processes it starts belong there for good.
func (h *host) inside(do func() error) error {
	runtime.LockOSThread()
	home, err := os.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()))
	if err != nil {
		return err
	}
	defer func() { _ = home.Close() }()
	space, err := os.Open("/run/netns/" + h.space)
	if err != nil {
		return err
	}
	defer func() { _ = space.Close() }()
	if err := unix.Setns(int(space.Fd()), unix.CLONE_NEWNET); err != nil {
		return err
	}
	err = do()
	if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
		return errors.Join(err, back) // the thread stays locked and ends with its goroutine
	}
	runtime.UnlockOSThread()
	return err
}

// dial connects from the host. addr is an IP address with a port: a name would
// be resolved on another thread.
func (h *host) dial(ctx context.Context, addr string) (conn net.Conn, err error) {
	err = h.inside(func() error {
		var d net.Dialer
		conn, err = d.DialContext(ctx, "tcp4", addr)
		return err
	})
	return conn, err
}

// forward takes what the host sends until its device is closed.
func (f *fabric) forward(from *host) {
	buf := make([]byte, mtu+64)
	for {
		n, err := from.tun.Read(buf)
		if err != nil {
			return
		}
		to := f.hostOf(buf[:n])
		if to == nil {
			continue
		}
		l := &f.links[from.index][to.index]
		w := l.weather.Load()
		switch {
		case w == nil:
			_, _ = to.tun.Write(buf[:n])
		case w.cut:
		default:
			p := parcel{time.Now().Add(w.delay), append([]byte(nil), buf[:n]...)}
			select {
			case l.slow <- p:
			default:
			}
		}
	}
}

// hostOf is whom an IPv4 packet is for.
func (f *fabric) hostOf(packet []byte) *host {
	const prefix = 10<<24 | 77<<16
	if len(packet) < 20 || packet[0]>>4 != 4 {
		return nil
	}
	i := int(binary.BigEndian.Uint32(packet[16:])) - prefix - 1
	if i < 0 || i >= len(f.hosts) {
		return nil
	}
	return f.hosts[i]
}

// crawl carries the packets of a slow link.
func (f *fabric) crawl(l *link, to *host) {
	for p := range l.slow {
		wait := time.Until(p.at)
		if w := l.weather.Load(); w != nil && w.rate > 0 {
			wait = max(wait, 0) + time.Duration(len(p.data))*time.Second/time.Duration(w.rate)
		}
		if wait > 0 {
			<-time.After(wait) // this is the link's slowness itself
		}
		if w := l.weather.Load(); w == nil || !w.cut {
			_, _ = to.tun.Write(p.data)
		}
	}
}

// set changes one direction of a link.
func (f *fabric) set(from, to int, w *weather) { f.links[from][to].weather.Store(w) }

// both changes both directions.
func (f *fabric) both(a, b int, w *weather) {
	f.set(a, b, w)
	f.set(b, a, w)
}

// heal makes every link good again.
func (f *fabric) heal() {
	for i := range f.links {
		for j := range f.links[i] {
			f.set(i, j, nil)
		}
	}
}

// Close removes the namespaces; processes in them must have ended.
func (f *fabric) Close() {
	for _, h := range f.hosts {
		h.close()
	}
	for i := range f.links {
		for j := range f.links[i] {
			if f.links[i][j].slow != nil {
				defer close(f.links[i][j].slow)
			}
		}
	}
}
