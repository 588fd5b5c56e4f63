package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/hermodmq/hermod/cmd/hermod/config"
)

// certCheckInterval bounds how often the files are looked at; a renewed
// certificate is served to connections that begin after the next look.
const certCheckInterval = 10 * time.Second

// certificates serves the newest pair found in the configured files.
type certificates struct {
	certFile, keyFile, caFile string

	mu      sync.Mutex
	looked  time.Time
	stamp   string
	current *tls.Config
	base    *tls.Config
}

// tlsConfig builds the configuration of every TLS listener. Files are read
// again when their time or size changes; a pair that does not load leaves the
// old one in service.
func tlsConfig(c config.TLS) (*tls.Config, error) {
	auth := map[string]tls.ClientAuthType{
		"none": tls.NoClientCert, "request": tls.VerifyClientCertIfGiven, "require": tls.RequireAndVerifyClientCert,
	}[c.ClientAuth]
	cs := &certificates{certFile: c.CertFile, keyFile: c.KeyFile, caFile: c.CAFile,
		base: &tls.Config{MinVersion: tls.VersionTLS12, ClientAuth: auth}}
	if err := cs.load(cs.fileStamp()); err != nil {
		return nil, err
	}
	outer := cs.base.Clone()
	outer.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return cs.get(time.Now()), nil }
	outer.Certificates = cs.current.Certificates
	return outer, nil
}

func (cs *certificates) get(now time.Time) *tls.Config {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if now.Sub(cs.looked) >= certCheckInterval {
		cs.looked = now
		if stamp := cs.fileStamp(); stamp != cs.stamp {
			// A half-written file is an error now and fine at the next look.
			_ = cs.load(stamp)
		}
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
