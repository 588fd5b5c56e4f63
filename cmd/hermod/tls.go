package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/hermodmq/hermod/cmd/hermod/config"
)

// certificates serves the newest pair found in the configured files, and trusts
// the newest authorities. A renewed certificate is served to connections that
// begin after the next look at the files, or after SIGHUP. Connections that are
// there keep what they began with.
type certificates struct {
	certFile, keyFile, caFile string
	interval                  time.Duration // between looks, at least; 0: none but at SIGHUP
	log                       *slog.Logger
	outer                     *tls.Config // what listeners get

	mu      sync.Mutex
	looked  time.Time
	stamp   string
	current *tls.Config
	base    *tls.Config
}

// tlsConfig returns the configuration of every TLS listener. Files are read
// again when their time or size changes; a pair that does not load leaves the
// old one in service.
func (n *node) tlsConfig() (*tls.Config, error) {
	if n.certs == nil {
		cs, err := openCertificates(n.config.TLS, n.log)
		if err != nil {
			return nil, err
		}
		n.certs = cs
		n.stop = append(n.stop, onHangUp(func() { cs.look(time.Now(), true) }))
	}
	return n.certs.outer, nil
}

func openCertificates(c config.TLS, log *slog.Logger) (*certificates, error) {
	auth := map[string]tls.ClientAuthType{
		"none": tls.NoClientCert, "request": tls.VerifyClientCertIfGiven, "require": tls.RequireAndVerifyClientCert,
	}[c.ClientAuth]
	cs := &certificates{certFile: c.CertFile, keyFile: c.KeyFile, caFile: c.CAFile, interval: c.CheckInterval, log: log,
		base: &tls.Config{MinVersion: tls.VersionTLS12, ClientAuth: auth}}
	if err := cs.load(cs.fileStamp()); err != nil {
		return nil, err
	}
	cs.looked = time.Now()
	cs.outer = cs.base.Clone()
	cs.outer.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return cs.look(time.Now(), false), nil }
	cs.outer.Certificates = cs.current.Certificates
	return cs, nil
}

// look returns what to serve now, having looked at the files if that was long
// ago or force is set.
func (cs *certificates) look(now time.Time, force bool) *tls.Config {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if !force && (cs.interval == 0 || now.Sub(cs.looked) < cs.interval) {
		return cs.current
	}
	cs.looked = now
	stamp := cs.fileStamp()
	if stamp == cs.stamp && !force {
		return cs.current
	}
	// A half-written file is an error now and fine at the next look.
	if err := cs.load(stamp); err != nil {
		cs.log.Warn("certificates are not as they should be, the old ones stay in service", "error", err)
	} else {
		cs.log.Info("certificates read again", "certificate", cs.certFile)
	}
	return cs.current
}

func (cs *certificates) fileStamp() string {
	var stamp string
	for _, name := range []string{cs.certFile, cs.keyFile, cs.caFile} {
		if info, err := os.Stat(name); err == nil {
			stamp += fmt.Sprint(info.ModTime().UnixNano(), info.Size(), ";")
		}
	}
	return stamp
}

func (cs *certificates) load(stamp string) error {
	pair, err := tls.LoadX509KeyPair(cs.certFile, cs.keyFile)
	if err != nil {
		return fmt.Errorf("tls: %w", err)
	}
	next := cs.base.Clone()
	next.Certificates = []tls.Certificate{pair}
	if cs.caFile != "" {
		pem, err := os.ReadFile(cs.caFile)
		if err != nil {
			return fmt.Errorf("tls: %w", err)
		}
		next.ClientCAs = x509.NewCertPool()
		if !next.ClientCAs.AppendCertsFromPEM(pem) {
			return fmt.Errorf("tls: %s holds no certificate", cs.caFile)
		}
	}
	cs.current, cs.stamp = next, stamp
	return nil
}

// onHangUp runs f at every SIGHUP until the function it returns is called.
func onHangUp(f func()) (stop func() error) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP)
	go func() {
		for range signals {
			f()
		}
	}()
	return func() error {
		signal.Stop(signals)
		close(signals)
		return nil
	}
}

// clientName is the rule by which a client certificate becomes a user's name.
func clientName(rule string) func(*x509.Certificate) string {
	first := func(list []string) string {
		if len(list) == 0 {
			return ""
		}
		return list[0]
	}
	switch rule {
	case "distinguished_name":
		return func(c *x509.Certificate) string { return c.Subject.String() }
	case "dns":
		return func(c *x509.Certificate) string { return first(c.DNSNames) }
	case "email":
		return func(c *x509.Certificate) string { return first(c.EmailAddresses) }
	case "uri":
		return func(c *x509.Certificate) string {
			if len(c.URIs) == 0 {
				return ""
			}
			return c.URIs[0].String()
		}
	}
	return nil // the common name
}
