package ha

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	randv2 "math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hermodmq/hermod/persistence/vfs"
)

// patientElection keeps leaders in office on machines that are busy: three
// nodes share this process. Most take-overs do not wait for it.
const patientElection = 5 * time.Second

var testSecret = []byte("a secret of sufficient length")

// member is one node of a cluster in this process.
type member struct {
	t       *testing.T
	name    string
	fs      vfs.FS
	addr    string
	peers   *Peers
	log     *Log
	got     *recorder
	fatal   chan error
	started chan error // Start returned: it leads, or failed
	change  func(*Options)
}

type cluster struct {
	t     *testing.T
	nodes []*member
	addrs []string
}

// freeAddress returns the address of a node that comes and goes. It is on a
// loopback address of its own where there are such, as any connection of any
// process may take a port of 127.0.0.1 while the node is away.
func freeAddress(t testing.TB) string {
	t.Helper()
	own := net.IPv4(127, byte(1+randv2.IntN(254)), byte(randv2.IntN(256)), byte(1+randv2.IntN(254)))
	ln, err := net.Listen("tcp", net.JoinHostPort(own.String(), "0"))
	if err != nil {
		ln, err = net.Listen("tcp", "127.0.0.1:0")
	}
	must(t, err)
	defer ln.Close()
	return ln.Addr().String()
}

// newCluster makes n nodes that are not running yet.
func newCluster(t *testing.T, n int, change func(*Options)) *cluster {
	c := &cluster{t: t}
	for i := range n {
		m := &member{t: t, name: fmt.Sprintf("n%d", i+1), fs: vfs.NewMem(), addr: freeAddress(t), change: change}
		c.nodes, c.addrs = append(c.nodes, m), append(c.addrs, m.addr)
	}
	t.Cleanup(func() {
		for _, m := range c.nodes {
			m.stop()
		}
	})
	return c
}

func (c *cluster) start() {
	for _, m := range c.nodes {
		m.start(c.addrs, newRecorder(0))
	}
}

// start opens the log and starts it in the background.
func (m *member) start(contacts []string, got *recorder) {
	m.t.Helper()
	var err error
	m.peers, err = ListenPeers(PeerOptions{Bind: m.addr, Secret: testSecret, Logger: quiet})
	must(m.t, err)
	opts, fatal := testOptions(m.fs)
	opts.NodeID, opts.Peers, opts.Contacts, opts.ElectionTimeout = m.name, m.peers, contacts, patientElection
	if m.change != nil {
		m.change(&opts)
	}
	m.log, err = Open(opts)
	must(m.t, err)
	m.got, m.fatal, m.started = got, fatal, make(chan error, 1)
	l, started := m.log, m.started
	run := func() error { return l.Start(got) }
	if opts.Witness {
		run = l.Attend
	}
	go func() { started <- run() }()
}

func (m *member) stop() {
	if m.log == nil {
		return
	}
	_ = m.log.Close() // a deposed leader returns its failure
	_ = m.peers.Close()
	m.log = nil
}

