package tls

import (
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/hermodmq/hermod/conformance/harness"
)

func TestMain(m *testing.M) {
	code := m.Run()
	harness.RemoveBinary()
	os.Exit(code)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// start starts a broker with every TLS listener there is; its own certificate
// is that of "server".
func start(t *testing.T, a *harness.Authority, set ...string) *harness.Broker {
	t.Helper()
	_, err := a.Issue("server")
	must(t, err)
	b, err := harness.Start(harness.Options{DataDir: t.TempDir(), Set: append([]string{
		"listeners.amqp.tls_address=127.0.0.1:0", "listeners.mqtt.tls_address=127.0.0.1:0", "listeners.mqtt.websocket_tls_address=127.0.0.1:0",
		"listeners.stomp.tls_address=127.0.0.1:0", "listeners.stomp.websocket_tls_address=127.0.0.1:0", "listeners.aws.tls_address=127.0.0.1:0",
		"listeners.openwire.tls_address=127.0.0.1:0", "listeners.metrics.tls_address=127.0.0.1:0",
		"tls.cert_file=" + a.Path("server.pem"), "tls.key_file=" + a.Path("server.key"), "tls.ca_file=" + a.Path("ca.pem"),
	}, set...)})
	must(t, err)
	t.Cleanup(b.Kill)
	return b
}

func newAuthority(t *testing.T) *harness.Authority {
	t.Helper()
	a, err := harness.NewAuthority(t.TempDir())
	must(t, err)
	return a
}

// eachListener runs f for every listener that has a stock client here.
func eachListener(t *testing.T, b *harness.Broker, f func(t *testing.T, addr string, connect connector)) {
	for name, connect := range connectors {
		t.Run(name, func(t *testing.T) {
			addr := b.Addr(name)
			if addr == "" {
				t.Fatalf("not announced: %v", b.Listeners())
			}
			f(t, addr, connect)
		})
	}
}

func config(t *testing.T, a *harness.Authority, name string) *tls.Config {
	t.Helper()
	c, err := a.Client(name)
	must(t, err)
	return c
}

// TestTLS: a message of many TLS records goes both ways; a client that does not
// trust the authority does not connect, and neither does plain text.
func TestTLS(t *testing.T) {
	a := newAuthority(t)
	b := start(t, a)
	eachListener(t, b, func(t *testing.T, addr string, connect connector) {
		s, err := connect(addr, config(t, a, ""), guest)
		must(t, err)
		defer s.close()
		for _, text := range []string{"x", strings.Repeat("0123456789abcdef", 1<<16)} {
			must(t, s.echo(text))
		}
		if s, err := connect(addr, &tls.Config{ServerName: "localhost"}, guest); err == nil {
			s.close()
			t.Error("connected without trust")
		}
		old := config(t, a, "")
		old.MaxVersion = tls.VersionTLS11
		if s, err := connect(addr, old, guest); err == nil {
			s.close()
			t.Error("TLS 1.1 is spoken")
		}
	})
}

// TestMutualTLS: without a certificate nobody comes in; with one, a client that
// names no user is who the certificate says.
func TestMutualTLS(t *testing.T) {
	a := newAuthority(t)
	for rule, user := range map[string]string{
		"common_name": "carol", "distinguished_name": "CN=carol,O=Hermod", "dns": "carol.dns", "email": "carol@example.org", "uri": "urn:carol",
	} {
		t.Run(rule, func(t *testing.T) {
			b := start(t, a, "tls.client_auth=require", "tls.client_name="+rule)
			for _, args := range [][]string{{"add_user", user, "unused"}, {"set_permissions", "-p", "/", user, ".*", ".*", ".*"}} {
				_, err := b.CTL(args...)
				must(t, err)
			}
			for _, name := range []string{"carol", "mallory"} {
				_, err := a.Issue(name)
				must(t, err)
			}
			eachListener(t, b, func(t *testing.T, addr string, connect connector) {
				s, err := connect(addr, config(t, a, "carol"), none)
				must(t, err)
				defer s.close()
				must(t, s.echo("hello"))
				out, err := b.CTL("list_connections", "user")
				must(t, err)
				if !strings.Contains(out, user) {
					t.Errorf("connections are of %q, want %q", out, user)
				}
				if s, err := connect(addr, config(t, a, ""), guest); err == nil {
					s.close()
					t.Error("connected without a certificate")
				}
				if s, err := connect(addr, config(t, a, "mallory"), none); err == nil {
					s.close()
					t.Error("a certificate of an unknown user is let in")
				}
				p, err := connect(addr, config(t, a, "mallory"), guest)
				must(t, err) // a password goes before the certificate
				p.close()
			})
		})
	}
}

// serialOf is the serial number of the certificate that a listener shows.
func serialOf(t *testing.T, addr string, c *tls.Config) int64 {
	t.Helper()
	conn, err := tls.Dial("tcp", addr, c)
	must(t, err)
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}

// everyListenerShows waits until every listener shows the certificate with that
// serial number.
func everyListenerShows(t *testing.T, b *harness.Broker, c *tls.Config, serial int64) {
	t.Helper()
	for _, name := range []string{
		"amqps", "mqtts", "mqtt-websocket-tls", "stomps", "stomp-websocket-tls", "openwire-tls", "aws-tls", "metrics-tls",
	} {
		if !harness.Poll(patience, func() bool { return serialOf(t, b.Addr(name), c) == serial }) {
			t.Errorf("%s does not show certificate %d", name, serial)
		}
	}
}

// TestRenewalUnderLoad: with nothing but new files, looked at every 50 ms, new
// connections get the new certificate again and again, while those that were
// there go on sending and receiving.
func TestRenewalUnderLoad(t *testing.T) {
	a := newAuthority(t)
	b := start(t, a, "tls.client_auth=request", "tls.check_interval=50ms")
	trusting := config(t, a, "")
	ctx, stop := context.WithCancel(context.Background())
	var group sync.WaitGroup
	var echoes atomic.Int64
	for name, connect := range connectors {
		s, err := connect(b.Addr(name), trusting, guest)
		must(t, err)
		group.Go(func() {
			defer s.close()
			for i := 0; ctx.Err() == nil; i++ {
				if err := s.echo(fmt.Sprint(name, i)); err != nil {
					t.Errorf("%s: %v", name, err)
					return
				}
				echoes.Add(1)
			}
		})
	}
	for range 5 {
		serial, err := a.Issue("server")
		must(t, err)
		everyListenerShows(t, b, trusting, serial)
		for name, connect := range connectors {
			s, err := connect(b.Addr(name), trusting, guest)
			if err == nil {
				err = s.echo("new")
				s.close()
			}
			if err != nil {
				t.Errorf("%s: a new connection: %v", name, err)
			}
		}
	}
	stop()
	group.Wait()
	t.Logf("%d echoes over %d connections during 5 renewals", echoes.Load(), len(connectors))
}

// TestRenewal: after SIGHUP every listener shows the new certificate and trusts
// the new authorities, and connections that were there know nothing of it.
// Files that do not fit together change nothing.
func TestRenewal(t *testing.T) {
	a := newAuthority(t)
	b := start(t, a, "tls.client_auth=request")
	trusting := config(t, a, "")
	sessions := map[string]*session{}
	for name, connect := range connectors {
		s, err := connect(b.Addr(name), trusting, guest)
		must(t, err)
		defer s.close()
		sessions[name] = s
	}
	hangUp := func() {
		t.Helper()
		p, err := os.FindProcess(b.PID())
		must(t, err)
		must(t, p.Signal(syscall.SIGHUP))
	}
	serial, err := a.Issue("server")
	must(t, err)
	hangUp()
	everyListenerShows(t, b, trusting, serial)
	// A key that does not belong to the certificate.
	_, err = a.Issue("other")
	must(t, err)
	key, err := os.ReadFile(a.Path("other.key"))
	must(t, err)
	good, err := os.ReadFile(a.Path("server.key"))
	must(t, err)
	must(t, os.WriteFile(a.Path("server.key"), key, 0o600))
	hangUp()
	if !harness.Poll(patience, func() bool { return strings.Contains(b.Log(), "the old ones stay in service") }) {
		t.Error("nothing is said of files that do not fit")
	}
	everyListenerShows(t, b, trusting, serial)
	must(t, os.WriteFile(a.Path("server.key"), good, 0o600))
	for name, s := range sessions {
		if err := s.echo("still here"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