// leader waits for one of the nodes to serve and returns it.
func (c *cluster) leader() *member {
	c.t.Helper()
	timeout := time.After(deadline)
	for {
		for _, m := range c.nodes {
			if m.log == nil {
				continue
			}
			select {
			case err := <-m.started:
				must(c.t, err)
				return m
			default:
			}
		}
		select {
		case <-timeout:
			c.t.Fatal("no node came to lead")
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// until waits for a condition that other goroutines bring about.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	timeout := time.After(deadline)
	for !ok() {
		select {
		case <-timeout:
			t.Fatalf("%s did not come about", what)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (c *cluster) voters(n int) {
	c.t.Helper()
	until(c.t, fmt.Sprintf("a cluster of %d voters", n), func() bool {
		for _, m := range c.nodes {
			if m.log != nil && m.log.leading.Load() {
				st := m.log.Status()
				return len(st.Nodes) == n && st.Redundant == n
			}
		}
		return false
	})
}

func TestThreeNodesFormAClusterAndSurviveTheLeader(t *testing.T) {
	c := newCluster(t, 3, nil)
	c.start()
	l := c.leader()
	c.voters(3)
	propose(t, l.log, 0, 100, 1000)
	for _, m := range c.nodes {
		checkSequence(t, m.got.wait(t, 100), 0)
	}
	l.stop()
	next := c.leader()
	propose(t, next.log, 100, 200, 1000)
	for _, m := range c.nodes {
		if m != l {
			checkSequence(t, m.got.wait(t, 200), 0)
		}
	}
	// The old leader comes back and catches up from the log.
	got := newRecorder(0)
	l.start(c.addrs, got)
	checkSequence(t, got.wait(t, 200), 0)
	c.voters(3)
}

func TestALeaderWithoutQuorumGivesUp(t *testing.T) {
	c := newCluster(t, 3, nil)
	c.start()
	l := c.leader()
	c.voters(3)
	for _, m := range c.nodes {
		if m != l {
			m.stop()
		}
	}
	select {
	case err := <-l.fatal:
		if !errors.Is(err, ErrLeadershipLost) {
			t.Fatalf("fatal = %v, want ErrLeadershipLost", err)
		}
	case <-time.After(deadline):
		t.Fatal("it goes on leading alone")
	}
	if err := l.log.Propose(payload(0, 10)); !errors.Is(err, ErrLeadershipLost) {
		t.Errorf("Propose = %v, want ErrLeadershipLost", err)
	}
}

func TestLeadershipIsTransferredWithoutLoss(t *testing.T) {
	c := newCluster(t, 3, nil)
	c.start()
	l := c.leader()
	c.voters(3)
	stop := make(chan struct{})
	count := make(chan int)
	go func() {
		n := 0
		for ; ; n++ {
			select {
			case <-stop:
				count <- n
				return
			default:
			}
			if l.log.Propose(payload(n, 100)) != nil {
				count <- n
				return
			}
		}
	}()
	l.got.wait(t, 50)
	must(t, l.log.Transfer(""))
	close(stop)
	sent := <-count
	select {
	case err := <-l.fatal:
		if !errors.Is(err, ErrLeadershipLost) {
			t.Fatalf("fatal = %v, want ErrLeadershipLost", err)
		}
	case <-time.After(deadline):
		t.Fatal("the old leader did not hear of it")
	}
	next := c.leader()
	if next == l {
		t.Fatal("leadership did not move")
	}
	// All that was proposed before the transfer is there, in order, and
	// nothing after it.
	got := next.got.entries(t)
	checkSequence(t, got, 0)
	if len(got) < 50 || len(got) > sent {
		t.Errorf("%d entries applied, want 50 to %d", len(got), sent)
	}
}

func TestASingleNodeGrowsAndShrinks(t *testing.T) {
	c := newCluster(t, 3, nil)
	first := c.nodes[0]
	opts, _ := testOptions(first.fs)
	before := newRecorder(0)
	alone := openLog(t, opts, before)
	propose(t, alone, 0, 50, 100)
	before.wait(t, 50)
	must(t, alone.Close())

	got := newRecorder(0)
	first.start(nil, got)
	if c.leader() != first {
		t.Fatal("the old node does not lead")
	}
	checkSequence(t, got.wait(t, 50), 0)
	for _, m := range c.nodes[1:] {
		m.start(c.addrs[:1], newRecorder(0))
	}
	c.voters(3)
	propose(t, first.log, 50, 100, 100)
	for _, m := range c.nodes {
		checkSequence(t, m.got.wait(t, 100), 0)
	}
	for _, m := range c.nodes[1:] {
		must(t, m.log.Leave(context.Background(), ""))
		m.stop()
	}
	c.voters(1)
	propose(t, first.log, 100, 110, 100)
	first.got.wait(t, 110)
	first.stop()

	back := newRecorder(0)
	alone = openLog(t, opts, back)
	checkSequence(t, back.wait(t, 110), 0)
	must(t, alone.Close())
}

func TestAMemberDoesNotStartAlone(t *testing.T) {
	c := newCluster(t, 3, nil)
	c.start()
	l := c.leader()
	c.voters(3)
	l.stop()
	opts, _ := testOptions(l.fs)
	opts.NodeID = l.name
	if _, err := tryOpen(opts, newRecorder(0)); !errors.Is(err, ErrMember) {
		t.Fatalf("Start = %v, want ErrMember", err)
	}
}

// A node that lost its disk must not vote as the one it was.
func TestANodeThatLostItsDiskComesBackAsANewOne(t *testing.T) {
	c := newCluster(t, 3, nil)
	c.start()
	l := c.leader()
	c.voters(3)
	propose(t, l.log, 0, 20, 100)
	lost := c.nodes[0]
	if lost == l { // the first of the contacts, which would found a cluster
		must(t, l.log.Transfer(""))
		<-l.fatal
		l.stop()
		l = c.leader()
	} else {
		lost.stop()
	}
	lost.fs = vfs.NewMem()
	got := newRecorder(0)
	lost.start(c.addrs, got)
	checkSequence(t, got.wait(t, 20), 0)
	c.voters(3)
	if l.log.Status().Role != Leader {
		t.Error("its return deposed the leader")
	}
}

func TestStrangersAreRefused(t *testing.T) {
	server, err := ListenPeers(PeerOptions{Bind: "127.0.0.1:0", Secret: testSecret, Logger: quiet})
	must(t, err)
	defer server.Close()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	other, err := ListenPeers(PeerOptions{Bind: "127.0.0.1:0", Secret: []byte("another secret, also long"), Logger: quiet})
	must(t, err)
	defer other.Close()
	if err := other.call(ctx, server.Advertised(), "hello", struct{}{}, nil); !errors.Is(err, ErrSecret) {
		t.Errorf("call with another secret = %v, want ErrSecret", err)
	}
	if _, err := ListenPeers(PeerOptions{Bind: "127.0.0.1:0", Secret: []byte("short"), Logger: quiet}); err == nil {
		t.Error("a short secret was taken")
	}
	c, err := tls.Dial("tcp", server.Advertised(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if err == nil {
		_ = c.Close()
		t.Error("a client of another protocol was let in")
	}
}

// writeCertificates makes an authority and a certificate for 127.0.0.1.
func writeCertificates(t *testing.T, dir, who string) (cert, key, ca string) {
	t.Helper()
	now := time.Now()
	root := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: who}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), KeyUsage: x509.KeyUsageCertSign}
	rootKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	rootDER, err := x509.CreateCertificate(rand.Reader, root, root, &rootKey.PublicKey, rootKey)
	must(t, err)
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "node"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	leafKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, root, &leafKey.PublicKey, rootKey)
	must(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(leafKey)
	must(t, err)
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, who+"-"+name)
		must(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
		return path
	}
	return write("cert.pem", "CERTIFICATE", leafDER), write("key.pem", "PRIVATE KEY", keyDER), write("ca.pem", "CERTIFICATE", rootDER)
}

func TestCertificatesAreVerifiedBothWays(t *testing.T) {
	dir := t.TempDir()
	listen := func(who string) *Peers {
		o := PeerOptions{Bind: "127.0.0.1:0", Secret: testSecret, Logger: quiet}
		if who != "" {
			o.CertFile, o.KeyFile, o.CAFile = writeCertificates(t, dir, who)
		}
		p, err := ListenPeers(o)
		must(t, err)
		p.handle("hello", answerHello)
		t.Cleanup(func() { _ = p.Close() })
		return p
	}
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	a := listen("a")
	o := a.opts
	o.Bind, o.Advertise = "127.0.0.1:0", ""
	same, err := ListenPeers(o)
	must(t, err)
	defer same.Close()
	var reply helloReply
	must(t, same.call(ctx, a.Advertised(), "hello", struct{}{}, &reply))
	if reply.Name != "answer" {
		t.Errorf("reply = %+v", reply)
	}
	for _, stranger := range []*Peers{listen("b"), listen("")} {
		if err := stranger.call(ctx, a.Advertised(), "hello", struct{}{}, nil); err == nil {
			t.Error("a node of another authority was let in")
		}
		if err := a.call(ctx, stranger.Advertised(), "hello", struct{}{}, nil); err == nil {
			t.Error("a node of another authority was trusted")
		}
	}
}

func answerHello(context.Context, json.RawMessage) (any, error) {
	return helloReply{Name: "answer"}, nil
}

func TestTwoNodesOfOneNameAreRefused(t *testing.T) {
	c := newCluster(t, 2, nil)
	c.nodes[1].name = "n1"
	c.nodes[0].start(nil, newRecorder(0))
	l := c.leader()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	other, err := ListenPeers(PeerOptions{Bind: "127.0.0.1:0", Secret: testSecret, Logger: quiet})
	must(t, err)
	defer other.Close()
	err = other.call(ctx, l.addr, "join", joinRequest{Name: "n1", Address: other.Advertised(), Empty: true}, nil)
	if err == nil || !strings.Contains(err.Error(), "taken") {
		t.Errorf("join under the leader's name = %v, want a refusal that says so", err)
	}
}
